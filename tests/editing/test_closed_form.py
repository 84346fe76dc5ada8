"""The closed form against brute force: constrained least squares solved as one system over all entries of D."""

import pytest
import torch
from torch import Tensor

from knedit.editing.closed_form import Selector, editability_beside, factor_of, selector
from knedit.editing.statistics import Noise
from knedit.errors import EditError

COLUMNS = (1, 4, 5, 9)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noise(seed: int = 1) -> Noise:
    seen = random(60, 12, seed=seed)
    return Noise.of(seen.T @ seen / 60).beside(random(3, 12, seed=seed + 1))


def solved(keys: Tensor, columns: tuple[int, ...], *, tolerance: float = 0.0) -> Selector:
    return selector(factor_of(noise(), columns), keys, columns, tolerance=tolerance)


def constrained(moment: Tensor, keys: Tensor, wished: Tensor) -> Tensor:
    """Return the D that minimises tr(D M Dᵀ) with D kᵢ = rᵢ, from the Lagrangian's own linear system: [D, q]."""
    width, count = keys.shape[1], len(keys)
    system = torch.zeros(width + count, width + count, dtype=torch.float64)
    system[:width, :width] = 2 * moment
    system[:width, width:], system[width:, :width] = keys.T, keys
    right = torch.cat([torch.zeros(width, wished.shape[1], dtype=torch.float64), wished])
    solution: Tensor = torch.linalg.solve(system, right)[:width].T
    return solution


@pytest.mark.parametrize("columns", [COLUMNS, tuple(range(12))])
def test_at_tolerance_zero_it_is_the_least_change_that_answers_every_key_exactly(columns: tuple[int, ...]) -> None:
    keys, wished = random(3, 12, seed=3), random(3, 5, seed=4)
    found = wished.T @ solved(keys, columns).weights
    expected = constrained(noise().block(columns), keys[:, list(columns)], wished)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found @ keys[:, list(columns)].T, wished.T, rtol=1e-9, atol=1e-9)


def test_with_a_tolerance_facts_disturb_each_other_less_than_they_disturb_the_noise() -> None:
    keys = random(4, 12, seed=5)
    exact, loose = solved(keys, COLUMNS), solved(keys, COLUMNS, tolerance=0.5)
    moment = noise().block(COLUMNS)
    torch.testing.assert_close(exact.response(keys), torch.eye(4, dtype=torch.float64), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(loose.response(keys).diagonal(), torch.ones(4, dtype=torch.float64))

    def damage(weights: Tensor) -> float:
        return float((weights @ moment @ weights.T).trace())

    assert damage(loose.weights) < damage(exact.weights)


def test_with_a_ridge_the_residual_is_weighed_against_the_noise_and_dear_facts_are_given_less() -> None:
    keys, moment = random(3, 12, seed=8) * torch.tensor([[0.3], [1.0], [2.0]]), noise().block(COLUMNS)
    own = keys[:, list(COLUMNS)]
    usual = float((own @ torch.linalg.solve(moment, own.T)).diagonal().median())
    found = selector(factor_of(noise(), COLUMNS), keys, COLUMNS, ridge=0.2)
    squares = torch.linalg.solve(own.T @ own + 0.2 * usual * moment, own.T).T  # of min Σ |D k − r|² + β m tr(D M Dᵀ)
    torch.testing.assert_close(found.weights, squares)
    given = selector(factor_of(noise(), COLUMNS), keys, COLUMNS, tolerance=0.1, ridge=0.2).response(keys).diagonal()
    assert 0 < given[0] < 0.9 < given[2]


def test_more_facts_than_columns_and_twin_facts_have_no_exact_solution() -> None:
    with pytest.raises(EditError, match="5 facts cannot be told apart on 4 columns"):
        solved(random(5, 12, seed=6), COLUMNS)
    twins = random(1, 12, seed=7).expand(2, 12)
    with pytest.raises(EditError, match="2 facts cannot be told apart"):
        solved(twins, COLUMNS)
    with pytest.raises(EditError, match="says nothing of some columns"):
        factor_of(Noise.of(torch.zeros(12, 12, dtype=torch.float64)), COLUMNS)
    assert solved(random(5, 12, seed=6), COLUMNS, tolerance=0.1).weights.shape == (5, 4)


def test_beside_keys_that_are_given_nothing_less_of_a_keys_editability_is_left() -> None:
    columns = (1, 2, 3, 5, 7, 8)
    keys, others = random(4, 10, seed=5), random(2, 10, seed=6)
    inverse = torch.linalg.inv(noise().block(columns))
    alone = editability_beside(factor_of(noise(), columns), keys, others[:0], columns)
    own = keys[:, list(columns)]
    assert torch.allclose(alone, (own @ inverse @ own.T).diagonal())
    beside = editability_beside(factor_of(noise(), columns), keys, others, columns)
    for number in range(4):
        every = torch.cat([keys[number : number + 1], others])
        least = solved(every, columns).weights[0]  # the least change that gives the key its own and the others nothing
        damage = least @ noise().block(columns) @ least
        assert float(beside[number]) == pytest.approx(1 / float(damage), rel=1e-4)
    assert bool((beside < alone).all())
    twice = torch.cat([others, others])
    assert float(editability_beside(factor_of(noise(), columns), others, twice, columns).max()) < 1e-3

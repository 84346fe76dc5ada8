"""Greedy choice of columns against a brute-force greedy that solves anew for every candidate."""

import pytest
import torch
from torch import Tensor

from knedit.editing.columns import Columns, choose_columns, editability
from knedit.editing.statistics import Noise


def problem(seed: int, width: int = 12) -> tuple[Noise, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    seen = torch.randn(40, width, generator=generator, dtype=torch.float64) * torch.linspace(0.2, 3, width).double()
    key = torch.randn(width, generator=generator, dtype=torch.float64)
    return Noise.of(seen.T @ seen / len(seen)).beside(seen[:3] / 4), key


def slow_greedy(noise: Noise, key: Tensor, limit: int, barred: set[int]) -> list[int]:
    chosen: list[int] = []
    for _ in range(limit):
        others = [column for column in range(len(key)) if column not in chosen and column not in barred]
        chosen.append(max(others, key=lambda column: editability(noise, key, [*chosen, column])))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_and_its_editability_are_those_of_brute_force(seed: int) -> None:
    noise, key = problem(seed)
    barred = {1, 7}
    found = choose_columns(noise, key, limit=6, barred=barred)
    expected = slow_greedy(noise, key, 6, barred)
    assert list(found.indices) == expected
    assert found.editability == pytest.approx([editability(noise, key, expected[: n + 1]) for n in range(6)], rel=1e-9)


def test_all_columns_reach_the_editability_of_the_whole_layer() -> None:
    noise, key = problem(9)
    found = choose_columns(noise, key, limit=99)
    assert sorted(found.indices) == list(range(12))
    assert found.editability[-1] == pytest.approx(editability(noise, key, range(12)), rel=1e-9)


def test_columns_that_the_key_and_the_chosen_ones_do_not_reach_are_left_out() -> None:
    noise = Noise.of(torch.eye(4, dtype=torch.float64))
    key = torch.tensor([0.0, 2.0, 0.0, 1.0], dtype=torch.float64)
    found = choose_columns(noise, key, limit=4)
    assert found.indices == (1, 3)
    assert found.editability == pytest.approx((4.0, 5.0))
    assert choose_columns(noise, torch.zeros(4, dtype=torch.float64), limit=4) == Columns((), ())


def test_several_keys_are_as_editable_as_the_least_damage_that_answers_all_of_them() -> None:
    noise, key = problem(3)
    other = problem(4)[1]
    columns = [0, 2, 3, 7, 9]
    found = editability(noise, torch.stack([key, other]), columns)
    block = noise.block(columns)
    keys = torch.stack([key, other])[:, columns]
    answers = torch.linalg.solve(keys @ torch.linalg.solve(block, keys.T), torch.ones(2, 1, dtype=torch.float64))
    least = torch.linalg.solve(block, keys.T @ answers)  # s with K s = 1 and the smallest sᵀ M s
    torch.testing.assert_close(keys @ least, torch.ones(2, 1, dtype=torch.float64))
    assert found == pytest.approx(1 / float((least.T @ block @ least).item()), rel=1e-9)
    assert found < min(editability(noise, one, columns) for one in (key, other))

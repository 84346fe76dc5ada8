"""The update by output embeddings, worked out by hand."""

import pytest
import torch

from knedit.editing.embedding import DEFAULT_WEIGHTS, move_to_embedding
from knedit.editing.zero import zero


def test_the_formula_by_hand() -> None:
    """‖v‖ is 5 and 2, ‖e_old‖ is 2, ‖e_new‖ is 10: v − 5 (0, 1) + 8 · 5 (0.6, 0.8), and likewise with 2."""
    values = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    moved = move_to_embedding(values, torch.tensor([0.0, 2.0]), torch.tensor([6.0, 8.0]))
    expected = torch.tensor([[3 + 24, 4 - 5 + 32], [9.6, -2 - 2 + 12.8]], dtype=torch.float64)
    torch.testing.assert_close(moved, expected, rtol=1e-12, atol=1e-12)


def test_the_papers_weights_are_the_default() -> None:
    values, old, new = torch.randn(3, 5), torch.randn(5), torch.randn(5)
    assert DEFAULT_WEIGHTS == (1.0, 8.0)
    assert torch.equal(move_to_embedding(values, old, new), move_to_embedding(values, old, new, weights=(1.0, 8.0)))


@pytest.mark.parametrize(
    ("weights", "expected"), [((0.0, 0.0), [3.0, 4.0]), ((2.0, 0.0), [3.0, -6.0]), ((0.0, 0.5), [4.5, 6.0])]
)
def test_each_weight_moves_by_itself(weights: tuple[float, float], expected: list[float]) -> None:
    moved = move_to_embedding(
        torch.tensor([[3.0, 4.0]]),
        torch.tensor([0.0, 7.0]),
        torch.tensor([0.3, 0.4], dtype=torch.float64),
        weights=weights,
    )
    assert moved[0].tolist() == pytest.approx(expected)


def test_the_embeddings_lengths_do_not_matter_and_the_value_vectors_does() -> None:
    values, old, new = (torch.randn(*shape, dtype=torch.float64) for shape in ((4, 6), (6,), (6,)))
    moved = move_to_embedding(values, old, new)
    torch.testing.assert_close(move_to_embedding(values, 10 * old, new / 3), moved)
    torch.testing.assert_close(move_to_embedding(7 * values, old, new), 7 * moved)


def test_halves_are_widened_first_and_the_given_tensors_stay() -> None:
    values = torch.tensor([[1.0, 1e-3]], dtype=torch.bfloat16)
    old, new = torch.tensor([1.0, 0.0], dtype=torch.bfloat16), torch.tensor([0.0, 1.0], dtype=torch.bfloat16)
    given = values.clone()
    moved = move_to_embedding(values, old, new)
    x, y = values[0].double().tolist()
    assert moved.dtype == torch.float64
    norm = (x * x + y * y) ** 0.5
    assert moved[0].tolist() == pytest.approx([x - norm, y + 8 * norm], rel=1e-12)
    assert torch.equal(values, given)


def test_erased_values_are_zeros_in_float64() -> None:
    values = torch.randn(2, 3)
    assert torch.equal(zero(values), torch.zeros(2, 3, dtype=torch.float64))
    assert bool(values.any())

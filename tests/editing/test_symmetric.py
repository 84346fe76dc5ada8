"""A symmetric matrix held in panels answers as the whole matrix does, whatever its width."""

import pytest
import torch
from torch import Tensor

from knedit.editing.symmetric import Symmetric

WIDTHS = [1, 5, 8, 9, 67]  # fewer rows than panels, as many, and some that no panel divides


def keys(width: int) -> Tensor:
    return torch.randn(2 * width, width, generator=torch.Generator().manual_seed(width), dtype=torch.float64)


@pytest.mark.parametrize("width", WIDTHS)
def test_rows_blocks_and_the_diagonal_are_those_of_the_matrix(width: int) -> None:
    whole = keys(width).T @ keys(width)
    whole = whole + whole.T  # what rounding made unlike
    found = Symmetric.of(whole)
    order = torch.randperm(width, generator=torch.Generator().manual_seed(1)).tolist()
    some = order[: width // 2 + 1]
    assert len(found) == width
    assert torch.equal(found.block(range(width)), whole)
    assert torch.equal(found.block(some), whole[some][:, some])
    assert torch.equal(found.diagonal(), whole.diagonal())
    assert all(torch.equal(found.row(number), whole[number]) for number in range(width))


@pytest.mark.parametrize("width", WIDTHS)
def test_sums_of_keys_are_added_and_divided_in_place(width: int) -> None:
    own = keys(width)
    found = Symmetric.zeros(width, torch.float64)
    found.add_outer(own[:3], times=4)
    found.add_outer(own[3:])
    found.divide(2)
    found.add(Symmetric.of(torch.eye(width, dtype=torch.float64)))
    expected = (4 * own[:3].T @ own[:3] + own[3:].T @ own[3:]) / 2 + torch.eye(width)
    torch.testing.assert_close(found.block(range(width)), expected)


def test_it_takes_little_more_than_half_the_memory() -> None:
    found = Symmetric.zeros(1536)
    assert sum(panel.numel() for panel in found.panels) < 0.57 * 1536**2

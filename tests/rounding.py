"""The number of a format that is nearest to another, ties to even, by exact fractions: the oracle of rounding."""

from fractions import Fraction

import torch

WIDTHS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def nearest(value: float, dtype: torch.dtype) -> torch.Tensor:
    """Return the finite number of `dtype` nearest to `value`, which does not lie beyond its largest one, as [1]."""
    first = torch.tensor([value], dtype=torch.float64).to(dtype)
    bits = first.view(WIDTHS[first.element_size()])
    candidates = [first, *((bits + step).view(dtype) for step in (-1, 1))]
    finite = [one for one in candidates if one.float().isfinite().all() and (one.double() * value >= 0).all()]
    return min(finite, key=lambda one: (abs(Fraction(one.double().item()) - Fraction(value)), _is_odd(one)))


def _is_odd(number: torch.Tensor) -> bool:
    return int(number.view(WIDTHS[number.element_size()]).item()) % 2 == 1

"""Value vectors in memory are rounded once, and to the bits that a file of the same format gets."""

import numpy as np
import pytest
import torch

from knedit.dtypes import narrow
from knedit.errors import CheckpointError
from knedit.models.precision import STORED, rounded_once
from tests.rounding import WIDTHS, nearest

FORMATS = {name: dtype for dtype, name in STORED.items() if dtype != torch.float64}


def bits_of(tensor: torch.Tensor) -> list[int]:
    return [int(number) & (1 << 8 * tensor.element_size()) - 1 for number in tensor.view(WIDTHS[tensor.element_size()])]


def values_for(dtype: torch.dtype) -> torch.Tensor:
    """Return random float64 numbers of every size that the format has, subnormals too, and what lies about its ties."""
    random, limits = np.random.default_rng(0), torch.finfo(dtype)
    least, most = np.log2(limits.smallest_normal) + np.log2(limits.eps) - 2, np.log2(limits.max)
    drawn = 2.0 ** random.uniform(least, most, 300) * random.choice([-1, 1], 300)
    below = torch.from_numpy(drawn).to(dtype)
    above = (below.view(WIDTHS[below.element_size()]) + 1).view(dtype).double().numpy()
    ties = ((below.double().numpy() + above) / 2)[np.isfinite(above) & (np.abs(above) <= limits.max)]
    found = [drawn, ties, np.nextafter(ties, 0), np.nextafter(ties, np.inf), [0.0, -0.0, limits.max, -limits.max]]
    return torch.from_numpy(np.concatenate(found))


@pytest.mark.parametrize("name", FORMATS)
def test_values_are_rounded_once_to_the_nearest_halves_to_even(name: str) -> None:
    dtype = FORMATS[name]
    values = values_for(dtype)
    found = rounded_once(values, dtype)
    assert bits_of(found) == narrow(values.numpy(), name).tolist()
    assert bits_of(found) == [
        bits_of(nearest(value, dtype))[0] if value else bits_of(torch.tensor([value]).to(dtype))[0]
        for value in values.tolist()
    ]


@pytest.mark.parametrize("name", ["F16", "BF16", "F8_E4M3", "F8_E5M2"])
def test_torch_alone_would_round_twice(name: str) -> None:
    """Else there would be no need for any of it."""
    values = values_for(FORMATS[name])
    assert bits_of(rounded_once(values, FORMATS[name])) != bits_of(values.to(FORMATS[name]))


@pytest.mark.parametrize("name", FORMATS)
def test_what_lies_beyond_the_largest_number_is_refused_and_what_rounds_to_it_is_not(name: str) -> None:
    largest = torch.tensor([torch.finfo(FORMATS[name]).max], dtype=torch.float64)
    stored = largest.to(FORMATS[name])
    next_largest = (stored.view(WIDTHS[stored.element_size()]) - 1).view(stored.dtype).double()
    beyond = torch.cat([largest + (largest - next_largest) / 2, (next_largest - largest) / 2 - largest])
    within = rounded_once(torch.nextafter(beyond, torch.zeros(2, dtype=torch.float64)), FORMATS[name])
    assert torch.equal(within.double(), torch.cat([largest, -largest]))
    for value in beyond:
        with pytest.raises(CheckpointError, match=f"too large for {name}: 1 of 1"):
            rounded_once(value[None], FORMATS[name])
    with pytest.raises(CheckpointError, match="not finite: 1 of 2, the first at"):
        rounded_once(torch.tensor([0.0, torch.nan], dtype=torch.float64), FORMATS[name])


def test_values_of_the_format_itself_stay_as_they_are() -> None:
    values = torch.tensor([torch.inf, torch.nan, 1.5], dtype=torch.bfloat16)
    assert rounded_once(values, torch.bfloat16) is values

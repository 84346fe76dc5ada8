from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from knedit.dtypes import cast, narrow, widen
from knedit.errors import CheckpointError

EDGES = np.array([0x0000, 0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF], dtype=np.uint32)


def every_kind_of_float32() -> NDArray[Any]:
    """Return, for each bfloat16 bit pattern, it and its neighbours: around each tie, subnormals, both zeros."""
    bits = (np.arange(0x10000, dtype=np.uint32)[:, None] << 16) | EDGES
    values = bits.ravel().view(np.float32)
    return values[np.isfinite(values)]


def nearest_bfloat16(value: float) -> int:
    """Return the bits of the bfloat16 nearest to `value`, ties to even, by exact fractions."""

    def number(bits: int) -> Fraction:
        return Fraction(float(np.array([bits << 16], dtype=np.uint32).view(np.float32)[0]))

    low, high = 0, 0x7F7F
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if number(middle) <= abs(Fraction(value)) else (low, middle - 1)
    below, above = abs(Fraction(value)) - number(low), number(min(low + 1, 0x7F7F)) - abs(Fraction(value))
    nearest = low + 1 if above < below or (above == below and low % 2) else low
    return nearest | (0x8000 if np.signbit(value) else 0)


def test_bfloat16_is_rounded_as_torch_rounds_it_for_every_pattern() -> None:
    values = every_kind_of_float32()
    rounded = torch.from_numpy(values).to(torch.bfloat16)
    fits = torch.isfinite(rounded).numpy()
    bits = narrow(values[fits], "BF16")
    np.testing.assert_array_equal(bits, rounded.view(torch.int16).numpy().view(np.uint16)[fits])
    np.testing.assert_array_equal(widen(bits, "BF16"), rounded.float().numpy()[fits])
    for value in values[~fits]:
        with pytest.raises(CheckpointError, match="too large for BF16"):
            narrow(np.array([value]), "BF16")


def test_float64_is_rounded_to_bfloat16_once() -> None:
    random = np.random.default_rng(0)
    ties = (random.integers(0, 0x7F7F, 400, dtype=np.uint32) << 16 | 0x8000).view(np.float32).astype(np.float64)
    near = [ties, np.nextafter(ties, 0), np.nextafter(ties, np.inf), -np.nextafter(ties, np.inf)]
    values = np.concatenate(
        [*near, random.normal(size=400), random.normal(size=50) * 1e-40, [0.0, -0.0, 5e-324, -1e-60]]
    )
    assert narrow(values, "BF16").tolist() == [nearest_bfloat16(value) for value in values.tolist()]


@pytest.mark.parametrize(("dtype", "torch_type"), [("F16", torch.float16), ("F32", torch.float32)])
def test_half_and_single_are_rounded_as_torch_rounds_them(dtype: str, torch_type: torch.dtype) -> None:
    random = np.random.default_rng(1)
    scales = 2.0 ** random.integers(-30, 15, 5000)
    tiny = [0.0, -0.0, 2.0**-25, 2.0**-24 * 1.5, 65504.0, 65519.0, 1 + 2.0**-11, 1 + 3 * 2.0**-11]
    values = np.concatenate([random.normal(size=5000) * scales, tiny]).astype(np.float32)
    values = values[np.abs(values) < 65520]
    expected = torch.from_numpy(values).to(torch_type)
    assert cast(values, dtype).tobytes() == expected.float().numpy().tobytes()


EIGHT_BITS = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}


@pytest.mark.parametrize("dtype", EIGHT_BITS)
def test_every_eight_bit_pattern_is_widened_as_torch_widens_it(dtype: str) -> None:
    bits = np.arange(256, dtype=np.uint8)
    expected = torch.from_numpy(bits).view(EIGHT_BITS[dtype]).float().numpy()
    np.testing.assert_array_equal(widen(bits, dtype), expected)
    np.testing.assert_array_equal(np.signbit(widen(bits, dtype)), np.signbit(expected))


@pytest.mark.parametrize("dtype", EIGHT_BITS)
def test_eight_bits_are_rounded_as_torch_rounds_them_and_what_is_too_large_is_refused(dtype: str) -> None:
    numbers = widen(np.arange(128, dtype=np.uint8), dtype)
    numbers = numbers[np.isfinite(numbers)]
    middles = (numbers[1:] + numbers[:-1]) / 2
    values = np.concatenate(
        [numbers, middles, np.nextafter(middles, np.float32(0)), np.nextafter(middles, numbers[1:])]
    )
    values = np.concatenate([values, -values])
    expected = torch.from_numpy(values).to(EIGHT_BITS[dtype]).view(torch.uint8).numpy()
    np.testing.assert_array_equal(narrow(values, dtype), expected)
    np.testing.assert_array_equal(narrow(values.astype(np.float64), dtype), expected)
    beyond = numbers[-1] + (numbers[-1] - numbers[-2]) / 2
    assert widen(narrow(np.nextafter(np.array([beyond]), np.float32(0)), dtype), dtype) == numbers[-1]
    for value in (beyond, -beyond, 1e6):
        with pytest.raises(CheckpointError, match=f"too large for {dtype}"):
            narrow(np.array([value]), dtype)


def test_what_is_stored_comes_back_unchanged() -> None:
    values = np.array([[1.5, -2.0], [0.0, 3.25]])
    assert {
        dtype: (cast(values, dtype).dtype.name, cast(values, dtype).tolist()) for dtype in ("F64", "F32", "F16")
    } == {
        "F64": ("float64", values.tolist()),
        "F32": ("float32", values.tolist()),
        "F16": ("float32", values.tolist()),
    }


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_values_that_are_not_finite_are_refused(value: float, dtype: str) -> None:
    with pytest.raises(CheckpointError, match=r"not finite: 1 of 2, the first at \[1\]"):
        cast(np.array([0.0, value]), dtype)


@pytest.mark.parametrize(("value", "dtype"), [(65520.0, "F16"), (-1e39, "F32"), (3.4e38, "BF16"), (1e300, "BF16")])
def test_values_too_large_for_the_stored_type_are_refused(value: float, dtype: str) -> None:
    with pytest.raises(CheckpointError, match=f"too large for {dtype}"):
        cast(np.array([value]), dtype)


def test_other_types_are_refused() -> None:
    with pytest.raises(CheckpointError, match="stored as F8_E8M0 cannot be edited"):
        cast(np.zeros(1), "F8_E8M0")
    with pytest.raises(CheckpointError, match="type int64 are not plain floats"):
        cast(np.zeros(1, dtype=np.int64), "F32")

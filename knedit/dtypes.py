"""The number formats of safetensors: their sizes, and plain floats rounded to them once and widened exactly.

Edited value vectors are rounded here alone, for files and for networks in memory, so that both hold the same bits.
Knows nothing of either. Stored numbers are handled as their bits, unsigned little-endian integers, so that nothing
changes them on the way. Rounding is to nearest, ties to even.

Eight-bit floats are those of "FP8 Formats for Deep Learning" (Micikevicius et al., 2022): F8_E5M2 has infinities,
F8_E4M3 has none, and one pattern of either sign for NaN.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knedit.errors import CheckpointError

Bits = NDArray[Any]  # unsigned integers as wide as the format
Floats = NDArray[Any]  # float32, or float64

BIT_WIDTHS = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
EIGHT_BIT_FLOATS = {"F8_E4M3": (4, 0x7E), "F8_E5M2": (5, 0x7B)}  # bits of the exponent, the largest number's pattern
PLAIN_FLOATS = ("F16", "BF16", "F32", "F64", *EIGHT_BIT_FLOATS)


def bits_type(dtype: str) -> np.dtype[Any]:
    """Return the unsigned integers that hold numbers of the plain float format `dtype`."""
    assert dtype in PLAIN_FLOATS, dtype
    return np.dtype(f"<u{BIT_WIDTHS[dtype] // 8}")


def widen(bits: Bits, dtype: str) -> Floats:
    """Return the numbers that `bits` stand for, exactly: float64 for F64, else float32."""
    if dtype in EIGHT_BIT_FLOATS:
        widened: Floats = _eight_bit_numbers(dtype)[bits]
        return widened
    if dtype == "BF16":
        return (bits.astype("<u4") << 16).view("<f4").astype(np.float32, copy=False)
    floats = bits.view(f"<f{bits.dtype.itemsize}")
    return floats.astype(np.float64 if dtype == "F64" else np.float32, copy=False)


def narrow(values: Floats, dtype: str, *, where: str = "") -> Bits:
    """Return the bits of `values` rounded once to `dtype`.

    Raises CheckpointError, about `where`, when a value is not finite before or after.
    """
    if dtype not in PLAIN_FLOATS:
        cure = "Edit the checkpoint it was quantised from."
        raise CheckpointError(f"Weights stored as {dtype} cannot be edited", where, cure)
    if values.dtype not in (np.float16, np.float32, np.float64):
        raise CheckpointError(f"Values of type {values.dtype} are not plain floats", where)
    _refuse_any(~np.isfinite(values), "The new weights are not finite", where)
    with np.errstate(over="ignore", under="ignore"):
        if dtype in EIGHT_BIT_FLOATS:
            bits = _round_to_eight_bits(values, dtype)
        elif dtype == "BF16":
            bits = _round_to_bfloat16(values)
        else:
            width = BIT_WIDTHS[dtype] // 8
            bits = values.astype(f"<f{width}", order="C").view(bits_type(dtype))
    _refuse_any(~np.isfinite(widen(bits, dtype)), f"The new weights are too large for {dtype}", where)
    return bits


def cast(values: Floats, dtype: str) -> Floats:
    """Return `values` as they are once stored as `dtype`, widened back exactly. Raises CheckpointError as `narrow`."""
    return widen(narrow(values, dtype), dtype)


@cache
def _eight_bit_numbers(dtype: str) -> Floats:
    """Return the 256 numbers, by their patterns."""
    exponent_bits, largest = EIGHT_BIT_FLOATS[dtype]
    mantissa_bits, bias = 7 - exponent_bits, (1 << (exponent_bits - 1)) - 1
    patterns = np.arange(128)
    exponent, mantissa = patterns >> mantissa_bits, patterns & ((1 << mantissa_bits) - 1)
    fraction = (exponent > 0) + mantissa / (1 << mantissa_bits)
    numbers = np.ldexp(fraction, np.maximum(exponent, 1) - bias)
    numbers[largest + 1 :] = np.nan
    if dtype == "F8_E5M2":
        numbers[largest + 1] = np.inf
    return np.concatenate([numbers, -numbers]).astype(np.float32)


def _round_to_eight_bits(values: Floats, dtype: str) -> Bits:
    _, largest = EIGHT_BIT_FLOATS[dtype]
    numbers = _eight_bit_numbers(dtype)[: largest + 1].astype(np.float64)
    middles = (numbers[1:] + numbers[:-1]) / 2
    beyond = numbers[-1] + (numbers[-1] - numbers[-2]) / 2  # from here on the next number would be the nearer one
    sizes = np.abs(values.astype(np.float64))
    found = np.searchsorted(np.append(middles, beyond), sizes)
    tie = found < len(middles)
    tie &= (found & 1 == 1) & (middles[np.minimum(found, len(middles) - 1)] == sizes)
    found = np.where(sizes >= beyond, 0x7F, found + tie)
    return (found | np.signbit(values) << np.intp(7)).astype(np.uint8)


def _round_to_bfloat16(values: Floats) -> Bits:
    single = _round_to_odd(values) if values.dtype == np.float64 else values.astype("<f4", order="C")
    bits = single.view("<u4")
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype("<u2")


def _round_to_odd(values: Floats) -> Floats:
    """Return float64 `values` as float32, cut towards 0 with the last bit set where inexact: to round again is safe."""
    single = values.astype("<f4", order="C")
    too_far = np.abs(single.astype(np.float64)) > np.abs(values)
    single[too_far] = np.nextafter(single[too_far], np.float32(0))
    inexact = single.astype(np.float64) != values
    single.view("<u4")[inexact] |= np.uint32(1)
    return single


def _refuse_any(wrong: NDArray[np.bool_], what: str, where: str) -> None:
    if wrong.any():
        first = [int(number) for number in np.argwhere(wrong)[0]]
        cure = "Ask for a smaller change: a lower norm bound, or fewer facts at once."
        raise CheckpointError(f"{what}: {int(wrong.sum())} of {wrong.size}, the first at {first}", where, cure)

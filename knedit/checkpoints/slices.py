"""Rows and columns of a stored matrix, read and written as bits where they lie, in blocks of rows.

Knows nothing of folders and what the numbers mean. A column is strided, so its rows are passed through memory a block
at a time; a row is contiguous.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from knedit.checkpoints.dtypes import Bits, bits_type
from knedit.checkpoints.header import TensorPlace

BLOCK = 8 << 20  # bytes in memory at a time, or one row if that is longer


def read_bits(path: Path, place: TensorPlace, axis: int, indices: Sequence[int]) -> Bits:
    """Return the bits of the slices `indices` along `axis`: (n, D), in the order of `indices`.

    `place` is a matrix of plain floats in `path`. Raises OSError.
    """
    assert len(place.shape) == 2, place
    assert axis in (0, 1), axis
    chosen = np.asarray(indices, dtype=np.intp)
    bits = np.empty((len(chosen), place.shape[1 - axis]), dtype=bits_type(place.dtype))
    with path.open("rb", buffering=0) as stream:
        if axis == 0:
            for number, index in enumerate(chosen):
                bits[number] = _read_rows(stream.fileno(), place, int(index), int(index) + 1)[0]
        else:
            for first, last in row_blocks(place):
                bits[:, first:last] = _read_rows(stream.fileno(), place, first, last)[:, chosen].T
    return bits


def write_bits(path: Path, place: TensorPlace, axis: int, indices: Sequence[int], bits: Bits) -> None:
    """Write `bits` (n, D) over the slices `indices` along `axis` of the matrix at `place` in `path`.

    No other byte changes. Raises OSError.
    """
    assert bits.shape == (len(indices), place.shape[1 - axis]), bits.shape
    chosen = np.asarray(indices, dtype=np.intp)
    with path.open("r+b", buffering=0) as stream:
        if axis == 0:
            for number, index in enumerate(chosen):
                _write_rows(stream.fileno(), place, int(index), bits[number : number + 1])
            return
        for first, last in row_blocks(place):
            rows = _read_rows(stream.fileno(), place, first, last)
            rows[:, chosen] = bits[:, first:last].T
            _write_rows(stream.fileno(), place, first, rows)


def row_blocks(place: TensorPlace) -> Iterator[tuple[int, int]]:
    """Yield the first row of each block of rows, and the row after its last."""
    rows, width = place.shape
    step = max(1, BLOCK // max(1, width * bits_type(place.dtype).itemsize))
    for first in range(0, rows, step):
        yield first, min(rows, first + step)


def read_exactly(handle: int, offset: int, length: int) -> bytearray:
    """Return `length` bytes from `offset` of the open file. Raises OSError, also when the file ends before."""
    block = bytearray(length)
    view = memoryview(block)
    while view:
        count = os.preadv(handle, [view], offset)
        if not count:
            raise OSError(errno.EIO, f"the file ends early, at byte {offset:,}")
        view, offset = view[count:], offset + count
    return block


def _read_rows(handle: int, place: TensorPlace, first: int, last: int) -> Bits:
    width, dtype = place.shape[1], bits_type(place.dtype)
    length = (last - first) * width * dtype.itemsize
    block = read_exactly(handle, place.begin + first * width * dtype.itemsize, length)
    return np.frombuffer(block, dtype=dtype).reshape(last - first, width)


def _write_rows(handle: int, place: TensorPlace, first: int, rows: Bits) -> None:
    offset = place.begin + first * place.shape[1] * rows.dtype.itemsize
    view = memoryview(rows.tobytes())
    while view:
        count = os.pwrite(handle, view, offset)
        view, offset = view[count:], offset + count

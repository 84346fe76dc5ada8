"""Rows and columns of a stored matrix, handled as bits where they lie, tile by tile.

Knows nothing of folders and what the numbers mean. A column is strided, so the rows around it pass through memory a
tile at a time; a row is contiguous.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knedit.checkpoints.dtypes import Bits, bits_type

BLOCK = 8 << 20  # bytes in memory at a time


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix in a file, from byte `begin`: `rows` of `columns` numbers, each row `pitch` numbers after the last.

    Only rows that are parts of longer ones (`pitch` > `columns`) may not be cut by columns.
    """

    begin: int
    rows: int
    columns: int
    pitch: int
    dtype: str

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.columns

    @property
    def size(self) -> int:
        """The bytes of one number."""
        return bits_type(self.dtype).itemsize

    @property
    def end(self) -> int:
        return self.begin + max(0, (self.rows - 1) * self.pitch + self.columns) * self.size if self.rows else self.begin


@dataclass(frozen=True, slots=True)
class Tile:
    """The bytes `begin` to `end` of a file: rows `first` to `last` of a matrix, or one row's columns from `column`."""

    begin: int
    end: int
    first: int
    last: int
    column: int = 0


def tiles(matrix: Matrix, block: int = BLOCK) -> Iterator[Tile]:
    """Yield what covers the matrix's bytes without a gap, each at most `block` bytes."""
    pitch = matrix.pitch * matrix.size
    if pitch <= block:
        step = max(1, block // max(1, pitch))
        for first in range(0, matrix.rows, step):
            last = min(matrix.rows, first + step)
            end = matrix.end if last == matrix.rows else matrix.begin + last * pitch
            yield Tile(matrix.begin + first * pitch, end, first, last)
        return
    step = block // matrix.size
    for row in range(matrix.rows):
        width = matrix.columns if row == matrix.rows - 1 else matrix.pitch
        for column in range(0, width, step):
            begin = matrix.begin + row * pitch + column * matrix.size
            yield Tile(begin, begin + min(step, width - column) * matrix.size, row, row + 1, column)


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """The bits (n, D) of a matrix's slices along `axis` (1: columns, 0: rows), in rising order of `indices`."""

    matrix: Matrix
    axis: int
    indices: NDArray[np.intp]
    bits: Bits

    def lay_over(self, tile: Tile, block: bytearray | memoryview) -> None:
        """Write those of the slices' numbers that lie in `tile` over its bytes in `block`."""
        for numbers, places, part in self._meeting(tile, block):
            numbers[places] = part

    def take_from(self, tile: Tile, block: bytearray | memoryview) -> None:
        """Fill `bits` with those of the slices' numbers that lie in `tile`, from its bytes in `block`."""
        for numbers, places, part in self._meeting(tile, block):
            part[...] = numbers[places]

    def meets(self, tile: Tile) -> bool:
        """Tell whether one of the slices' numbers may lie in `tile`."""
        if self.axis == 1:
            return True
        low, high = np.searchsorted(self.indices, (tile.first, tile.last)).tolist()
        return bool(low < high)

    def _meeting(self, tile: Tile, block: bytearray | memoryview) -> Iterator[tuple[Any, Any, Any]]:
        """Yield views of the block, what to choose of them, and the views of `bits` that belong there."""
        matrix = self.matrix
        flat = np.frombuffer(block, dtype=bits_type(matrix.dtype), count=(tile.end - tile.begin) // matrix.size)
        if self.axis == 0:
            low, high = np.searchsorted(self.indices, (tile.first, tile.last)).tolist()
            for number in range(low, high):
                at = (int(self.indices[number]) - tile.first) * matrix.pitch
                row = flat[at : at + max(0, matrix.columns - tile.column)]
                yield row, ..., self.bits[number, tile.column : tile.column + len(row)]
        elif len(flat) < matrix.pitch:
            low, high = np.searchsorted(self.indices, (tile.column, tile.column + len(flat))).tolist()
            yield flat, self.indices[low:high] - tile.column, self.bits[low:high, tile.first]
        else:
            yield flat.reshape(-1, matrix.pitch).T, self.indices, self.bits[:, tile.first : tile.last]


def read_slices_at(path: Path, slices: Slices) -> None:
    """Fill the slices' `bits` from the file at `path`. Raises OSError."""
    with path.open("rb", buffering=0) as stream:
        for tile in tiles(slices.matrix):
            if slices.meets(tile):
                slices.take_from(tile, read_exactly(stream.fileno(), tile.begin, tile.end - tile.begin))


def read_bits(path: Path, matrix: Matrix, axis: int, indices: Sequence[int]) -> Bits:
    """Return the bits of the slices `indices` along `axis`: (n, D), in the order of `indices`. Raises OSError."""
    chosen = np.asarray(indices, dtype=np.intp)
    order = np.argsort(chosen, kind="stable")
    bits = np.empty((len(chosen), matrix.shape[1 - axis]), dtype=bits_type(matrix.dtype))
    read_slices_at(path, Slices(matrix, axis, chosen[order], bits))
    return bits[np.argsort(order)]


def read_exactly(handle: int, offset: int, length: int) -> bytearray:
    """Return `length` bytes from `offset` of the open file. Raises OSError, also when the file ends before."""
    block = bytearray(length)
    read_into(handle, offset, memoryview(block))
    return block


def read_into(handle: int, offset: int, view: memoryview) -> None:
    """Fill `view` from `offset` of the open file. Raises OSError, also when the file ends before."""
    while view:
        count = os.preadv(handle, [view], offset)
        if not count:
            raise OSError(errno.EIO, f"the file ends early, at byte {offset:,}")
        view, offset = view[count:], offset + count


def write_all(handle: int, offset: int, view: memoryview) -> None:
    """Write `view` at `offset` of the open file. Raises OSError."""
    while view:
        count = os.pwrite(handle, view, offset)
        view, offset = view[count:], offset + count

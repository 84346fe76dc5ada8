"""Rows and columns of a stored matrix, handled as bits where they lie, block by block.

Knows nothing of folders and what the numbers mean. A column is strided, so the rows around it pass through memory a
block at a time; a row is contiguous. A block may begin and end anywhere, also within a row.
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

    def window(self, begin: int, end: int) -> tuple[int, int]:
        """Return where the numbers that reach into the bytes `begin` to `end` begin and end; empty without any."""
        first = max(0, begin - self.begin) // self.size
        last = -(-max(0, min(end, self.end) - self.begin) // self.size)
        return self.begin + first * self.size, self.begin + max(first, last) * self.size

    def blocks(self, block: int = BLOCK) -> Iterator[tuple[int, int]]:
        """Yield the bytes of whole numbers that cover the matrix without a gap, each at most `block` bytes."""
        step = block // self.size * self.size
        for begin in range(self.begin, self.end, step):
            yield begin, min(self.end, begin + step)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Numbers of a block, from its number `at` on, some or all of which belong to the slices `low` to `high`.

    Of `rows` rows from `row` on (along axis 0: of the slice's own) they are the columns `first` to `last`.
    """

    at: int
    low: int
    high: int
    row: int
    rows: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """The bits (n, D) of a matrix's slices along `axis` (1: columns, 0: rows), in rising order of `indices`."""

    matrix: Matrix
    axis: int
    indices: NDArray[np.intp]
    bits: Bits

    def lay_over(self, begin: int, block: bytearray | memoryview, differing: NDArray[np.bool_]) -> None:
        """Write those of the slices' numbers that lie in `block` over its bytes, the file's from `begin` on.

        The block holds whole numbers of the matrix. `differing` (n) is set for slices that it held otherwise.
        """
        for numbers, places, part, which in self._meeting(begin, block):
            changed = numbers[places] != part
            differing[which] |= changed.reshape(which.stop - which.start, -1).any(axis=1)
            numbers[places] = part

    def take_from(self, begin: int, block: bytearray | memoryview) -> None:
        """Fill `bits` with those of the slices' numbers that lie in `block`, the file's bytes from `begin` on."""
        for numbers, places, part, _ in self._meeting(begin, block):
            part[...] = numbers[places]

    def meets(self, begin: int, end: int) -> bool:
        """Tell whether one of the slices' numbers lies in the bytes `begin` to `end` of the file."""
        begin, end = self.matrix.window(begin, end)
        return next(self._pieces(begin, end), None) is not None

    def _meeting(self, begin: int, block: bytearray | memoryview) -> Iterator[tuple[Any, Any, Any, slice]]:
        """Yield views of the block, what to choose of them, what of `bits` belongs there, and whose that is."""
        flat = np.frombuffer(block, dtype=bits_type(self.matrix.dtype))
        for piece in self._pieces(begin, begin + len(block)):
            numbers = flat[piece.at : piece.at + (piece.last - piece.first) * piece.rows]
            which = slice(piece.low, piece.high)
            if self.axis == 0:
                yield numbers, ..., self.bits[piece.low, piece.first : piece.last], which
            else:
                places = self.indices[which] - piece.first
                rows = self.bits[which, piece.row : piece.row + piece.rows]
                yield numbers.reshape(piece.rows, -1).T, places, rows, which

    def _pieces(self, begin: int, end: int) -> Iterator[_Piece]:
        """Yield what the slices share with the whole numbers in the bytes `begin` to `end` of the matrix."""
        at, last = ((edge - self.matrix.begin) // self.matrix.size for edge in (begin, end))
        return self._parts_of_rows(at, last) if self.axis == 0 else self._parts_of_columns(at, last)

    def _parts_of_rows(self, at: int, last: int) -> Iterator[_Piece]:
        pitch = self.matrix.pitch
        low, high = np.searchsorted(self.indices, (at // pitch, -(-last // pitch))).tolist()
        for number in range(low, high):
            start = int(self.indices[number]) * pitch
            first, until = max(0, at - start), min(self.matrix.columns, last - start)
            if first < until:
                yield _Piece(start + first - at, number, number + 1, 0, 1, first, until)

    def _parts_of_columns(self, at: int, last: int) -> Iterator[_Piece]:
        """Yield the end of a row, whole rows, and the beginning of a row, so far as they are there."""
        pitch, start = self.matrix.pitch, at
        while at < last:
            row, first = divmod(at, pitch)
            rows = 1 if first else max(1, (last - at) // pitch)
            until = min(pitch, first + last - at)
            low, high = np.searchsorted(self.indices, (first, until)).tolist()
            if low < high:
                yield _Piece(at - start, low, high, row, rows, first, until)
            at += (until - first) * rows


def read_slices_at(path: Path, slices: Slices) -> None:
    """Fill the slices' `bits` from the file at `path`. Raises OSError."""
    with path.open("rb", buffering=0) as stream:
        for begin, end in slices.matrix.blocks():
            if slices.meets(begin, end):
                slices.take_from(begin, read_exactly(stream.fileno(), begin, end - begin))


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

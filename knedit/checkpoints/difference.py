"""What two checkpoints differ in: files, tensors, and by how much; where one asks for it, slice by slice.

Knows nothing of neurons. Shards may be cut differently, and tensors stored in different precisions: then the numbers
are compared. Both folders are streamed side by side; only blocks of them are in memory.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knedit.checkpoints.fingerprint import file_sha256
from knedit.checkpoints.folder import list_files, reach, reading
from knedit.checkpoints.header import TensorPlace
from knedit.checkpoints.shards import read_places, weight_files
from knedit.checkpoints.slices import read_exactly
from knedit.dtypes import PLAIN_FLOATS, Floats, bits_type, widen

NUMBERS = 1 << 19  # of each side, in memory together
Size = tuple[float, float]  # the norm of the difference, and of the first folder's values


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """A tensor that differs: `relative` is ‖B − A‖ / ‖A‖ over all of it, None where A is 0 or holds no plain floats.

    `slices` has the same by (number in the stack, index), for those slices that differ; empty where none were asked.
    """

    tensor: str
    file: str
    relative: float | None
    slices: Mapping[tuple[int, int], float | None]


@dataclass(frozen=True, slots=True)
class Difference:
    """What two folders differ in. `reshaped` have another shape or stand for other kinds of numbers."""

    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    files: tuple[str, ...]
    tensors_only_first: tuple[str, ...]
    tensors_only_second: tuple[str, ...]
    reshaped: tuple[str, ...]
    converted: int
    changed: tuple[TensorDifference, ...]


def compare_folders(first: Path, second: Path, axes: Mapping[str, int]) -> Difference:
    """Return what the checkpoints in two folders differ in, by name and in the order of bytes.

    `axes` names the tensors whose slices are told, and along which axis they lie (1: columns, 0: rows). `converted`
    tensors are stored in another precision. Raises CheckpointError.
    """
    ours, theirs = read_places(first), read_places(second)
    both = [name for name in ours if name in theirs]
    reshaped = [name for name in both if not _comparable(ours[name], theirs[name])]
    pairs = [(ours[name], theirs[name]) for name in both if name not in reshaped]
    compared = [_compare(first, second, pair, axes.get(pair[0].name)) for pair in pairs]
    files, others = (_plain_files(folder) for folder in (first, second))
    return Difference(
        tuple(sorted(files - others)),
        tuple(sorted(others - files)),
        tuple(name for name in sorted(files & others) if _differs(first, second, name)),
        tuple(name for name in ours if name not in theirs),
        tuple(name for name in theirs if name not in ours),
        tuple(reshaped),
        sum(ours[name].dtype != theirs[name].dtype for name in both),
        tuple(one for one in compared if one),
    )


def _plain_files(folder: Path) -> set[str]:
    return set(list_files(folder)) - set(weight_files(folder))


def _differs(first: Path, second: Path, name: str) -> bool:
    return file_sha256(reach(first, name)) != file_sha256(reach(second, name))


def _comparable(one: TensorPlace, other: TensorPlace) -> bool:
    numbers = one.dtype == other.dtype or {one.dtype, other.dtype} <= set(PLAIN_FLOATS)
    return one.shape == other.shape and numbers


def _compare(
    first: Path, second: Path, places: tuple[TensorPlace, TensorPlace], axis: int | None
) -> TensorDifference | None:
    paths = reach(first, places[0].file), reach(second, places[1].file)
    one = places[0]
    with reading(first), paths[0].open("rb", buffering=0) as left, paths[1].open("rb", buffering=0) as right:
        handles = left.fileno(), right.fileno()
        if one.dtype == places[1].dtype and _same_bytes(handles, places):
            return None
        if one.dtype not in PLAIN_FLOATS:
            return TensorDifference(one.name, one.file, None, {})
        sliced = axis is not None and len(one.shape) in (2, 3)
        total = _slice_sums(handles, places, axis or 0) if sliced else _sums(handles, places)
    if not total[0].any() and one.dtype != places[1].dtype:
        return None  # the same numbers, stored otherwise
    chosen = np.argwhere(total[0]).tolist() if sliced else []
    slices = {(member, index): _relative(*total[:, member, index]) for member, index in chosen}
    return TensorDifference(one.name, one.file, _relative(*total.sum(axis=(1, 2))), slices)


def _sums(handles: tuple[int, int], places: tuple[TensorPlace, TensorPlace]) -> NDArray[np.float64]:
    total = np.zeros((2, 1, 1))
    for _, values, change in _blocks(handles, places, 1):
        total[:, 0, 0] += _square(change), _square(values)
    return total


def _slice_sums(handles: tuple[int, int], places: tuple[TensorPlace, TensorPlace], axis: int) -> NDArray[np.float64]:
    """Return the squared norms [2, E, n] of the difference and of the first folder's values, slice by slice."""
    members, rows, columns = (1, *places[0].shape)[-3:]
    total = np.zeros((2, members, (rows, columns)[axis]))
    for at, values, change in _blocks(handles, places, columns):
        first, column = divmod(at, columns)
        width = len(values) if len(values) < columns else columns
        for number, (line, moved) in enumerate(zip(values.reshape(-1, width), change.reshape(-1, width), strict=True)):
            member, row = divmod(first + number, rows)
            if axis == 0:
                total[:, member, row] += _square(moved), _square(line)
            else:
                total[0, member, column : column + width] += moved**2
                total[1, member, column : column + width] += line**2
    return total


def _blocks(
    handles: tuple[int, int], places: tuple[TensorPlace, TensorPlace], columns: int
) -> Iterator[tuple[int, Floats, Floats]]:
    """Yield the first folder's values and the differences, from the number on that comes first.

    A block is whole rows, or a part of one row where that is longer than a block.
    """
    for at, length in _cuts(math.prod(places[0].shape), columns):
        sides = []
        for handle, place in zip(handles, places, strict=True):
            kind = bits_type(place.dtype)
            block = read_exactly(handle, place.begin + at * kind.itemsize, length * kind.itemsize)
            sides.append(widen(np.frombuffer(block, dtype=kind), place.dtype).astype(np.float64))
        yield at, sides[0], sides[1] - sides[0]


def _cuts(numbers: int, columns: int) -> Iterator[tuple[int, int]]:
    if columns <= NUMBERS:
        step = NUMBERS // max(columns, 1) * max(columns, 1)
        yield from ((at, min(step, numbers - at)) for at in range(0, numbers, step))
        return
    for row in range(0, numbers, columns):
        yield from ((row + at, min(NUMBERS, columns - at)) for at in range(0, columns, NUMBERS))


def _same_bytes(handles: tuple[int, int], places: tuple[TensorPlace, TensorPlace]) -> bool:
    length, step = places[0].end - places[0].begin, 8 * NUMBERS
    for at in range(0, length, step):
        size = min(step, length - at)
        if read_exactly(handles[0], places[0].begin + at, size) != read_exactly(handles[1], places[1].begin + at, size):
            return False
    return True


def _square(values: Floats) -> float:
    return float(np.vdot(values, values))


def _relative(change: Any, size: Any) -> float | None:
    with np.errstate(all="ignore"):
        relative = math.sqrt(np.float64(change) / np.float64(size))
    return relative if math.isfinite(relative) else None

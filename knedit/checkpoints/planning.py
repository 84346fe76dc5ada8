"""Which bytes an edit is to change: slices of named tensors, checked against what is stored and against each other.

Knows nothing of facts, neurons or networks, and writes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from knedit.checkpoints.dtypes import EIGHT_BIT_FLOATS, Bits, Floats, narrow
from knedit.checkpoints.folder import reach, reading
from knedit.checkpoints.manifest import ChangedTensor
from knedit.checkpoints.quantised import refuse_quantised
from knedit.checkpoints.shards import TensorPlace, find_matrix, read_places
from knedit.checkpoints.slices import Slices, read_bits, read_exactly
from knedit.errors import CheckpointError

SCALES = ("_scale_inv", "_scale", "_scales")


@dataclass(frozen=True, slots=True, eq=False)
class TensorPatch:
    """New values (n, D) of the slices `indices` along `axis` of a matrix: 1 for columns, 0 for rows.

    `member` chooses a matrix of a stack; with `span` the slices begin and end there, parts of a fused tensor's.
    """

    tensor: str
    axis: int
    indices: tuple[int, ...]
    values: Floats
    member: int | None = None
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SliceWrite:
    """What one tensor's changed slices are called, and their new bits."""

    change: ChangedTensor
    slices: Slices


def plan_patches(folder: Path, patches: Sequence[TensorPatch]) -> list[SliceWrite]:
    """Return the writes that make the checkpoint in `folder` hold the patches, in the order of files and bytes.

    Slices that stay as they are once rounded are left out. Raises CheckpointError where the checkpoint is quantised,
    where a patch does not fit, where two overlap, and where nothing would change.
    """
    return differing_writes(folder, fitting_writes(folder, patches))


def fitting_writes(folder: Path, patches: Sequence[TensorPatch]) -> list[SliceWrite]:
    """Return the writes as `plan_patches` does, also of slices that stay as they are."""
    places = read_places(folder)
    refuse_quantised(folder, places)
    return ordered_writes([_plan_one(folder, places, patch) for patch in patches])


def plan_bits(folder: Path, places: Mapping[str, TensorPlace], change: ChangedTensor, bits: Bits) -> SliceWrite:
    """Return the write of `bits` (n, D), in the order of the change's rising `indices`. Raises CheckpointError."""
    where = f"{change.tensor} in {folder}"
    place = places.get(change.tensor)
    if place is None or place.file != change.file:
        raise CheckpointError(f"There is no such tensor in {change.file}", where)
    matrix = find_matrix(folder, place, change.axis, change.indices, member=change.member, span=change.span)
    shape = (len(change.indices), matrix.shape[1 - change.axis])
    if bits.shape != shape:
        raise CheckpointError(f"The values are of shape {bits.shape}, not {shape}", where)
    return SliceWrite(change, Slices(matrix, change.axis, np.asarray(change.indices, dtype=np.intp), bits))


def read_change(folder: Path, places: Mapping[str, TensorPlace], change: ChangedTensor) -> SliceWrite:
    """Return the slices that the change names as `folder` has them. Raises CheckpointError."""
    place = places.get(change.tensor)
    if place is None or place.file != change.file:
        raise CheckpointError(f"There is no such tensor in {change.file}", f"{change.tensor} in {folder}")
    matrix = find_matrix(folder, place, change.axis, change.indices, member=change.member, span=change.span)
    path = reach(folder, place.file)
    with reading(path):
        bits = read_bits(path, matrix, change.axis, change.indices)
    return SliceWrite(change, Slices(matrix, change.axis, np.asarray(change.indices, dtype=np.intp), bits))


def differing_writes(folder: Path, writes: Sequence[SliceWrite]) -> list[SliceWrite]:
    """Return the writes in the order of files and bytes, less the slices that `folder` has already.

    Raises CheckpointError where two writes overlap, and where none changes anything.
    """
    ordered = ordered_writes(writes)
    changing = [kept for write in ordered if (kept := kept_slices(write, _differing(folder, write)))]
    if not changing:
        raise _unchanged(folder)
    return changing


def ordered_writes(writes: Sequence[SliceWrite]) -> list[SliceWrite]:
    """Return the writes in the order of files and bytes. Raises CheckpointError where two overlap."""
    ordered = sorted(writes, key=lambda write: (write.change.file, write.slices.matrix.begin))
    for first, second in pairwise(ordered):
        same = first.change.file == second.change.file
        if same and second.slices.matrix.begin < first.slices.matrix.end:
            raise CheckpointError("Two patches change one tensor", second.change.tensor, "Join them into one.")
    return ordered


def refuse_unchanged(folder: Path, writes: Sequence[SliceWrite]) -> None:
    """Raise CheckpointError if `folder` has all of the slices already; stops reading at the first that it has not."""
    if not any(differs.any() for write in writes for differs in _compared(folder, write)):
        raise _unchanged(folder)


def kept_slices(write: SliceWrite, kept: NDArray[np.bool_]) -> SliceWrite | None:
    """Return the write of the slices in `kept` (n) alone, or None where that is none."""
    if kept.all() or not kept.any():
        return write if kept.any() else None
    slices = write.slices
    indices = slices.indices[kept]
    change = replace(write.change, indices=tuple(indices.tolist()))
    return SliceWrite(change, Slices(slices.matrix, slices.axis, indices, slices.bits[kept]))


def _plan_one(folder: Path, places: Mapping[str, TensorPlace], patch: TensorPatch) -> SliceWrite:
    where = f"{patch.tensor} in {folder}"
    place = places.get(patch.tensor)
    if place is None:
        raise CheckpointError("There is no such tensor", where)
    _refuse_scaled(places, place, where)
    indices = [int(index) for index in patch.indices]
    matrix = find_matrix(folder, place, patch.axis, indices, member=patch.member, span=patch.span)
    if not indices or len(set(indices)) != len(indices):
        raise CheckpointError("A patch names no slice, or one twice", where)
    shape = (len(indices), matrix.shape[1 - patch.axis])
    if patch.values.shape != shape:
        raise CheckpointError(f"The values are of shape {patch.values.shape}, not {shape}", where)
    bits = narrow(patch.values[np.argsort(indices)], place.dtype, where=where)
    change = ChangedTensor(patch.tensor, place.file, patch.axis, tuple(sorted(indices)), patch.member, patch.span)
    return plan_bits(folder, places, change, bits)


def _refuse_scaled(places: Mapping[str, TensorPlace], place: TensorPlace, where: str) -> None:
    scales = [place.name + ending for ending in SCALES if place.name + ending in places]
    if place.dtype in EIGHT_BIT_FLOATS and scales:
        cure = "Edit the checkpoint it was quantised from, then quantise the result."
        raise CheckpointError(f"The tensor is quantised: {scales[0]} scales it", where, cure)


def _differing(folder: Path, write: SliceWrite) -> NDArray[np.bool_]:
    found = np.zeros(len(write.slices.indices), dtype=np.bool_)
    for differing in _compared(folder, write):
        found |= differing
    return found


def _compared(folder: Path, write: SliceWrite) -> Iterator[NDArray[np.bool_]]:
    """Yield, block by block of the file, which slices it holds otherwise there."""
    path = reach(folder, write.change.file)
    with reading(path), path.open("rb", buffering=0) as stream:
        for begin, end in write.slices.matrix.blocks():
            if write.slices.meets(begin, end):
                differing = np.zeros(len(write.slices.indices), dtype=np.bool_)
                write.slices.lay_over(begin, read_exactly(stream.fileno(), begin, end - begin), differing)
                yield differing


def _unchanged(folder: Path) -> CheckpointError:
    cure = "The new values equal the stored ones once they are rounded: ask for a larger change."
    return CheckpointError("The edit changes nothing", str(folder), cure)

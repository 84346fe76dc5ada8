"""Whether a checkpoint's bytes differ from its parent's in just the slices that its manifest names.

Knows nothing of edits. Both folders are streamed side by side; only blocks of them are in memory.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knedit.checkpoints.fingerprint import file_sha256, may_be_written
from knedit.checkpoints.folder import OWN_FILES, carried_files, reach, reading
from knedit.checkpoints.header import TensorPlace
from knedit.checkpoints.manifest import ChangedTensor, Manifest
from knedit.checkpoints.shards import find_matrix, read_places, weight_files, weight_set
from knedit.checkpoints.slices import BLOCK, read_exactly
from knedit.dtypes import BIT_WIDTHS

Found = dict[str, int]  # by tensor, how many of its listed slices differ


def compare_files(parent: Path, manifest: Manifest, hashes: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each file, other than weights, that is not the parent's.

    `hashes` has the sha256 of the folder's files. Raises CheckpointError when the parent cannot be read.
    """
    yield from (f"{name} may not differ from the parent's" for name in manifest.written if not may_be_written(name))
    own = {name for name in manifest.written if may_be_written(name)} | set(OWN_FILES)
    mine = hashes.keys() - own
    theirs = set(carried_files(parent, weight_set(parent))) - own
    yield from (f"{name} is missing, the parent has it" for name in sorted(theirs - mine))
    yield from (f"{name} is not of the parent" for name in sorted(mine - theirs))
    for name in sorted((mine & theirs) - set(weight_files(parent))):
        if file_sha256(reach(parent, name)) != hashes[name]:
            yield f"{name} differs from the parent's"


def compare_weights(folder: Path, parent: Path, manifest: Manifest, found: Found) -> Iterator[str]:
    """Yield a sentence for each tensor that differs from the parent's otherwise than `manifest` tells.

    Fills `found`. Raises CheckpointError when a folder cannot be read or the manifest does not fit it.
    """
    places = read_places(parent)
    changed: dict[str, list[ChangedTensor]] = {}
    for change in manifest.changed:
        place = places.get(change.tensor)
        if place is None or place.file != change.file:
            yield f"The manifest names {change.tensor} in {change.file}, which the parent has not"
            return
        find_matrix(parent, place, change.axis, change.indices, member=change.member, span=change.span)
        changed.setdefault(change.tensor, []).append(change)
    for file in weight_files(parent):
        mine, theirs = reach(folder, file), reach(parent, file)
        shard = [place for place in places.values() if place.file == file]
        with reading(folder), mine.open("rb", buffering=0) as left, theirs.open("rb", buffering=0) as right:
            handles = left.fileno(), right.fileno()
            size = os.fstat(handles[1]).st_size
            if os.fstat(handles[0]).st_size != size:
                yield f"{file} is not as long as the parent's"
            elif not _same(handles, 0, shard[0].begin if shard else size):
                yield f"The header of {file} differs from the parent's"
            else:
                for place in shard:
                    yield from _compare_tensor(handles, place, changed.get(place.name, []), found)


@dataclass(frozen=True, slots=True, eq=False)
class _Listed:
    """A change that the manifest lists, and which of its tensor's slices are listed and were found to differ."""

    change: ChangedTensor
    listed: NDArray[np.bool_]
    differing: NDArray[np.bool_]

    def cover(self, member: NDArray[Any], row: NDArray[Any], column: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell which of these differing numbers lie in listed slices, and note those slices."""
        index, across = (column, row) if self.change.axis == 1 else (row, column)
        inside: NDArray[np.bool_] = self.listed[index] & (member == (self.change.member or 0))
        if self.change.span:
            inside &= (across >= self.change.span[0]) & (across < self.change.span[1])
        self.differing[index[inside]] = True
        return inside


def _compare_tensor(
    handles: tuple[int, int], place: TensorPlace, changes: Sequence[ChangedTensor], found: Found
) -> Iterator[str]:
    if not changes:
        if not _same(handles, place.begin, place.end):
            yield f"Tensor {place.name} in {place.file} differs from the parent's"
        return
    listed = [_listed(place, change) for change in changes]
    axis, strange = changes[0].axis, set()
    for numbers in _differing_numbers(handles, place):
        where = np.unravel_index(numbers, (1, *place.shape)[-3:])
        covered = np.zeros(len(numbers), dtype=np.bool_)
        for one in listed:
            covered |= one.cover(*where)
        strange.update(np.unique(where[1 + axis][~covered]).tolist())
    found[place.name] = sum(int(one.differing.sum()) for one in listed)
    if strange:
        yield f"Tensor {place.name} in {place.file} differs from the parent's in slices no edit names: {_few(strange)}"
    idle = {index for one in listed for index in one.change.indices if not one.differing[index]}
    if idle:
        yield f"Tensor {place.name} in {place.file} is the parent's in slices that the edit names: {_few(idle)}"


def _listed(place: TensorPlace, change: ChangedTensor) -> _Listed:
    length = place.shape[-2:][change.axis]
    listed = np.zeros(length, dtype=np.bool_)
    listed[list(change.indices)] = True
    return _Listed(change, listed, np.zeros(length, dtype=np.bool_))


def _few(indices: set[int]) -> str:
    return ", ".join(map(str, sorted(indices)[:5])) + (", …" if len(indices) > 5 else "")


def _same(handles: tuple[int, int], begin: int, end: int) -> bool:
    for offset in range(begin, end, BLOCK):
        left, right = (read_exactly(handle, offset, min(BLOCK, end - offset)) for handle in handles)
        if left != right:
            return False
    return True


def _differing_numbers(handles: tuple[int, int], place: TensorPlace) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of the tensor's numbers that differ, block by block, leaving out blocks without one."""
    size = BIT_WIDTHS[place.dtype] // 8
    block = BLOCK // 8  # positions take up to 64 times the room of the numbers
    for offset in range(place.begin, place.end, block):
        left, right = (read_exactly(handle, offset, min(block, place.end - offset)) for handle in handles)
        if left != right:
            bits = [np.frombuffer(side, dtype=f"<u{size}") for side in (left, right)]
            yield np.flatnonzero(bits[0] != bits[1]) + (offset - place.begin) // size

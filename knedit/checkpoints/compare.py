"""Whether a checkpoint's bytes differ from its parent's only in the slices that its manifest names.

Knows nothing of edits. Both folders are streamed side by side; only blocks of them are in memory.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from knedit.checkpoints.dtypes import bits_type
from knedit.checkpoints.fingerprint import file_sha256, may_be_written
from knedit.checkpoints.folder import OWN_FILES, carried_files, reach, reading
from knedit.checkpoints.header import TensorPlace
from knedit.checkpoints.manifest import ChangedTensor, Manifest
from knedit.checkpoints.shards import check_slices, read_places, weight_files, weight_set
from knedit.checkpoints.slices import BLOCK, read_exactly, row_blocks

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
    """Yield a sentence for each tensor that differs from the parent's outside of what `manifest` names.

    Fills `found`. Raises CheckpointError when a folder cannot be read or the manifest does not fit it.
    """
    places = read_places(parent)
    changed = {change.tensor: change for change in manifest.changed}
    for change in manifest.changed:
        place = places.get(change.tensor)
        if place is None or place.file != change.file:
            yield f"The manifest names {change.tensor} in {change.file}, which the parent has not"
            return
        check_slices(parent, place, change.axis, change.indices)
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
                yield from _compare_tensors(handles, shard, changed, found)


def _compare_tensors(
    handles: tuple[int, int], shard: list[TensorPlace], changed: Mapping[str, ChangedTensor], found: Found
) -> Iterator[str]:
    for place in shard:
        change = changed.get(place.name)
        if change is None:
            if not _same(handles, place.begin, place.end):
                yield f"Tensor {place.name} in {place.file} differs from the parent's"
            continue
        differing = set(np.flatnonzero(_differing_slices(handles, place, change.axis)).tolist())
        found[place.name] = len(differing.intersection(change.indices))
        if others := sorted(differing.difference(change.indices)):
            shown = ", ".join(map(str, others[:5])) + (", …" if len(others) > 5 else "")
            yield f"Tensor {place.name} in {place.file} differs from the parent's in slices no edit names: {shown}"


def _same(handles: tuple[int, int], begin: int, end: int) -> bool:
    for offset in range(begin, end, BLOCK):
        left, right = (read_exactly(handle, offset, min(BLOCK, end - offset)) for handle in handles)
        if left != right:
            return False
    return True


def _differing_slices(handles: tuple[int, int], place: TensorPlace, axis: int) -> NDArray[np.bool_]:
    differing = np.zeros(place.shape[axis], dtype=np.bool_)
    width, dtype = place.shape[1], bits_type(place.dtype)
    for first, last in row_blocks(place):
        offset, length = place.begin + first * width * dtype.itemsize, (last - first) * width * dtype.itemsize
        left, right = (
            np.frombuffer(read_exactly(handle, offset, length), dtype=dtype).reshape(last - first, width)
            for handle in handles
        )
        if axis == 1:
            differing |= (left != right).any(axis=0)
        else:
            differing[first:last] = (left != right).any(axis=1)
    return differing

"""Deltas put into effect: one, several that follow each other, or several of one parent that must not disagree.

Knows nothing of edits. A delta may overwrite what a delta that it was made on has written, and no other's values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from knedit.checkpoints.delta import Delta, refuse_not_finite
from knedit.checkpoints.dtypes import Bits
from knedit.checkpoints.fingerprint import files_sha256, weights_sha256
from knedit.checkpoints.manifest import ChangedTensor, read_manifest
from knedit.checkpoints.patch import Writing, check_folders, write_slices
from knedit.checkpoints.planning import SliceWrite, ordered_writes, plan_bits, read_change
from knedit.checkpoints.quantised import refuse_quantised
from knedit.checkpoints.shards import read_places, weight_files
from knedit.errors import CheckpointError

Key = tuple[str, int | None]
Part = tuple[ChangedTensor, str, Bits]


@dataclass(frozen=True, slots=True)
class NamedDelta:
    """A delta and the file that it came from."""

    name: str
    delta: Delta


@dataclass(eq=False, slots=True)
class _Cut:
    """What several deltas make of one tensor: each slice's newest bits, and the numbers of their deltas."""

    change: ChangedTensor
    dtype: str
    rows: dict[int, tuple[Bits, frozenset[int]]] = field(default_factory=dict)

    def put(self, change: ChangedTensor, bits: Bits, number: int, ancestors: frozenset[int]) -> dict[int, list[int]]:
        """Take in what delta `number` says of the tensor; return where it disagrees with others, by their numbers."""
        clashes: dict[int, list[int]] = {}
        for index, row in zip(change.indices, bits, strict=True):
            known, tellers = self.rows.get(index, (row, frozenset()))
            same = np.array_equal(known, row)
            for other in () if same else sorted(tellers - ancestors):
                clashes.setdefault(other, []).append(index)
            self.rows[index] = (row, tellers | {number} if same else frozenset({number}))
        return clashes

    def part(self) -> Part:
        """Return everything that was taken in, in rising order."""
        indices = sorted(self.rows)
        bits = np.stack([self.rows[index][0] for index in indices])
        return replace(self.change, indices=tuple(indices)), self.dtype, bits


def apply_deltas(
    base: Path, deltas: Sequence[NamedDelta], output: Path, *, manifest: Mapping[str, Any], link: bool = False
) -> Path:
    """Write `base` with the deltas as the new folder `output`, and return it.

    One delta, or several that were each made on the last one's result, give what their manifest tells, to the bit. Of
    others the result is new, and `manifest` has its "knedit" and "created". Raises CheckpointError where a delta is for
    other weights, and where two disagree.
    """
    check_folders(base, output)
    hashes = files_sha256(base, weight_files(base))
    sha256 = weights_sha256(base, hashes)
    ancestors = _ancestors(deltas, sha256)
    writes = _planned(base, _parts(deltas[0].delta) if len(deltas) == 1 else _merge(deltas, ancestors))
    last = deltas[-1].delta.manifest
    straight = ancestors[-1] == frozenset(range(len(deltas) - 1))
    told = asdict(last) if straight else dict(manifest)
    parent = {**asdict(deltas[0].delta.manifest.parent), "sha256": sha256}
    edit = told["edit"] if len(deltas) == 1 else {"deltas": [_told(one.delta) for one in deltas]}
    kept = ("knedit", "created", "versions", *(["evaluation"] if len(deltas) == 1 else []))
    told = {name: told[name] for name in kept if name in told}
    writing = Writing(
        manifest={**told, "parent": parent, "edit": edit},
        link=link,
        known=hashes,
        expected=last.sha256 if straight else None,
    )
    return write_slices(base, output, writes, writing)


def revert(folder: Path, output: Path, *, delta: NamedDelta | None = None, parent: Path | None = None) -> Path:
    """Write the edited checkpoint in `folder` as it was before as the new folder `output`, and return it.

    The old values are those of a "revert" `delta` or else of the `parent`; the weights' sha256 must come out as the
    parent's. What the edit added beside the weights stays behind. Raises CheckpointError.
    """
    assert (delta is None) != (parent is None)
    check_folders(folder, output)
    own = read_manifest(folder)
    hashes = files_sha256(folder, weight_files(folder))
    if delta:
        old, expected = _old_of_delta(folder, delta, weights_sha256(folder, hashes))
    else:
        assert parent is not None
        old, expected = _old_of_parent(folder, parent, weights_sha256(folder, hashes))
    writing = Writing(manifest=None, without=frozenset(own.written if own else ()), known=hashes, expected=expected)
    return write_slices(folder, output, old, writing)


def _old_of_delta(folder: Path, named: NamedDelta, sha256: str) -> tuple[list[SliceWrite], str]:
    delta = named.delta
    if delta.kind != "revert":
        cure = "Name the file that --with-revert made beside it, or the parent."
        raise CheckpointError("The delta holds the new values, not those from before", named.name, cure)
    _check_parent(named, {sha256})
    return _planned(folder, _parts(delta)), delta.manifest.sha256


def _old_of_parent(folder: Path, parent: Path, sha256: str) -> tuple[list[SliceWrite], str]:
    manifest = read_manifest(folder)
    if manifest is None:
        cure = "Only what knedit wrote can be taken back; else compare the folders: knedit checkpoint diff."
        raise CheckpointError("The folder has no knedit.json, which tells what was changed", str(folder), cure)
    if sha256 != manifest.sha256:
        raise CheckpointError("The weights are not those that knedit.json names", str(folder), "Fetch them again.")
    if weights_sha256(parent) != manifest.parent.sha256:
        raise CheckpointError("This is not the parent that knedit.json names by its sha256", str(parent))
    places, theirs = read_places(folder), read_places(parent)
    old = [read_change(parent, theirs, change) for change in manifest.changed]
    writes = [plan_bits(folder, places, one.change, one.slices.bits) for one in old]
    return ordered_writes(writes), manifest.parent.sha256


def _planned(folder: Path, parts: Sequence[Part]) -> list[SliceWrite]:
    places = read_places(folder)
    refuse_quantised(folder, places)
    for change, dtype, _ in parts:
        if change.tensor in places and places[change.tensor].dtype != dtype:
            what = f"The delta's values are {dtype}, the weights {places[change.tensor].dtype}"
            raise CheckpointError(what, f"{change.tensor} in {folder}")
    return ordered_writes([plan_bits(folder, places, change, bits) for change, _, bits in parts])


def _ancestors(deltas: Sequence[NamedDelta], base: str) -> list[frozenset[int]]:
    """Return for each delta the numbers of those that it was made on. Raises CheckpointError."""
    made_on: dict[str, frozenset[int]] = {base: frozenset()}
    found = []
    for number, one in enumerate(deltas):
        if one.delta.kind != "edit":
            cure = "Run: knedit checkpoint revert DIR --delta FILE."
            raise CheckpointError("The delta holds the values from before an edit", one.name, cure)
        _check_parent(one, made_on)
        refuse_not_finite(one.delta, one.name)
        found.append(made_on[one.delta.manifest.parent.sha256])
        made_on[one.delta.manifest.sha256] = found[-1] | {number}
    return found


def _check_parent(one: NamedDelta, known: Mapping[str, object] | set[str]) -> None:
    wanted = one.delta.manifest.parent
    if wanted.sha256 not in known:
        what = f"The delta is for the weights of {wanted.name} with the sha256 {wanted.sha256[:16]}…, not for these"
        raise CheckpointError(what, one.name, "Name the checkpoint that it was made from; deltas in their order.")


def _merge(deltas: Sequence[NamedDelta], ancestors: Sequence[frozenset[int]]) -> list[Part]:
    cuts: dict[Key, _Cut] = {}
    conflicts: list[str] = []
    for number, one in enumerate(deltas):
        for change, dtype, bits in _parts(one.delta):
            cut = cuts.setdefault((change.tensor, change.member), _Cut(change, dtype))
            if (cut.change.axis, cut.change.span, cut.dtype) != (change.axis, change.span, dtype):
                conflicts.append(f"{change.tensor} is cut in two ways")
                continue
            clashes = cut.put(change, bits, number, ancestors[number])
            conflicts += [
                f"{_slices(change, indices)}: {deltas[other].name} and {one.name}" for other, indices in clashes.items()
            ]
    if conflicts:
        more = f" and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
        cure = "Leave one of them out, or plan their edits together, as one."
        raise CheckpointError("The deltas disagree over the same value vectors", "; ".join(conflicts[:5]) + more, cure)
    return [cut.part() for cut in cuts.values()]


def _parts(delta: Delta) -> list[Part]:
    return list(zip(delta.manifest.changed, delta.dtypes, delta.bits, strict=True))


def _slices(change: ChangedTensor, indices: Sequence[int]) -> str:
    member = "" if change.member is None else f"[{change.member}]"
    shown = ", ".join(map(str, indices[:5])) + (", …" if len(indices) > 5 else "")
    return f"{change.tensor}{member}, {'column' if change.axis == 1 else 'row'} {shown}"


def _told(delta: Delta) -> dict[str, Any]:
    return {"sha256": delta.manifest.sha256, "edit": dict(delta.manifest.edit)}

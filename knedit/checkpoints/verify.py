"""Whether a checkpoint's folder is what it says: its files by their sums, its weights by their parent's bytes.

Knows nothing of how edits are made. Reads everything in pieces and changes nothing; whatever is wrong becomes a
sentence, so that one look tells all of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from knedit.checkpoints.compare import Found, compare_files, compare_weights
from knedit.checkpoints.dtypes import PLAIN_FLOATS, bits_type, widen
from knedit.checkpoints.fingerprint import files_sha256, weights_sha256
from knedit.checkpoints.folder import MANIFEST, SIGNATURE, SUMS, list_files, reach, reading
from knedit.checkpoints.header import TensorPlace
from knedit.checkpoints.manifest import Manifest, read_manifest
from knedit.checkpoints.shards import read_places
from knedit.checkpoints.signature import check_public_key, check_signature, coverage_problems
from knedit.checkpoints.slices import BLOCK, read_exactly
from knedit.checkpoints.sums import read_sums
from knedit.errors import CheckpointError

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What is wrong with `folder`, and how much was looked at.

    `files` were hashed; `tensors`, and `slices` of them (columns or rows), differ from the parent: 0 without one.
    `signed`: a signature covers the files; whether it was also `trusted`, made by a key that was asked for.
    """

    folder: Path
    problems: tuple[str, ...]
    files: int
    tensors: int = 0
    slices: int = 0
    signed: bool = False
    trusted: bool = False

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_folder(
    folder: Path, parent: Path | None = None, *, finite: bool = False, public_key: Path | None = None
) -> VerifyReport:
    """Check the checkpoint in `folder`, against its `parent` where that is given, and report.

    A folder without `knedit.json` is a plain checkpoint: its headers must be sound, and its files must fit their
    SHA256SUMS if it has one. With `finite` every stored plain float is looked at. Hidden files, and a `model.sig`
    that covers the others, may come beside what SHA256SUMS lists. With `public_key` the folder must be signed by that
    key. Raises CheckpointError only when there is no folder, or no such key.
    """
    for path in (folder, parent or folder):
        if not path.is_dir():
            raise CheckpointError("There is no such folder", str(path))
    if public_key:
        check_public_key(public_key)
    problems: list[str] = []
    manifest = _attempt(problems, lambda: read_manifest(folder))
    hashes = _attempt(problems, lambda: files_sha256(folder, list_files(folder))) or {}
    _note(problems, _check_sums(folder, hashes, required=manifest is not None))
    _note(problems, _check_weights(folder, hashes, manifest, finite=finite))
    found: Found = {}
    if parent:
        _note(problems, _check_parent(folder, parent, manifest, hashes, found))
    signed = SIGNATURE in hashes
    _note(problems, _check_signature(folder, hashes, public_key))
    tensors = sum(count > 0 for count in found.values())
    trusted = public_key is not None and not problems
    return VerifyReport(folder, tuple(problems), len(hashes), tensors, sum(found.values()), signed, trusted)


def _check_signature(folder: Path, hashes: Mapping[str, str], public_key: Path | None) -> Iterator[str]:
    yield from coverage_problems(folder, hashes)
    if public_key:
        check_signature(folder, public_key)


def _check_sums(folder: Path, hashes: Mapping[str, str], *, required: bool) -> Iterator[str]:
    listed = read_sums(folder)
    if listed is None:
        if required:
            yield f"{SUMS} is missing"
        return
    present = hashes.keys() - {SUMS, SIGNATURE}
    yield from (f"{name} is missing, {SUMS} lists it" for name in sorted(listed.keys() - present))
    yield from (f"{name} is not listed in {SUMS}" for name in sorted(present - listed.keys()))
    yield from (
        f"{name} is not the file that {SUMS} lists"
        for name in sorted(present & listed.keys())
        if hashes[name] != listed[name]
    )


def _check_weights(
    folder: Path, hashes: Mapping[str, str], manifest: Manifest | None, *, finite: bool
) -> Iterator[str]:
    places = read_places(folder)
    if manifest and weights_sha256(folder, hashes) != manifest.sha256:
        yield f"The weights are not those that {MANIFEST} names by their sha256"
    if finite:
        for place in places.values():
            if place.dtype in PLAIN_FLOATS and not _is_finite(folder, place):
                yield f"Tensor {place.name} in {place.file} has values that are not finite"


def _check_parent(
    folder: Path, parent: Path, manifest: Manifest | None, hashes: Mapping[str, str], found: Found
) -> Iterator[str]:
    if manifest is None:
        yield f"There is no sound {MANIFEST}, which would tell what may differ from the parent"
        return
    if weights_sha256(parent) != manifest.parent.sha256:
        yield f"{parent} is not the parent that {MANIFEST} names by its sha256"
        return
    yield from compare_files(parent, manifest, hashes)
    yield from compare_weights(folder, parent, manifest, found)


def _is_finite(folder: Path, place: TensorPlace) -> bool:
    path = reach(folder, place.file)
    with reading(path), path.open("rb", buffering=0) as stream:
        for offset in range(place.begin, place.end, BLOCK):
            block = read_exactly(stream.fileno(), offset, min(BLOCK, place.end - offset))
            if not np.isfinite(widen(np.frombuffer(block, dtype=bits_type(place.dtype)), place.dtype)).all():
                return False
    return True


def _attempt(problems: list[str], step: Callable[[], Result]) -> Result | None:
    try:
        return step()
    except CheckpointError as error:
        problems.append(str(error))
        return None


def _note(problems: list[str], sentences: Iterable[str]) -> None:
    try:
        for sentence in sentences:
            problems.append(sentence)  # noqa: PERF402 - keeps what came before an error
    except CheckpointError as error:
        problems.append(str(error))

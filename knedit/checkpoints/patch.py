"""An edited checkpoint: a copy of its parent in which the bytes of the chosen slices are new and no other byte is.

Knows nothing of facts, neurons or networks: it is given slices of named tensors and their values. The weights are
copied with the slices laid over them rather than saved anew, so the header, the order and every other byte stay.
"""

import errno
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from knedit.checkpoints.copying import Copied, Copy, can_clone, can_link, copy_files
from knedit.checkpoints.dtypes import cast
from knedit.checkpoints.fingerprint import file_sha256, may_be_written, weights_sha256
from knedit.checkpoints.folder import MANIFEST, SUMS, carried_files, reach, reading
from knedit.checkpoints.manifest import FORMAT, Manifest, parse_manifest
from knedit.checkpoints.planning import SliceWrite, TensorPatch, fitting_writes, kept_slices, refuse_unchanged
from knedit.checkpoints.shards import weight_files, weight_set
from knedit.checkpoints.staging import explained, refuse_existing, staged, write_file
from knedit.checkpoints.sums import sums_text
from knedit.errors import CheckpointError

__all__ = [
    "TensorPatch",
    "UnexpectedWeightsError",
    "Writing",
    "cast",
    "patched_sha256",
    "write_patched",
    "write_slices",
]

MARGIN = 1 << 20  # bytes kept free beside the files: folders, sums and the manifest
UNKNOWN = "0" * 64
Judge = Callable[[Path], Mapping[str, Any]]
Papers = Callable[[Manifest], Mapping[str, str | bytes]]
Finish = Callable[[Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How an edited copy is written.

    `manifest` has the caller's "knedit", "created", "parent", "edit" and perhaps "versions"; without one the copy is a
    plain checkpoint again. `texts` are further files by name, such as README.md, in place of the parent's; `without`
    the parent's that stay behind. With `link` untouched shards become hard links where that is possible. `known` are
    sha256s of the parent's files that were just taken. `expected` is the sha256 that the weights must come out with.
    `judge` is given the folder once its weights are written, and what it returns becomes the manifest's "evaluation".
    `papers` gives further texts and files, once all is known that the manifest tells. `finish` is given the folder when
    all of it is written and listed; it may add a signature. When one of the three raises, there is no folder.
    """

    manifest: Mapping[str, Any] | None
    texts: Mapping[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    link: bool = False
    known: Mapping[str, str] = field(default_factory=dict)
    expected: str | None = None
    judge: Judge | None = None
    papers: Papers | None = None
    finish: Finish | None = None


class UnexpectedWeightsError(CheckpointError):
    """The weights came out with another sha256 than the one expected."""


def write_patched(
    parent: Path,
    output: Path,
    patches: Sequence[TensorPatch],
    *,
    manifest: Mapping[str, Any],
    **how: Any,
) -> Path:
    """Write `parent` with `patches` as the new folder `output`, with `knedit.json` and `SHA256SUMS`, and return it.

    The other arguments are those of Writing. Other copies of the weights, hidden files and the parent's own manifest
    stay behind. `output` appears when all of it is on the disk, or not at all. Raises CheckpointError.
    """
    check_folders(parent, output)
    return write_slices(parent, output, fitting_writes(parent, patches), Writing(manifest=manifest, **how))


def write_slices(parent: Path, output: Path, writes: Sequence[SliceWrite], writing: Writing) -> Path:
    """Write `parent` with the planned `writes` as the new folder `output`, and return it. As `write_patched`.

    The writes are in the order of files and bytes; slices that the parent has already are not told in the manifest.
    """
    check_folders(parent, output)
    _check_texts(writing.texts)
    refuse_unchanged(parent, writes)
    record = _record(writing, writes, UNKNOWN)
    copies = _copies(parent, writes, writing)
    needed = sum(len(text.encode()) for text in (record.text() if record else "", *writing.texts.values())) + MARGIN
    needed += sum(copy.source.stat().st_size for copy in copies.values())
    with explained(output, needed):
        output.parent.mkdir(parents=True, exist_ok=True)
        _check_space(output.parent, needed, copies)
        with staged(output) as folder:
            copied = _carry_out(folder, copies, weight_files(parent))
            _check_parent(parent, record, {name: one.source for name, one in copied.items()})
            changing = [kept for name, one in copied.items() for kept in _changing(writes, name, one)]
            hashes = {name: one.target for name, one in copied.items()}
            _seal(folder, hashes, changing, writing)
    return output


def patched_sha256(parent: Path, writes: Sequence[SliceWrite], known: Mapping[str, str] | None = None) -> str:
    """Return the sha256 that the weights of `parent` would have with `writes`; nothing is written.

    Raises CheckpointError.
    """
    known = known or {}
    touched = sorted({write.change.file for write in writes})
    with reading(parent):
        copies = [Copy(reach(parent, name), None, _slices_of(writes, name), known=known.get(name)) for name in touched]
        copied = copy_files(copies)
    rest = {name: known[name] for name in weight_files(parent) if name in known}
    return weights_sha256(parent, {**rest, **{name: one.target for name, one in zip(touched, copied, strict=True)}})


def check_folders(parent: Path, output: Path) -> None:
    """Raise CheckpointError unless `parent` is a folder, and `output` nothing, and not inside of it."""
    if parent.suffix == ".gguf" and parent.is_file():
        cure = "Edit the checkpoint it was converted from, then convert the result."
        raise CheckpointError("A GGUF file cannot be edited where it lies", str(parent), cure)
    if not parent.is_dir():
        raise CheckpointError("There is no such folder", str(parent))
    if output.resolve().is_relative_to(parent.resolve()):
        raise CheckpointError("The output lies in the folder of its parent", str(output), "Choose another one.")
    refuse_existing(output)


def _check_texts(texts: Collection[str]) -> None:
    for name in texts:
        if not may_be_written(name):
            raise CheckpointError(f"A file named {name!r} cannot be written beside the weights", "texts")


def _copies(parent: Path, writes: Sequence[SliceWrite], writing: Writing) -> dict[str, Copy]:
    weights = weight_set(parent)
    shards = set(weight_files(parent))
    names = [name for name in carried_files(parent, weights) if name not in {*writing.texts, *writing.without}]
    return {
        name: Copy(
            reach(parent, name),
            None,
            _slices_of(writes, name),
            link=writing.link and name in shards,
            known=writing.known.get(name),
        )
        for name in names
    }


def _slices_of(writes: Sequence[SliceWrite], file: str) -> tuple[Any, ...]:
    return tuple(write.slices for write in writes if write.change.file == file)


def _carry_out(folder: Path, copies: Mapping[str, Copy], first: Collection[str]) -> dict[str, Copied]:
    """Copy the files named in `first`, the weights, and then the others: until all weights are there, nothing loads."""
    copied: dict[str, Copied] = {}
    for names in ([name for name in copies if name in first], [name for name in copies if name not in first]):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        planned = [replace(copies[name], target=folder / name) for name in names]
        copied |= zip(names, copy_files(planned), strict=True)
    return {name: copied[name] for name in copies}


def _check_space(folder: Path, needed: int, copies: Mapping[str, Copy]) -> None:
    largest = max(copies.values(), key=lambda copy: copy.source.stat().st_size)
    if can_clone(largest.source, folder):
        return
    linked = [copy for copy in copies.values() if copy.link and not copy.slices and can_link(copy.source, folder)]
    needed -= sum(copy.source.stat().st_size for copy in linked)
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _check_parent(parent: Path, record: Manifest | None, hashes: Mapping[str, str]) -> None:
    if record and weights_sha256(parent, hashes) != record.parent.sha256:
        cure = "Compute the edit anew on the weights that are there, or fetch those it was computed on."
        raise CheckpointError("The parent's weights are not those of the edit", str(parent), cure)


def _changing(writes: Sequence[SliceWrite], file: str, copied: Copied) -> list[SliceWrite]:
    """Return the writes of one file, less the slices that were found in it already."""
    own = [write for write in writes if write.change.file == file]
    pairs = zip(own, copied.differing, strict=True)
    return [kept for write, differing in pairs if (kept := kept_slices(write, differing))]


def _seal(folder: Path, hashes: dict[str, str], writes: Sequence[SliceWrite], writing: Writing) -> None:
    """Write the texts, then the manifest, and last of all the sums of everything."""
    sha256 = weights_sha256(folder, hashes)
    if writing.expected not in (None, sha256):
        what = f"The weights come out with the sha256 {sha256[:12]}…, not {str(writing.expected)[:12]}… as told"
        cure = "The files were not made for these weights: fetch those they name."
        raise UnexpectedWeightsError(what, str(folder), cure)
    files: dict[str, str | bytes] = dict(writing.texts)
    evaluation = writing.judge(folder) if writing.judge else None
    if record := _record(writing, writes, sha256, evaluation):
        files |= writing.papers(record) if writing.papers else {}
        _check_texts(files)
        files[MANIFEST] = replace(record, written=tuple(sorted(files))).text()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_file(folder / name, content.encode() if isinstance(content, str) else content)
        hashes[name] = file_sha256(folder / name)
    write_file(folder / SUMS, sums_text(hashes).encode())
    if writing.finish:
        writing.finish(folder)


def _record(
    writing: Writing, writes: Sequence[SliceWrite], sha256: str, evaluation: Mapping[str, Any] | None = None
) -> Manifest | None:
    if writing.manifest is None:
        return None
    changed = [write.change.table() for write in writes]
    own = {"format": FORMAT, "sha256": sha256, "changed": changed, "written": sorted(writing.texts)}
    judged = {} if evaluation is None else {"evaluation": evaluation}
    return parse_manifest({**writing.manifest, **own, **judged}, "the manifest to be written")

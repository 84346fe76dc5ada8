"""An edited checkpoint: a copy of its parent in which the bytes of the chosen slices are new and no other byte is.

Knows nothing of facts, neurons or networks: it is given slices of named tensors and their values. The weights are
copied and overwritten in place rather than saved anew, so the header, the order and every other byte stay.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from knedit.checkpoints.dtypes import Bits, Floats, cast, narrow
from knedit.checkpoints.fingerprint import file_sha256, may_be_written, weights_sha256
from knedit.checkpoints.folder import MANIFEST, SUMS, carried_files, reach, reading
from knedit.checkpoints.manifest import FORMAT, Manifest, parse_manifest
from knedit.checkpoints.shards import TensorPlace, check_slices, read_places, weight_set
from knedit.checkpoints.slices import read_bits, write_bits
from knedit.checkpoints.staging import refuse_existing, staged
from knedit.checkpoints.strict_json import read_json
from knedit.checkpoints.sums import sums_text
from knedit.errors import CheckpointError

__all__ = ["TensorPatch", "cast", "write_patched"]

CHUNK = 4 << 20
MARGIN = 1 << 20  # bytes kept free beside the files: folders, sums and the manifest


@dataclass(frozen=True, slots=True, eq=False)
class TensorPatch:
    """New values (n, D) of the slices `indices` along `axis` of a matrix: 1 for columns, 0 for rows."""

    tensor: str
    axis: int
    indices: tuple[int, ...]
    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    """The bits (n, D) of one patch, in rising order of `indices`."""

    place: TensorPlace
    axis: int
    indices: tuple[int, ...]
    bits: Bits


def write_patched(
    parent: Path,
    output: Path,
    patches: Sequence[TensorPatch],
    *,
    manifest: Mapping[str, Any],
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Write `parent` with `patches` as the new folder `output`, with `knedit.json` and `SHA256SUMS`, and return it.

    `manifest` has the caller's "knedit", "created", "parent" and "edit". `texts` are further files by name, such as
    README.md, in place of the parent's. Other copies of the weights, hidden files and the parent's own manifest stay
    behind. `output` appears when all of it is on the disk, or not at all. Raises CheckpointError.
    """
    texts = dict(texts or {})
    _check_folders(parent, output)
    _check_texts(texts)
    _refuse_quantised(parent)
    writes = _plan(parent, patches)
    record = _record(manifest, writes, sorted(texts), sha256="0" * 64)
    files = [name for name in carried_files(parent, weight_set(parent)) if name not in texts]
    with reading(parent):
        size = sum(reach(parent, name).stat().st_size for name in files)
    needed = size + sum(len(text.encode()) for text in (record.text(), *texts.values())) + MARGIN
    with _explained(output, needed):
        output.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(output.parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with staged(output) as folder:
            copied = {name: _copy(reach(parent, name), folder / name) for name in files}
            if weights_sha256(parent, copied) != record.parent.sha256:
                cure = "Compute the edit anew on the weights that are there, or fetch those it was computed on."
                raise CheckpointError("The parent's weights are not those of the edit", str(parent), cure)
            _overwrite(folder, writes)
            for name, text in texts.items():
                _write_text(folder / name, text)
            hashes = {name: file_sha256(folder / name) for name in [*files, *texts]}
            _check_copies(copied, hashes, {write.place.file for write in writes})
            sealed = _record(manifest, writes, sorted(texts), sha256=weights_sha256(folder, hashes))
            _write_text(folder / MANIFEST, sealed.text())
            hashes[MANIFEST] = file_sha256(folder / MANIFEST)
            _write_text(folder / SUMS, sums_text(hashes))
    return output


def _check_folders(parent: Path, output: Path) -> None:
    if not parent.is_dir():
        raise CheckpointError("There is no such folder", str(parent))
    if output.resolve().is_relative_to(parent.resolve()):
        raise CheckpointError("The output lies in the folder of its parent", str(output), "Choose another one.")
    refuse_existing(output)


def _check_texts(texts: Collection[str]) -> None:
    for name in texts:
        if not may_be_written(name):
            raise CheckpointError(f"A file named {name!r} cannot be written beside the weights", "texts")


def _refuse_quantised(parent: Path) -> None:
    if (parent / "adapter_config.json").exists():
        cure = "Merge it into its base first."
        raise CheckpointError("An adapter lies beside the model and would not be loaded alike", str(parent), cure)
    if not (parent / "config.json").exists():
        return
    config = read_json(reach(parent, "config.json"), strict=False)
    for part in (config, config.get("text_config")):
        if isinstance(part, dict) and part.get("quantization_config"):
            cure = "Edit the checkpoint it was quantised from, then quantise the result."
            raise CheckpointError("The model is quantised: config.json has a quantization_config", str(parent), cure)


def _plan(parent: Path, patches: Sequence[TensorPatch]) -> list[_Write]:
    places = read_places(parent)
    writes = [_plan_one(parent, places, patch) for patch in patches]
    names = [write.place.name for write in writes]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CheckpointError("Two patches change one tensor", twice, "Join them into one.")
    if not any(_differs(parent, write) for write in writes):
        cure = "The new values equal the stored ones once they are rounded: ask for a larger change."
        raise CheckpointError("The edit changes nothing", str(parent), cure)
    return sorted(writes, key=lambda write: (write.place.file, write.place.begin))


def _plan_one(parent: Path, places: Mapping[str, TensorPlace], patch: TensorPatch) -> _Write:
    where = f"{patch.tensor} in {parent}"
    place = places.get(patch.tensor)
    if place is None:
        raise CheckpointError("There is no such tensor", where)
    check_slices(parent, place, patch.axis, patch.indices)
    indices = [int(index) for index in patch.indices]
    if not indices or len(set(indices)) != len(indices):
        raise CheckpointError("A patch names no slice, or one twice", where)
    shape = (len(indices), place.shape[1 - patch.axis])
    if patch.values.shape != shape:
        raise CheckpointError(f"The values are of shape {patch.values.shape}, not {shape}", where)
    order = np.argsort(indices)
    bits = narrow(patch.values[order], place.dtype, where=where)
    return _Write(place, patch.axis, tuple(sorted(indices)), bits)


def _differs(folder: Path, write: _Write) -> bool:
    path = reach(folder, write.place.file)
    with reading(path):
        return not np.array_equal(read_bits(path, write.place, write.axis, write.indices), write.bits)


def _record(manifest: Mapping[str, Any], writes: Sequence[_Write], texts: Sequence[str], *, sha256: str) -> Manifest:
    changed = [
        {"tensor": write.place.name, "file": write.place.file, "axis": write.axis, "indices": list(write.indices)}
        for write in writes
    ]
    own = {"format": FORMAT, "sha256": sha256, "changed": changed, "written": list(texts)}
    return parse_manifest({**manifest, **own}, "the manifest to be written")


def _overwrite(folder: Path, writes: Sequence[_Write]) -> None:
    for write in writes:
        write_bits(folder / write.place.file, write.place, write.axis, write.indices, write.bits)
    for file in {write.place.file for write in writes}:
        _sync(folder / file)
    for write in writes:
        if _differs(folder, write):
            raise OSError(errno.EIO, "what was written does not read back", write.place.file)


def _check_copies(copied: Mapping[str, str], hashes: Mapping[str, str], patched: Collection[str]) -> None:
    for name in copied.keys() - patched:
        if hashes[name] != copied[name]:
            raise OSError(errno.EIO, "what was written does not read back", name)


def _copy(source: Path, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb", buffering=0) as reader, target.open("xb", buffering=0) as writer:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[writer.write(view) :]
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
    _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def _explained(output: Path, needed: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = str(error.filename or output)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(next(path for path in output.absolute().parents if path.exists())).free
            what = f"The disk is full: {output.parent} needs {needed:,} bytes, {free:,} free"
            raise CheckpointError(what, where, "Free some space, or choose a folder on another disk.") from error
        what = f"The checkpoint cannot be written: {error.strerror or error}"
        raise CheckpointError(what, where, "Nothing was left behind; choose another folder if need be.") from error

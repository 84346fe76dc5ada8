"""A delta: the changed slices of one edit in a small safetensors file, bound to the weights it is for by their sha256.

Knows nothing of how values came about. The header's metadata hold the manifest that the result will have. The values
that go back are a delta too, in a file of their own, since whoever has them has again what an erasure took out.
"""

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from knedit.checkpoints.folder import reading
from knedit.checkpoints.header import TensorPlace, read_whole_header
from knedit.checkpoints.manifest import ChangedTensor, Manifest, parse_manifest
from knedit.checkpoints.planning import SliceWrite
from knedit.checkpoints.staging import locked, refuse_existing, sync_folder
from knedit.checkpoints.strict_json import parse_json
from knedit.dtypes import PLAIN_FLOATS, Bits, bits_type, widen
from knedit.errors import CheckpointError

KINDS = ("edit", "revert")
KEY = "knedit_delta"
NUMBERS = 1 << 20  # looked at together


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """New bits (n, D) of the slices that `manifest` lists, one array a change, in its order.

    An "edit" leads from the manifest's parent to the weights that its sha256 names, a "revert" back.
    """

    kind: str
    manifest: Manifest
    bits: tuple[Bits, ...]
    dtypes: tuple[str, ...]


def delta_of(kind: str, manifest: Manifest, writes: Sequence[SliceWrite]) -> Delta:
    """Return the delta that carries these writes, whose changes the manifest lists in the same order."""
    assert tuple(write.change for write in writes) == manifest.changed
    dtypes = tuple(write.slices.matrix.dtype for write in writes)
    return Delta(kind, manifest, tuple(write.slices.bits for write in writes), dtypes)


def write_delta(path: Path, delta: Delta) -> None:
    """Write the delta as a new file that appears whole or not at all. Raises CheckpointError, also if there is one."""
    partial = path.with_name(f".{path.name}.knedit-partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.knedit-lock")):
            refuse_existing(path)
            partial.unlink(missing_ok=True)  # a killed writer's; never cut, it may have another name already
            try:
                with partial.open("xb") as stream:
                    _fill(stream, delta)
                path.hardlink_to(partial)  # unlike a rename it never replaces a file
            finally:
                partial.unlink(missing_ok=True)
            sync_folder(path.parent)
    except OSError as error:
        what = f"The delta cannot be written: {error.strerror or error}"
        raise CheckpointError(what, str(path), "Choose another folder if need be.") from error


def read_delta(path: Path) -> Delta:
    """Return the delta in the file at `path`; its bits stay in the file until they are used. Raises CheckpointError."""
    metadata, places = read_whole_header(path, path.name)
    if KEY not in metadata or metadata.get("kind") not in KINDS:
        raise CheckpointError("The file is no delta of knedit", str(path), "Make one: knedit delta create EDIT.")
    table = parse_json(metadata[KEY].encode(), str(path))
    if not isinstance(table, dict):
        raise CheckpointError("The delta's metadata hold no JSON object", str(path))
    manifest = parse_manifest(table, str(path))
    found = {place.name: place for place in places}
    names = [_name(change) for change in manifest.changed]
    if len(set(names)) != len(names) or found.keys() != set(names):
        raise CheckpointError("The delta's tensors are not those that its metadata list", str(path))
    chosen = [found[name] for name in names]
    bits = tuple(_bits(path, place, change) for place, change in zip(chosen, manifest.changed, strict=True))
    return Delta(metadata["kind"], manifest, bits, tuple(place.dtype for place in chosen))


def refuse_not_finite(delta: Delta, where: str) -> None:
    """Raise CheckpointError if one of the delta's values is not finite: an edit never writes such."""
    for bits, dtype, change in zip(delta.bits, delta.dtypes, delta.manifest.changed, strict=True):
        flat = bits.reshape(-1)
        for at in range(0, flat.size, NUMBERS):
            if not np.isfinite(widen(np.asarray(flat[at : at + NUMBERS]), dtype)).all():
                raise CheckpointError(f"The delta's values for {change.tensor} are not finite", where)


def _name(change: ChangedTensor) -> str:
    member = "" if change.member is None else f"[{change.member}]"
    span = "" if change.span is None else f"[{change.span[0]}:{change.span[1]}]"
    return change.tensor + member + span


def _bits(path: Path, place: TensorPlace, change: ChangedTensor) -> Bits:
    if place.dtype not in PLAIN_FLOATS or len(place.shape) != 2 or place.shape[0] != len(change.indices):
        what = f"The delta's tensor {place.name!r}, {place.dtype} {place.shape}, is not what its metadata tell"
        raise CheckpointError(what, str(path))
    if not place.shape[1]:
        raise CheckpointError(f"The delta's tensor {place.name!r} is empty", str(path))
    with reading(path):
        return np.memmap(path, dtype=bits_type(place.dtype), mode="r", offset=place.begin, shape=place.shape)


def _fill(stream: BinaryIO, delta: Delta) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt", "kind": delta.kind, KEY: delta.manifest.text()}}
    at = 0
    for change, bits, dtype in zip(delta.manifest.changed, delta.bits, delta.dtypes, strict=True):
        header[_name(change)] = {"dtype": dtype, "shape": list(bits.shape), "data_offsets": [at, at + bits.nbytes]}
        at += bits.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    stream.write(struct.pack("<Q", len(text)) + text)
    for bits in delta.bits:
        stream.write(np.ascontiguousarray(bits).data)
    stream.flush()
    os.fsync(stream.fileno())

"""What is needed to write an edited checkpoint's bytes again from its parent: `plan.json` and `values.safetensors`.

The values are those that were solved, in float64, so that they are rounded to the stored precision again. Knows nothing
of facts, neurons or networks; the plan's `edit` goes in and comes out as JSON.
"""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from knedit.checkpoints.fingerprint import file_sha256
from knedit.checkpoints.folder import PLAN, REPRODUCE, VALUES, reach, reading
from knedit.checkpoints.header import TensorPlace, read_header
from knedit.checkpoints.manifest import SHA256, ChangedTensor, Manifest, parse_change
from knedit.checkpoints.planning import TensorPatch
from knedit.checkpoints.strict_json import read_json
from knedit.errors import CheckpointError

FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """How weights are written again: what the manifest said of them, the patches, and the sha256 they come out with."""

    manifest: Mapping[str, Any]
    patches: tuple[TensorPatch, ...]
    sha256: str

    @property
    def parent_sha256(self) -> str:
        return str(self.manifest["parent"]["sha256"])


def recipe_files(manifest: Mapping[str, Any], record: Manifest, patches: Sequence[TensorPatch]) -> dict[str, bytes]:
    """Return the recipe's files by their names in the checkpoint's folder.

    `manifest` is what the checkpoint's writer was given, `record` what became of it.
    """
    values = _values_file(patches)
    plan = {
        "format": FORMAT,
        **manifest,
        "result": {"sha256": record.sha256},
        "values": {"file": VALUES, "sha256": hashlib.sha256(values).hexdigest()},
        "patches": [_told(patch) for patch in patches],
    }
    text = json.dumps(plan, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return {f"{REPRODUCE}/{PLAN}": text.encode(), f"{REPRODUCE}/{VALUES}": values}


def recipe_folder(folder: Path) -> Path:
    """Return where a recipe lies: in the folder itself or in its `reproduce`. Raises CheckpointError."""
    for place in (folder / REPRODUCE, folder):
        if (place / PLAN).is_file():
            return place
    cure = "Name a folder that knedit ship wrote, or its reproduce/."
    raise CheckpointError(f"There is no {REPRODUCE}/{PLAN} in the folder", str(folder), cure)


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe in a checkpoint's folder or in its `reproduce`, every field checked. Raises CheckpointError."""
    place = recipe_folder(folder)
    where = str(place / PLAN)
    plan = read_json(reach(place, PLAN))
    if plan.get("format") != FORMAT:
        cure = "Read it with the knedit that wrote it, or a newer one."
        raise CheckpointError(f"The plan's format is {plan.get('format')!r}, not {FORMAT}", where, cure)
    try:
        changes = [parse_change(entry) for entry in plan["patches"]]
        manifest = {name: plan[name] for name in ("knedit", "created", "versions", "parent", "edit")}
        shas = [str(plan[name]["sha256"]) for name in ("parent", "result", "values")]
        if not changes or not all(map(SHA256.fullmatch, shas)):
            raise ValueError("nothing is to be changed, or a sha256 is none")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"The plan is malformed: {error!r}", where, "Fetch the folder again.") from error
    values = reach(place, VALUES)
    if file_sha256(values) != shas[2]:
        raise CheckpointError(f"{VALUES} is not the file that the plan names", where, "Fetch the folder again.")
    return Recipe(manifest, tuple(_patches(values, changes)), shas[1])


def _told(patch: TensorPatch) -> dict[str, Any]:
    order = np.argsort(patch.indices)
    indices = tuple(int(patch.indices[number]) for number in order)
    return ChangedTensor(patch.tensor, VALUES, patch.axis, indices, patch.member, patch.span).table()


def _values_file(patches: Sequence[TensorPatch]) -> bytes:
    """Return a safetensors file of the patches' values, one tensor a patch, called by its number."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts = [np.ascontiguousarray(patch.values[np.argsort(patch.indices)], dtype="<f8") for patch in patches]
    at = 0
    for number, part in enumerate(parts):
        header[str(number)] = {"dtype": "F64", "shape": list(part.shape), "data_offsets": [at, at + part.nbytes]}
        at += part.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *(part.tobytes() for part in parts)])


def _patches(path: Path, changes: Sequence[ChangedTensor]) -> list[TensorPatch]:
    places = {place.name: place for place in read_header(path, VALUES)}
    if places.keys() != {str(number) for number in range(len(changes))}:
        raise CheckpointError("The values are not those of the plan's patches", str(path))
    return [_patch(path, places[str(number)], change) for number, change in enumerate(changes)]


def _patch(path: Path, place: TensorPlace, change: ChangedTensor) -> TensorPatch:
    if place.dtype != "F64" or len(place.shape) != 2 or place.shape[0] != len(change.indices) or not place.shape[1]:
        what = f"The values for {change.tensor}, {place.dtype} {place.shape}, are not what the plan tells"
        raise CheckpointError(what, str(path))
    with reading(path):
        values = np.memmap(path, dtype="<f8", mode="r", offset=place.begin, shape=place.shape)
    return TensorPatch(change.tensor, change.axis, change.indices, values, change.member, change.span)

"""`knedit.json`, what an edited checkpoint tells of itself: its parent, its edit, and the slices that may differ.

Knows nothing of what the edit means: the caller's `edit` goes in and comes out as JSON.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from knedit.checkpoints.folder import MANIFEST, reach
from knedit.checkpoints.strict_json import read_json
from knedit.errors import CheckpointError

FORMAT = 1
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ParentName:
    """The checkpoint that was edited."""

    name: str
    sha256: str
    revision: str | None


@dataclass(frozen=True, slots=True)
class ChangedTensor:
    """The slices `indices` along `axis` of a tensor, in rising order: nothing else of its bytes may differ."""

    tensor: str
    file: str
    axis: int
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """`knedit` is the version that wrote it, `written` the files that are not the parent's."""

    knedit: str
    created: str
    parent: ParentName
    sha256: str
    edit: Mapping[str, Any]
    changed: tuple[ChangedTensor, ...]
    written: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the manifest as JSON. Raises CheckpointError when `edit` has no JSON."""
        try:
            return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"The edit cannot be told as JSON: {error}", MANIFEST) from error


def read_manifest(folder: Path) -> Manifest | None:
    """Return what `knedit.json` in `folder` tells, or None where there is none. Raises CheckpointError."""
    if not (folder / MANIFEST).exists():
        return None
    return parse_manifest(read_json(reach(folder, MANIFEST)), str(folder / MANIFEST))


def parse_manifest(table: Mapping[str, Any], where: str) -> Manifest:
    """Return the manifest that `table` holds, every field checked. Raises CheckpointError."""
    if table.get("format") != FORMAT:
        cure = "Read it with the knedit that wrote it, or a newer one."
        raise CheckpointError(f"The manifest's format is {table.get('format')!r}, not {FORMAT}", where, cure)
    try:
        return _parse(table)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"The manifest is malformed: {error!r}", where) from error


def _parse(table: Mapping[str, Any]) -> Manifest:
    parent, edit = table["parent"], table["edit"]
    _require(isinstance(parent, Mapping), "parent")
    _require(isinstance(edit, Mapping), "edit")
    revision = parent.get("revision")
    return Manifest(
        knedit=_text(table["knedit"], "knedit"),
        created=_time(table["created"]),
        parent=ParentName(
            _text(parent["name"], "parent's name"),
            _sha256(parent["sha256"]),
            None if revision is None else _text(revision, "parent's revision"),
        ),
        sha256=_sha256(table["sha256"]),
        edit=edit,
        changed=tuple(_changed(entry) for entry in _list(table["changed"], "changed")),
        written=tuple(_text(name, "written") for name in _list(table.get("written", []), "written")),
    )


def _changed(entry: Any) -> ChangedTensor:
    _require(isinstance(entry, Mapping), "changed")
    indices = _list(entry["indices"], "indices")
    _require(all(type(index) is int and index >= 0 for index in indices), "indices")
    _require(bool(indices) and indices == sorted(set(indices)), "indices")
    axis = entry["axis"]
    _require(type(axis) is int and axis in (0, 1), "axis")
    return ChangedTensor(_text(entry["tensor"], "tensor"), _text(entry["file"], "file"), axis, tuple(indices))


def _list(value: Any, name: str) -> list[Any]:
    _require(isinstance(value, list | tuple), name)
    return list(value)


def _text(value: Any, name: str) -> str:
    _require(isinstance(value, str) and value.isprintable(), name)
    return str(value)


def _sha256(value: Any) -> str:
    _require(isinstance(value, str) and SHA256.fullmatch(value) is not None, "sha256")
    return str(value)


def _time(value: Any) -> str:
    datetime.fromisoformat(_text(value, "created"))
    return str(value)


def _require(right: bool, name: str) -> None:
    if not right:
        raise ValueError(f"the field {name!r}")

"""`knedit.json`, what an edited checkpoint tells of itself: its parent, its edit, and the slices that may differ.

Knows nothing of what the edit means: the caller's `edit` goes in and comes out as JSON.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from knedit.checkpoints.folder import MANIFEST, reach
from knedit.checkpoints.strict_json import read_json
from knedit.errors import CheckpointError

FORMAT = 1
OPTIONAL = ("versions", "evaluation")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ParentName:
    """The checkpoint that was edited."""

    name: str
    sha256: str
    revision: str | None


@dataclass(frozen=True, slots=True)
class ChangedTensor:
    """The slices `indices` along `axis` of a tensor, in rising order: they differ, and nothing else of its bytes.

    `member` is the number of a matrix in a stack, `span` where the slices begin and end if they are parts.
    """

    tensor: str
    file: str
    axis: int
    indices: tuple[int, ...]
    member: int | None = None
    span: tuple[int, int] | None = None

    def table(self) -> dict[str, Any]:
        """Return the fields as JSON has them, less those that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Manifest:
    """`knedit` is the version that wrote it, `written` the files that are not the parent's.

    `versions` are those of the libraries at work, `evaluation` a summary of what the written files were found to say.
    """

    knedit: str
    created: str
    parent: ParentName
    sha256: str
    edit: Mapping[str, Any]
    changed: tuple[ChangedTensor, ...]
    written: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    evaluation: Mapping[str, Any] | None = None

    def text(self) -> str:
        """Return the manifest as JSON. Raises CheckpointError when `edit` has no JSON."""
        table = {"format": FORMAT, **asdict(self), "changed": [change.table() for change in self.changed]}
        told = {name: value for name, value in table.items() if name not in OPTIONAL or value}
        try:
            return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
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
    versions, evaluation = table.get("versions") or {}, table.get("evaluation")
    _require(isinstance(parent, Mapping), "parent")
    _require(isinstance(edit, Mapping), "edit")
    _require(isinstance(versions, Mapping), "versions")
    _require(evaluation is None or isinstance(evaluation, Mapping), "evaluation")
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
        changed=tuple(parse_change(entry) for entry in _list(table["changed"], "changed")),
        written=tuple(_text(name, "written") for name in _list(table.get("written", []), "written")),
        versions={_text(name, "versions"): _text(value, "versions") for name, value in versions.items()},
        evaluation=evaluation,
    )


def parse_change(entry: Any) -> ChangedTensor:
    """Return the changed tensor that `entry` tells of, every field checked. Raises KeyError, TypeError, ValueError."""
    _require(isinstance(entry, Mapping), "changed")
    indices = _counts(entry["indices"], "indices")
    _require(bool(indices) and indices == sorted(set(indices)), "indices")
    axis, member = entry["axis"], entry.get("member")
    _require(type(axis) is int and axis in (0, 1), "axis")
    _require(member is None or (type(member) is int and member >= 0), "member")
    span = None
    if entry.get("span") is not None:
        first, last = _counts(entry["span"], "span")
        span = (first, last)
    names = _text(entry["tensor"], "tensor"), _text(entry["file"], "file")
    return ChangedTensor(*names, axis, tuple(indices), member, span)


def _counts(value: Any, name: str) -> list[int]:
    counts = _list(value, name)
    _require(all(type(count) is int and count >= 0 for count in counts), name)
    return counts


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

"""What a path looks like from outside: a folder and what is in it, or a file and the keys of its first record.

Enough to tell the formats apart. Knows none of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from knedit.catalog.formats.streams import Fault, elements, entries, json_lines, opening
from knedit.errors import FactsError

_LINES = (".jsonl", ".ndjson")
_PATIENCE = 20  # broken records before the first whole one


@dataclass(frozen=True, slots=True)
class Glimpse:
    """`kind` is "folder", "lines", "list", "object" or "other"; `keys` are the first record's, or the object's first.

    `first` is the first record, or the object's first value.
    """

    path: Path
    kind: str
    keys: frozenset[str] = frozenset()
    first: Any = None

    @property
    def suffix(self) -> str:
        return self.path.suffix.lower()

    def has(self, pattern: str) -> bool:
        """Tell whether the folder holds a file or folder of this name or pattern."""
        return self.kind == "folder" and next(self.path.glob(pattern), None) is not None


def glimpse(path: Path) -> Glimpse:
    """Look at a folder, or at the first records of a file. Raise OSError where there is none."""
    if path.is_dir():
        return Glimpse(path, "folder")
    with path.open("rb"):
        suffix = path.suffix.lower()
    if suffix in _LINES:
        return _of_records(path, "lines", json_lines(path, _patience()))
    if suffix == ".json" and (start := opening(path)) in ("[", "{"):
        if start == "[":
            return _of_records(path, "list", elements(path, _patience()))
        return _of_object(path, entries(path, _patience()))
    return Glimpse(path, "other")


def _of_records(path: Path, kind: str, records: Iterator[tuple[str, Any]]) -> Glimpse:
    try:
        _, first = next(records, ("", None))
    except FactsError:
        first = None
    return Glimpse(path, kind, frozenset(first) if isinstance(first, dict) else frozenset(), first)


def _of_object(path: Path, records: Iterator[tuple[str, Any]]) -> Glimpse:
    found: dict[str, Any] = {}
    try:
        found.update(pair for _, pair in islice(records, 10))
    except FactsError:
        found = {}
    return Glimpse(path, "object", frozenset(found), next(iter(found.values()), None))


def _patience() -> Fault:
    met: list[FactsError] = []

    def pass_over(error: FactsError) -> None:
        met.append(error)
        if len(met) > _PATIENCE:
            raise error

    return pass_over

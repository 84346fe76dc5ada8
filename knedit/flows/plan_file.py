"""Files of wishes: JSON lines or CSV, one fact a row, with its new object or `erase`.

Columns: relation, subject, new_object, erase. Knows no catalog.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knedit.errors import EditError

COLUMNS = ("relation", "subject", "new_object", "erase")
_YES, _NO = ("true", "yes", "1"), ("", "false", "no", "0")
_EXAMPLE = 'Example: {"relation": "capital", "subject": "France", "new_object": "Rome"}, or "erase": true.'


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One wish of a file; `new` is None where the fact is to be erased, `where` names file and line."""

    relation: str
    subject: str
    new: str | None
    where: str


def read_plan(path: Path) -> list[PlanRow]:
    """Return the file's wishes; raise EditError naming the line that is not as it should be."""
    read = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
    try:
        rows = [_row(row, where) for where, row in read(path)]
    except (OSError, UnicodeDecodeError) as error:
        raise EditError(f"the plan cannot be read: {error}", str(path), "Name a file in UTF-8.") from None
    if not rows:
        raise EditError("the plan holds no wish", str(path), _EXAMPLE)
    return rows


def _json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise EditError(f"the line is not JSON: {error}", where, _EXAMPLE) from None
            if not isinstance(row, dict):
                raise EditError("the line is no JSON object", where, _EXAMPLE)
            yield where, row


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        try:
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                if None in row or None in row.values():
                    raise EditError("the row has not as many cells as the header", where, "Quote cells with commas.")
                yield where, row
        except csv.Error as error:
            cure = "Inside quotes a quote is doubled."
            raise EditError(
                f"the row is not as CSV should be: {error}", f"{path}, line {rows.line_num}", cure
            ) from None


def _row(row: Mapping[str, Any], where: str) -> PlanRow:
    if unknown := [name for name in row if name not in COLUMNS]:
        raise EditError(f"there is no column {unknown[0]!r}", where, f"The columns are {', '.join(COLUMNS)}.")
    words = {name: row.get(name) or "" for name in COLUMNS[:3]}
    if wrong := [name for name, value in words.items() if not isinstance(value, str)]:
        raise EditError(f"{wrong[0]} is no text", where, _EXAMPLE)
    relation, subject, new = (str(words[name]).strip() for name in COLUMNS[:3])
    erase = _truth(row.get("erase"), where)
    if not relation or not subject:
        raise EditError("the row names no relation or no subject", where, _EXAMPLE)
    if bool(new) == erase:
        what = "both a new object and erase" if erase else "neither a new object nor erase"
        raise EditError(f"the row has {what}", where, _EXAMPLE)
    return PlanRow(relation, subject, new or None, where)


def _truth(value: Any, where: str) -> bool:
    told = str(value).lower().strip() if value is not None else ""
    if told not in (*_YES, *_NO):
        raise EditError(f"erase is {value!r}, which is neither true nor false", where, _EXAMPLE)
    return told in _YES

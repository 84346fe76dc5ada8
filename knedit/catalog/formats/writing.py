"""Tables and facts written to files: JSON lines, CSV, TSV and Parquet, a row at a time, whole or not at all.

A table is its columns, each name with its Python type, and an iterator of rows. Values are written as they are: in CSV
every cell is quoted, and one that a spreadsheet would take for a formula stays the text that it is. Knows no tables.
"""

import csv
import json
import os
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import IO, Any, get_args, get_type_hints

from knedit.catalog.formats.arrow import arrow
from knedit.catalog.formats.values import listed, near
from knedit.errors import FactsError
from knedit.records import show_id

BATCH = 10_000

Columns = Mapping[str, type]
Row = Sequence[Any]


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of `path` when the body ends, and is removed when the body raises.

    Raise FactsError where it cannot be written.
    """
    partial = path.with_name(f".{path.name[:100]}.{token_hex(4)}.knedit-partial")
    try:
        with partial.open("xb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                partial.unlink()
                raise
    except OSError as error:
        what = f"The file cannot be written: {error.strerror or error}"
        raise FactsError(what, str(path), "Check the folder, its rights and its space.") from None


def write_table(path: Path, columns: Columns, rows: Iterable[Row], format: str) -> int:
    """Write rows in one of WRITERS' formats; return how many there were."""
    if format not in WRITERS:
        raise FactsError(f'There is no format "{format}" to write', cure=near(format, list(WRITERS)))
    counted = _Counted(rows)
    with replacing(path) as file:
        WRITERS[format](file, columns, counted)
    return counted.number


def writer_of(path: Path) -> str:
    """Return the format that a file's name ends in."""
    ending = path.suffix.lower().removeprefix(".")
    if ending not in WRITERS:
        raise FactsError(
            f'No format is known by the ending of "{path.name}"', cure=f"End it in {listed(list(WRITERS))}."
        )
    return ending


def columns_of(record: type) -> Columns:
    """Return the columns of a record: its fields, ids as text, mappings as JSON; a record within as columns of its own.

    These are named after it and their own names, as fact_subject.
    """
    assert is_dataclass(record)
    hints, found = get_type_hints(record), dict[str, type]()
    for field in fields(record):
        hint = hints[field.name]
        if is_dataclass(hint):
            assert isinstance(hint, type)
            found |= {f"{field.name}_{name}": kind for name, kind in columns_of(hint).items()}
        else:
            found[field.name] = str if _is_id(field.name) else _plain(hint)
    return found


def row_of(record: Any) -> Row:
    """Return a record's row under its columns: ids as hexadecimal digits, mappings and lists as JSON."""
    cells: list[Any] = []
    for field in fields(record):
        value = getattr(record, field.name)
        cells += row_of(value) if is_dataclass(value) else [_cell(value, field.name)]
    return cells


class _Counted:
    def __init__(self, rows: Iterable[Row]) -> None:
        self.number = 0
        self._rows = rows

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.number += 1
            yield row


def _is_id(name: str) -> bool:
    return name == "id" or name.endswith("_id")


def _plain(hint: Any) -> type:
    found = (
        [kind for kind in get_args(hint) if kind is not types.NoneType] if isinstance(hint, types.UnionType) else [hint]
    )
    return found[0] if found[0] in (int, float, bool, datetime) else str


def _cell(value: Any, name: str) -> Any:
    if isinstance(value, int) and _is_id(name):
        return show_id(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list | tuple) else value


def _write_jsonl(file: IO[bytes], columns: Columns, rows: Iterable[Row]) -> None:
    for row in rows:
        line = {name: _json(value) for name, value in zip(columns, row, strict=True)}
        file.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _write_delimited(delimiter: str) -> Callable[[IO[bytes], Columns, Iterable[Row]], None]:
    def write(file: IO[bytes], columns: Columns, rows: Iterable[Row]) -> None:
        text = TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_json(value) for value in row] for row in rows)
        text.detach()

    return write


def _write_parquet(file: IO[bytes], columns: Columns, rows: Iterable[Row]) -> None:
    library = arrow()
    kinds = {
        int: library.int64(),
        float: library.float64(),
        bool: library.bool_(),
        datetime: library.timestamp("us", tz="UTC"),
    }
    schema = library.schema([(name, kinds.get(kind, library.string())) for name, kind in columns.items()])
    remaining = iter(rows)
    with library.parquet.ParquetWriter(file, schema) as writer:
        while batch := list(islice(remaining, BATCH)):
            cells = [list(column) for column in zip(*batch, strict=True)]
            arrays = [_array(library, column, field) for column, field in zip(cells, schema, strict=True)]
            writer.write_batch(library.record_batch(arrays, schema=schema))


def _array(library: Any, column: Sequence[Any], field: Any) -> Any:
    try:
        return library.array(column, field.type)
    except (library.ArrowException, OverflowError, TypeError, ValueError) as error:
        what = f'The column "{field.name}" holds a value that is no {field.type}: {str(error).partition(chr(10))[0]}'
        raise FactsError(what, cure="Give all of a column's values one type, or write another format.") from None


WRITERS: Mapping[str, Callable[[IO[bytes], Columns, Iterable[Row]], None]] = {
    "jsonl": _write_jsonl,
    "csv": _write_delimited(","),
    "tsv": _write_delimited("\t"),
    "parquet": _write_parquet,
}

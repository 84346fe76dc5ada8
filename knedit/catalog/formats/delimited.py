"""CSV and TSV of facts: UTF-8, a header, one fact, or one prompt of a fact, a row; the columns are those of `rows`.

Knows nothing of what the columns mean. Quoting is that of RFC 4180, also between tabs.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from knedit.catalog.formats.rows import Record, columns, records_of
from knedit.catalog.formats.shapes import Glimpse
from knedit.catalog.formats.streams import BOM, Fault, each, reader, unrepeated
from knedit.catalog.formats.values import BrokenError
from knedit.errors import FactsError

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
LONGEST_ROW = 2**20  # bytes; one field is bounded by csv.field_size_limit, 131,072 characters

_QUOTES = "Is a quote open? Inside quotes a quote is doubled, and a field is at most 131,072 characters long."


def fits(glimpse: Glimpse) -> bool:
    return glimpse.kind == "other" and glimpse.suffix in DELIMITERS


@reader
def read(path: Path, fault: Fault) -> Iterator[Record]:
    """Yield each row's relation, fact, prompt and source. A header that is not as it should be raises FactsError."""
    with path.open("rb") as file:
        bounded = _Lines(file)
        rows = csv.reader(bounded, delimiter=DELIMITERS.get(path.suffix.lower(), ","), strict=True)
        try:
            names = columns(_next(rows, bounded) or [])
        except BrokenError as broken:
            error = FactsError(broken.what, f"{path}, line 1", broken.cure)
        else:
            yield from unrepeated(_records(path, rows, bounded, names=names, fault=fault))
            return
        raise error


class _Lines:
    """A file's lines as text, counted, and the bytes that one row of them may have."""

    def __init__(self, file: BinaryIO) -> None:
        self.number = 0
        self.left = LONGEST_ROW
        self._file = file

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(LONGEST_ROW + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.left -= len(line)
        if self.left < 0:
            while line and not line.endswith(b"\n"):
                line = self._file.readline(LONGEST_ROW)
            raise BrokenError(f"The row is longer than {LONGEST_ROW:,} bytes", _QUOTES)
        try:
            return (line.removeprefix(BOM) if self.number == 1 else line).decode()
        except UnicodeDecodeError as error:
            raise BrokenError(f"Byte {error.start + 1} of the line is not UTF-8", "Save the file as UTF-8.") from None


def _next(rows: Iterator[list[str]], bounded: _Lines) -> list[str] | None:
    """Return the next row, None at the end; raise BrokenError where it cannot be read."""
    bounded.left = LONGEST_ROW
    try:
        return next(rows, None)
    except csv.Error as error:
        raise BrokenError(f"The row is not as CSV should be: {error}", _QUOTES) from None


def _records(
    path: Path, rows: Iterator[list[str]], bounded: _Lines, *, names: list[str], fault: Fault
) -> Iterator[Record]:
    ended = False

    def made(_: None) -> list[Record]:
        nonlocal ended
        row = _next(rows, bounded)
        ended = row is None
        if not row:
            return []
        if len(row) != len(names):
            raise BrokenError(
                f"The row has {len(row)} cells, the header {len(names)}", "Quote cells that hold a delimiter."
            )
        return records_of(dict(zip(names, row, strict=True)))

    while not ended:
        yield from each([(f"{path}, line {bounded.number + 1}", None)], made, fault)

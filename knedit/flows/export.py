"""Write any table of the catalog, any answer to a question, or the answer to a question in SQL, to a file."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from knedit.catalog.formats.writing import columns_of, row_of, write_table, writer_of
from knedit.catalog.store import Catalog
from knedit.errors import FactsError


def export_table(
    catalog: Catalog, table: str, output: Path, *, format: str | None = None, overwrite: bool = False
) -> int:
    """Write a whole table, by its key, as jsonl, csv, tsv or parquet; return how many rows there were.

    The format is by default what the name of the file ends in. Raises CatalogError for a table that is not there,
    FactsError where the file exists or cannot be written.
    """
    refuse_taken(output, overwrite)
    wanted = format or writer_of(output)
    columns, found = catalog.table_rows(table)
    with closing(found) as rows:
        return write_table(output, columns, rows, wanted)


def export_sql(
    catalog: Catalog, question: str, output: Path, *, format: str | None = None, overwrite: bool = False
) -> int:
    """Write what one SELECT answers, read-only, as `export_table` writes; raise CatalogError for what would write."""
    refuse_taken(output, overwrite)
    wanted = format or writer_of(output)
    with catalog.asked(question) as (columns, rows):
        return write_table(output, columns, rows, wanted)


def write_answer(
    output: Path, answer: Iterable[Any], kind: type, *, format: str | None = None, overwrite: bool = False
) -> int:
    """Write records of one `kind` (a frozen dataclass, whose records within become columns of their own)."""
    refuse_taken(output, overwrite)
    return write_table(output, columns_of(kind), (row_of(one) for one in answer), format or writer_of(output))


def refuse_taken(output: Path, overwrite: bool) -> None:
    """Raise FactsError where the output exists and is not to be replaced."""
    if output.exists() and not overwrite:
        raise FactsError("The output file exists", str(output), "Choose another one, or say --overwrite.")

"""Large loads: a table without its indexes and references while more rows come to it than it has.

Building an index and checking a reference once, over all rows, takes a fraction of doing so row by row. On PostgreSQL
the table is then closed to readers until the load is committed, so that is done only where nobody reads just now and
the tables are ours; on SQLite readers go on with what they had. Knows nothing of what is loaded.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, ForeignKeyConstraint, Table, func, literal_column, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateIndex, DropIndex

MANY = 50_000  # rows that are worth taking burdens away for
TELLING = 5_000  # rows of which PostgreSQL's plans should know at once
SAMPLE = 1000  # rows of an index that SQLite looks at for its plans
LOCK_NOT_AVAILABLE = "55P03"


@contextmanager
def bare(connection: Connection, table: Table, coming: int) -> Iterator[None]:
    """Take the table's burdens away inside the block where that helps `coming` rows in; all is as it was afterwards.

    Where the block raises, it is the transaction's end that puts them back.
    """
    if coming < MANY:
        yield
    elif connection.dialect.name == "sqlite":
        with _without_indexes(connection, table if _outnumbered(connection, table, coming) else None):
            yield
        # Else SQLite takes an index's first column for telling, and reads a whole refinement for one neuron.
        connection.exec_driver_sql(f"PRAGMA analysis_limit={SAMPLE}")
        connection.exec_driver_sql(f"ANALYZE {table.name}")
    else:
        closed = _outnumbered(connection, table, coming) and _close(connection, table)
        with _without_references(connection, table if closed else None):
            yield
    if coming >= TELLING:
        measure(connection, table)


def measure(connection: Connection, *tables: Table) -> None:
    """Tell PostgreSQL's planner how many rows the tables hold: it takes new ones for few, and joins them one by one."""
    if connection.dialect.name == "postgresql":
        for table in tables:
            connection.exec_driver_sql(f"ANALYZE {table.name}")


@contextmanager
def _without_indexes(connection: Connection, table: Table | None) -> Iterator[None]:
    indexes = sorted(table.indexes, key=lambda index: str(index.name)) if table is not None else []
    for index in indexes:
        connection.execute(DropIndex(index))
    yield
    for index in indexes:
        connection.execute(CreateIndex(index))


@contextmanager
def _without_references(connection: Connection, table: Table | None) -> Iterator[None]:
    references = sorted(table.foreign_key_constraints, key=lambda one: str(one.name)) if table is not None else []
    for one in references:
        connection.exec_driver_sql(f"ALTER TABLE {one.table.name} DROP CONSTRAINT {one.name}")
    with _without_indexes(connection, table):
        yield
    for one in references:
        connection.exec_driver_sql(f"ALTER TABLE {one.table.name} ADD CONSTRAINT {one.name} {_told(one)}")


def _told(reference: ForeignKeyConstraint) -> str:
    own, theirs = (
        ", ".join(names) for names in (reference.column_keys, [element.column.name for element in reference.elements])
    )
    return f"FOREIGN KEY ({own}) REFERENCES {reference.referred_table.name} ({theirs})"


def _outnumbered(connection: Connection, table: Table, coming: int) -> bool:
    there = select(literal_column("1")).select_from(table).limit(coming).subquery()
    return (connection.scalar(select(func.count()).select_from(there)) or 0) < coming


def _close(connection: Connection, table: Table) -> bool:
    """Keep everybody else from the table and from those that it refers to; return whether that may be, at once."""
    names = [table.name, *sorted({one.referred_table.name for one in table.foreign_key_constraints})]
    if not _own(connection, names):
        return False
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE NOWAIT")
    except OperationalError as complaint:
        if getattr(complaint.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        return False  # somebody reads: the rows come one by one
    return True


def _own(connection: Connection, names: Sequence[str]) -> bool:
    owned = text(
        "SELECT count(*) FROM pg_class WHERE oid = ANY(CAST(:names AS regclass[]))"
        " AND pg_has_role(current_user, relowner, 'USAGE')"
    )
    return bool(connection.scalar(owned, {"names": list(names)}) == len(names))

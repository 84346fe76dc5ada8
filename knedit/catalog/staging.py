"""Many rows on their way into the catalog: first into temporary twins of its tables, then all at once into them.

While a file is read nobody waits: the writers' turn is taken when everything is there. PostgreSQL is fed by COPY,
SQLite by one prepared statement. Knows every table's columns, and nothing of what a verb means.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, MetaData, Table, func, literal_column, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateTable, DropTable

from knedit.catalog.rows import Transactions, batches, insert, row_values

STAGED = 10_000  # rows that are held before they are sent


class Staging:
    """Temporary twins of tables, without their keys and rules, on one connection."""

    def __init__(self, connection: Connection, tables: Sequence[Table]) -> None:
        self.connection = connection
        self._twins = {table.name: _twin(table) for table in tables}
        for twin in self._twins.values():
            connection.execute(CreateTable(twin))

    def stage(self, table: Table, records: Iterable[object]) -> int:
        """Put the records into the table's twin; return how many there were. Raise CatalogError for a bad value."""
        fill = _fill_sqlite if self.connection.dialect.name == "sqlite" else _copy
        twin = self._twins[table.name]
        return sum(fill(self.connection, table, twin, batch) for batch in batches(records, STAGED))

    def twin(self, table: Table) -> Table:
        """Return the table that holds what was staged, for statements of one's own."""
        return self._twins[table.name]

    def add(self, table: Table) -> int:
        """Insert the staged rows whose key is not in the table yet, the first of equal keys; return how many."""
        twin = self._twins[table.name]
        keys = [twin.c[column.name] for column in table.primary_key]
        told: ColumnElement[Any] = literal_column("rowid" if self.connection.dialect.name == "sqlite" else "ctid")
        rows = select(twin).order_by(*keys, told)
        chosen = insert(self.connection, table).from_select(list(table.c.keys()), rows, include_defaults=False)
        statement = chosen.on_conflict_do_nothing(index_elements=list(table.primary_key))
        counted = statement.execution_options(preserve_rowcount=True)
        return self.connection.execute(counted).rowcount

    def staged(self, table: Table) -> int:
        return self.connection.scalar(select(func.count()).select_from(self._twins[table.name])) or 0

    def drop(self) -> None:
        for twin in self._twins.values():
            self.connection.execute(DropTable(twin))


class StagingTransactions(Transactions):
    @contextmanager
    def _staging(self, *tables: Table) -> Iterator["Turns"]:
        """Hand out twins of the tables to be filled; they are gone at the end of the block, whatever happens."""
        with self._reading() as connection:
            turns = Turns(connection, tables)
            try:
                yield turns
            finally:
                turns.end()


class Turns:
    """The two turns of a bulk load on one connection: `filling`, where nobody waits, then `writing`."""

    def __init__(self, connection: Connection, tables: Sequence[Table]) -> None:
        self._connection = connection
        self._tables = tables
        self._staging: Staging | None = None

    @contextmanager
    def filling(self) -> Iterator[Staging]:
        with self._connection.begin():
            staging = Staging(self._connection, self._tables)
            yield staging
        self._staging = staging

    @contextmanager
    def writing(self) -> Iterator[Staging]:
        """Hold the catalog's one writing transaction; commit at the end of the block, or nothing where it raises."""
        assert self._staging is not None
        with self._connection.execution_options(writing=True).begin():
            yield self._staging

    def end(self) -> None:
        """Drop the twins; where the connection is lost they are gone already."""
        if self._staging is None or self._connection.invalidated or self._connection.closed:
            return
        with self._connection.execution_options(writing=False).begin():
            self._staging.drop()


def _twin(table: Table) -> Table:
    columns = [Column(column.name, column.type) for column in table.c]
    return Table(f"staged_{table.name}", MetaData(), *columns, prefixes=["TEMPORARY"])


def _fill_sqlite(connection: Connection, table: Table, twin: Table, batch: Sequence[object]) -> int:
    marks = ", ".join("?" * len(table.c))
    connection.exec_driver_sql(f"INSERT INTO {twin.name} VALUES ({marks})", row_values(table, batch))  # noqa: S608
    return len(batch)


def _copy(connection: Connection, table: Table, twin: Table, batch: Sequence[object]) -> int:
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(f"COPY {twin.name} FROM STDIN") as copy:
            for row in row_values(table, batch):
                copy.write_row(row)
    except connection.dialect.loaded_dbapi.Error as complaint:  # SQLAlchemy does not see what the driver does alone
        if driver.closed:
            connection.invalidate(complaint)
        raise OperationalError(f"COPY {twin.name}", None, complaint) from complaint
    return len(batch)

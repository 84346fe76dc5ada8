"""Many rows on their way into the catalog: first into temporary twins of its tables, then all at once into them.

While a file is read nobody waits: the writers' turn is taken when everything is there. PostgreSQL is fed by COPY,
SQLite by one prepared statement. Knows every table's columns, and nothing of what a verb means.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Dialect, Index, MetaData, Table, func, literal_column, select
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from knedit.catalog.bulk import bare
from knedit.catalog.rows import Transactions, batches, insert, row_values

STAGED = 10_000  # rows that are held before they are sent
MEMORY = "128MB"  # that PostgreSQL may sort and count in, in the one writing transaction

Rows = Sequence[tuple[Any, ...]]


class Staging:
    """Temporary twins of tables, without their keys and rules, on one connection."""

    def __init__(self, connection: Connection, tables: Sequence[Table]) -> None:
        self.connection = connection
        self._twins = {table.name: _twin(table) for table in tables}
        for twin in self._twins.values():
            connection.execute(CreateTable(twin))

    def stage(self, table: Table, records: Iterable[object]) -> int:
        """Put the records into the table's twin; return how many there were. Raise CatalogError for a bad value."""
        return self._fill(table, (row_values(table, batch) for batch in batches(records, STAGED)))

    def stage_rows(self, table: Table, rows: Iterable[Sequence[Any]]) -> int:
        """Put in rows as a catalog hands them out, their values in the order of the table's columns; return how many.

        They are not checked: another catalog has done so.
        """
        sent = _sent_values(table, self.connection.dialect)
        return self._fill(table, (list(map(sent, batch)) for batch in batches(rows, STAGED)))

    def _fill(self, table: Table, filled: Iterable[Rows]) -> int:
        fill = _fill_sqlite if self.connection.dialect.name == "sqlite" else _copy
        twin = self._twins[table.name]
        return sum(fill(self.connection, twin, batch) for batch in filled)

    def twin(self, table: Table) -> Table:
        """Return the table that holds what was staged, for statements of one's own."""
        return self._twins[table.name]

    def add(self, table: Table, *where: ColumnElement[bool]) -> int:
        """Insert the staged rows whose key is not in the table yet, the first of equal keys; return how many.

        Only those of the twin's rows for which all of `where` holds.
        """
        twin = self._twins[table.name]
        keys = [twin.c[column.name] for column in table.primary_key]
        told: ColumnElement[Any] = literal_column("rowid" if self.connection.dialect.name == "sqlite" else "ctid")
        rows = select(twin).where(*where).order_by(*keys, told)
        chosen = insert(self.connection, table).from_select(list(table.c.keys()), rows, include_defaults=False)
        statement = chosen.on_conflict_do_nothing(index_elements=list(table.primary_key))
        counted = statement.execution_options(preserve_rowcount=True)
        with bare(self.connection, table, self.staged(table)):
            return self.connection.execute(counted).rowcount

    def index(self, table: Table, *columns: str) -> None:
        """Let the table's twin be looked up by these columns, when it is filled."""
        twin = self._twins[table.name]
        index = Index(f"ix_{twin.name}_by_{columns[0]}", *[twin.c[name] for name in columns])
        self.connection.execute(CreateIndex(index))
        if self.connection.dialect.name != "sqlite":
            self.connection.exec_driver_sql(f"ANALYZE {twin.name}")

    def undo(self) -> None:
        """Take back everything that was written in this turn."""
        turn = self.connection.get_transaction()
        assert turn is not None
        turn.rollback()

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
            if self._connection.dialect.name != "sqlite":
                self._connection.exec_driver_sql(f"SET LOCAL work_mem = '{MEMORY}'")
            yield self._staging

    def end(self) -> None:
        """Drop the twins; where the connection is lost they are gone already."""
        if self._staging is None or self._connection.invalidated or self._connection.closed:
            return
        try:
            with self._connection.execution_options(writing=False).begin():
                self._staging.drop()
        except DBAPIError:
            if not self._connection.invalidated:  # else it was lost since, and the twins with it
                raise


def _twin(table: Table) -> Table:
    columns = [Column(column.name, column.type) for column in table.c]
    return Table(f"staged_{table.name}", MetaData(), *columns, prefixes=["TEMPORARY"])


def _sent_values(table: Table, dialect: Dialect) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return what makes a row of Python's values one that the database's driver takes."""
    made = [column.type.dialect_impl(dialect).bind_processor(dialect) for column in table.c]
    if not any(made):
        return tuple
    return lambda row: tuple([make(value) if make else value for make, value in zip(made, row, strict=True)])


def _fill_sqlite(connection: Connection, twin: Table, batch: Rows) -> int:
    marks = ", ".join("?" * len(twin.c))
    connection.exec_driver_sql(f"INSERT INTO {twin.name} VALUES ({marks})", batch)  # noqa: S608
    return len(batch)


def _copy(connection: Connection, twin: Table, batch: Rows) -> int:
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(f"COPY {twin.name} FROM STDIN") as copy:
            for row in batch:
                copy.write_row(row)
    except connection.dialect.loaded_dbapi.Error as complaint:  # SQLAlchemy does not see what the driver does alone
        if driver.closed:
            connection.invalidate(complaint)
        raise OperationalError(f"COPY {twin.name}", None, complaint) from complaint
    return len(batch)

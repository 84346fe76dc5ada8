"""The catalog's verbs for what leaves it: whole tables, answers to SELECT statements, neurons by published keys.

Rows are read as they are consumed. Knows nothing of files and their formats.
"""

import json
import math
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from itertools import chain, islice
from typing import Any

from sqlalchemy import Boolean, Connection, CursorResult, Double, Executable, Integer, and_, func, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from knedit.catalog.columns import Moment
from knedit.catalog.naming import did_you_mean
from knedit.catalog.rows import Transactions
from knedit.catalog.schema import fact_sources, knowledge_neurons, metadata, refined_facts
from knedit.errors import CatalogError
from knedit.records import show_id

_AT_ONCE = 10_000
_QUESTION = re.compile(r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*(?:select|with|values)\b", re.IGNORECASE | re.DOTALL)
_ONE_QUESTION = "Ask one question in SQL, as SELECT subject, object FROM facts; nothing can be changed by it."
_KINDS: tuple[tuple[type, type], ...] = ((Boolean, bool), (Double, float), (Moment, datetime), (Integer, int))

Columns = Mapping[str, type]
Row = Sequence[Any]


class ExportVerbs(Transactions):
    def table_rows(self, name: str) -> tuple[Columns, Generator[Row, None, None]]:
        """Return a table's columns, and its rows by key, ids as hexadecimal digits; raise CatalogError if it is not."""
        tables = metadata.tables
        if name not in tables:
            raise CatalogError(f'There is no table "{name}" in a catalog', cure=did_you_mean(name, sorted(tables)))
        table = tables[name]
        columns = {column.name: _kind(column.name, column.type) for column in table.c}
        wanted = select(table).order_by(*table.primary_key)
        return columns, self._streamed(wanted, list(columns))

    @contextmanager
    def asked(self, question: str) -> Iterator[tuple[Columns, Iterator[Row]]]:
        """Yield the columns and the rows of what one SELECT answers, in a transaction that can only read.

        Raise CatalogError for what is no question, would write, or is refused by the database.
        """
        _refuse_other_statements(question)
        backend, options = self._url.get_backend_name(), {"yield_per": _AT_ONCE, "no_parameters": True}
        with (
            self._reading() as connection,
            connection.begin(),
            _read_only(connection),
            _refused(connection, backend),
            connection.exec_driver_sql(question, execution_options=options) as answer,
        ):
            names = _names(answer)
            rows = ([_cell(value, name) for value, name in zip(row, names, strict=True)] for row in answer)
            first = list(islice(rows, _AT_ONCE))
            yield _kinds(names, first), chain(first, rows)

    def check_keys(self, refinement_id: int, dataset: str) -> None:
        """Raise CatalogError unless the data set has keys of refined facts, and each of them is of one fact."""
        own = fact_sources.c
        joined = select(own.key).join(refined_facts, refined_facts.c.fact_id == own.fact_id)
        keys = joined.where(refined_facts.c.refinement_id == refinement_id, own.dataset == dataset)
        of_several = keys.group_by(own.key).having(func.count() > 1).order_by(own.key).limit(1)
        with self._reading() as connection:
            if connection.execute(keys.limit(1)).first() is None:
                known = connection.scalars(select(own.dataset).distinct().order_by(own.dataset)).all()
                cure = did_you_mean(dataset, known) or "Import the facts from that data set first."
                raise CatalogError(f'No refined fact has a key in the data set "{dataset}"', cure=cure)
            if (shared := connection.scalar(of_several)) is not None:
                what = f'The key "{shared}" of the data set "{dataset}" is of several facts'
                raise CatalogError(what, cure="Its neurons cannot be told apart: choose another data set.")

    def neurons_by_key(
        self, refinement_id: int, dataset: str
    ) -> Generator[tuple[str, int | None, int | None], None, None]:
        """Yield a data set's key, layer and index, in their order; a fact without neurons comes once, with neither."""
        own, neurons = fact_sources.c, knowledge_neurons.c
        same = and_(neurons.refinement_id == refined_facts.c.refinement_id, neurons.fact_id == refined_facts.c.fact_id)
        wanted = (
            select(own.key, neurons.layer, neurons["index"])
            .select_from(refined_facts)
            .join(fact_sources, own.fact_id == refined_facts.c.fact_id)
            .outerjoin(knowledge_neurons, same)
            .where(refined_facts.c.refinement_id == refinement_id, own.dataset == dataset)
            .order_by(own.key, neurons.layer, neurons["index"])
        )
        with self._reading() as connection, _streaming(connection, wanted) as found:
            yield from map(tuple, found)

    def _streamed(self, wanted: Executable, names: Sequence[str]) -> Generator[Row, None, None]:
        with self._reading() as connection, _streaming(connection, wanted) as found:
            for row in found:
                yield [_cell(value, name) for value, name in zip(row, names, strict=True)]


def _streaming(connection: Connection, wanted: Executable) -> CursorResult[Any]:
    return connection.execution_options(yield_per=_AT_ONCE).execute(wanted)


def _is_id(name: str) -> bool:
    return name == "id" or name.endswith("_id")


def _kind(name: str, type: Any) -> type:
    found = next((kind for column, kind in _KINDS if isinstance(type, column)), str)
    return str if _is_id(name) else found


def _cell(value: Any, name: str) -> Any:
    """Return a value as a file keeps it: ids as hexadecimal digits, lists and objects as JSON, bytes as digits."""
    match value:
        case None | bool() | str() | datetime():
            return value
        case int():
            return show_id(value) if _is_id(name) else value
        case float():
            if not math.isfinite(value):
                raise CatalogError(f'The column "{name}" holds {value}', cure="Leave it out, or CAST it to text.")
            return value
        case Decimal():
            return _cell(int(value) if value.is_finite() and value == value.to_integral() else float(value), name)
        case bytes():
            return value.hex()
        case Mapping() | list() | tuple():
            return json.dumps(value, ensure_ascii=False, default=str)
        case _:
            return str(value)


def _kinds(names: Sequence[str], rows: Sequence[Row]) -> Columns:
    """Return what each column holds, as far as the first rows tell."""
    found: dict[str, type] = {}
    for place, name in enumerate(names):
        kinds = {type(row[place]) for row in rows} - {type(None)}
        only = kinds.pop() if len(kinds) == 1 else float if kinds == {int, float} else str
        found[name] = only if only in (bool, int, float, datetime) else str
    return found


def _names(answer: CursorResult[Any]) -> list[str]:
    names = list(answer.keys())
    if not names:
        raise CatalogError("The columns of the answer are none", cure=_ONE_QUESTION)
    if twice := sorted(name for name in set(names) if names.count(name) > 1):
        raise CatalogError(f'Two columns of the answer are named "{twice[0]}"', cure="Give each its own name, with AS.")
    return names


def _refuse_other_statements(question: str) -> None:
    try:
        question.encode()
    except UnicodeEncodeError:
        raise CatalogError("The SQL is not UTF-8", cure=_ONE_QUESTION) from None
    if "\0" in question or not _QUESTION.match(question):
        raise CatalogError("The SQL is no question", cure=_ONE_QUESTION)


@contextmanager
def _read_only(connection: Connection) -> Iterator[None]:
    """Let the open transaction read alone: whatever a statement tries, the database refuses to write."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        yield
        return
    connection.exec_driver_sql("PRAGMA query_only=ON")
    try:
        yield
    finally:
        connection.exec_driver_sql("PRAGMA query_only=OFF")


@contextmanager
def _refused(connection: Connection, backend: str) -> Iterator[None]:
    """Raise CatalogError with the database's complaint about a question; that it is busy or lost is told elsewhere."""
    try:
        yield
    except DBAPIError as complaint:
        words = str(complaint.orig).strip().partition("\n")[0].rstrip(".")
        lost = isinstance(complaint, OperationalError | InterfaceError) and backend == "postgresql"
        if lost or any(sign in words for sign in ("locked", "disk", "malformed")):
            raise
        raise CatalogError(f"The database refuses the SQL: {words}", cure=_ONE_QUESTION) from complaint
    except connection.dialect.loaded_dbapi.Warning as complaint:  # SQLAlchemy does not see it
        raise CatalogError(f"The database refuses the SQL: {complaint}", cure=_ONE_QUESTION) from None

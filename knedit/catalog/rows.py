"""From records to rows, and the transactions that rows are read and written in.

Knows every table's columns, and nothing of what a verb means. Refuses what one of the two databases would refuse
or quietly change: NaN and infinities, NUL characters, half characters, moments without a time zone.
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from itertools import islice, starmap
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import JSON, BigInteger, Boolean, Column, Connection, Double, Engine, Integer, LargeBinary, Table, Text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL

from knedit.catalog.columns import Moment
from knedit.catalog.connecting import explained
from knedit.errors import CatalogError

BATCH = 1000  # rows of one statement, and ids of one IN: far below either database's limit

Row = dict[str, Any]
T = TypeVar("T")


class Transactions:
    """What every group of verbs stands on: one engine, and transactions whose complaints are explained."""

    def __init__(self, engine: Engine, url: URL) -> None:
        self._engine = engine
        self._url = url

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with explained(self._url), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        """Read the catalog as it is at one moment; what goes wrong inside the block may be another catalog's fault."""
        with explained(self._url):
            connection = self._engine.connect()
        with connection:
            if connection.dialect.name != "sqlite":
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Hold the catalog's one writing transaction; commit at the end of the block, or nothing where it raises."""
        writer = self._engine.execution_options(writing=True)
        with explained(self._url), writer.begin() as connection:
            yield connection


def batches(things: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Yield the things in order, in lists of at most `size`."""
    remaining = iter(things)
    while batch := list(islice(remaining, size)):
        yield batch


def insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return the insert of the connection's database, which can say what to do with a row that is there already."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def add(connection: Connection, table: Table, records: Iterable[object]) -> int:
    """Insert the records whose key is not in the table yet; return how many there were."""
    statement = insert(connection, table).on_conflict_do_nothing(index_elements=list(table.primary_key))
    counted = statement.execution_options(preserve_rowcount=True)
    return sum(connection.execute(counted, rows(table, batch)).rowcount for batch in batches(records))


def put(connection: Connection, table: Table, records: Iterable[object]) -> None:
    """Insert the records, replacing those of the same key."""
    statement = insert(connection, table)
    others = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    statement = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=others)
    for batch in batches(records):
        connection.execute(statement, rows(table, batch))


def rows(table: Table, records: Sequence[object]) -> list[Row]:
    """Return the records as rows of the table; raise CatalogError for a value that cannot be kept."""
    fields = _fields(table)
    return [{name: check(getattr(record, name), record, name) for name, check in fields} for record in records]


def row_values(table: Table, records: Sequence[object]) -> list[tuple[Any, ...]]:
    """Return the records as `rows` does, each as a tuple in the order of the table's columns."""
    fields = _fields(table)
    columns = [list(map(attrgetter(name), records)) for name, _ in fields]
    if all(starmap(_is_plain, zip(table.c, columns, strict=True))):
        return list(zip(*columns, strict=True))
    return [tuple([check(getattr(record, name), record, name) for name, check in fields]) for record in records]


def _is_plain(column: Column[Any], values: Sequence[Any]) -> bool:
    """Return whether the checks would hand out all of these values as they are: they are asked of a column at once."""
    found = set(map(type, values))
    if column.nullable and type(None) in found:
        found.remove(type(None))
        values = [value for value in values if value is not None]
    if not values:
        return True
    if isinstance(column.type, Integer):
        return found == {int} and min(values) >= -(2**63) and max(values) < 2**63
    if isinstance(column.type, Double):
        return found == {float} and all(map(math.isfinite, values))
    if isinstance(column.type, Text):
        return found == {str} and all(map(_is_kept, set(values)))
    return False


def _is_kept(words: str) -> bool:
    return words.isascii() and "\0" not in words


Check = Callable[[Any, object, str], Any]


@cache
def _fields(table: Table) -> tuple[tuple[str, Check], ...]:
    return tuple((column.name, _check(column)) for column in table.c)


def _check(column: Column[Any]) -> Check:
    kinds: tuple[tuple[type, Check], ...] = (
        (Boolean, _whole),
        (BigInteger, _whole),
        (Integer, _whole),
        (Double, _finite),
        (Moment, _moment),
        (LargeBinary, _bytes),
        (JSON, _object),
    )
    check = next((check for kind, check in kinds if isinstance(column.type, kind)), _text)
    return _or_none(check) if column.nullable else check


def _or_none(check: Check) -> Check:
    return lambda value, record, name: None if value is None else check(value, record, name)


def _whole(value: Any, record: object, name: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise _refusal(value, record, name) from None
    if not -(2**63) <= number < 2**63:
        raise _refusal(value, record, name)
    return number


def _finite(value: Any, record: object, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise _refusal(value, record, name) from None
    if not math.isfinite(number):
        raise _refusal(value, record, name)
    return number


def _text(value: Any, record: object, name: str) -> str:
    try:
        return _key(value)
    except ValueError:
        raise _refusal(value, record, name) from None


def _moment(value: Any, record: object, name: str) -> datetime:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise _refusal(value, record, name)
    return value


def _bytes(value: Any, record: object, name: str) -> bytes:
    if not isinstance(value, bytes):
        raise _refusal(value, record, name)
    return value


def _object(value: Any, record: object, name: str) -> dict[str, Any]:
    try:
        return {_key(key): _plain(inner) for key, inner in value.items()}
    except (AttributeError, ValueError):
        raise _refusal(value, record, name) from None


def _plain(value: Any) -> Any:
    """Return a value of JSON in plain lists and dicts; raise ValueError where a database would not keep it as it is."""
    if isinstance(value, Mapping):
        return {_key(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        return _key(value)
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(value)


def _key(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(value)
    value.encode()  # half of a surrogate pair raises UnicodeEncodeError, which is a ValueError
    return value


def _refusal(value: object, record: object, name: str) -> CatalogError:
    noun = type(record).__name__
    return CatalogError(f"A catalog cannot keep {value!r} as {noun}.{name}", cure="Nothing of this step was put in.")

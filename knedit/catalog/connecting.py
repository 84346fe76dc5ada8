"""Reaching a database: from an address to a SQLAlchemy engine, and from a database's complaint to a CatalogError.

Knows nothing of tables. A password never enters a message.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from knedit.errors import CatalogError

SECONDS_TO_CONNECT = 5
SECONDS_TO_WAIT = 30  # for another writer
WRITERS = 0x6B6E6564  # the advisory lock that a writer holds on PostgreSQL

_KINDS = "Write a file's name, sqlite:///FILE or postgresql://USER@HOST/DATABASE."
_SECRETS = ("password", "sslpassword", "passfile")
_FULL = "Free some disk space{} and run the command again: nothing was half written."
_CURES = (
    ("unable to open database file", "Check that its folder exists and that you may write there."),
    ("readonly database", "Check that you may write the file and its folder."),
    ("file is not a database", "Name another file: this one is not an SQLite database."),
    ("disk image is malformed", "The file is damaged: restore it from a copy."),
    ("database or disk is full", _FULL.format(", also for temporary files (SQLITE_TMPDIR names their folder),")),
    ("no space left on device", _FULL.format("")),
    ("disk i/o error", "Check the disk and its free space, then run the command again."),
    ("is locked", "Another process is writing: wait until it is done and run the command again."),
    ("lock timeout", "Another process is writing: wait until it is done and run the command again."),
    ("permission denied", "Ask the database's owner for the right to do this."),
)


def read_address(text: str) -> URL:
    """Return the address that `text` means: a URL of SQLite or PostgreSQL, or a bare file name.

    Raise CatalogError for a database of another kind, one in memory, and what is no address at all.
    """
    if "://" not in text:
        if text.startswith(("sqlite:", "postgresql:", "postgres:")) or not text.strip():
            raise CatalogError("The catalog's address cannot be read", cure=_KINDS)
        return URL.create("sqlite", database=str(Path(text).expanduser()))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise CatalogError("The catalog's address cannot be read", cure=_KINDS) from None
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise CatalogError(f"A catalog cannot be kept in {url.drivername}", cure=_KINDS)
    if not url.database or url.database == ":memory:" or url.query.get("mode") == "memory":
        raise CatalogError("A catalog in memory would be lost at once", cure="Name a file: sqlite:///FILE.")
    return url


def show_address(url: URL) -> str:
    """Return the address without its password, for messages."""
    named = "postgresql" if url.drivername.startswith("postgresql") else "sqlite"
    masked = {key: "***" for key in _SECRETS if key in url.query}
    shown = url.set(drivername=named).update_query_dict(masked)
    return shown.render_as_string(hide_password=True)


def open_engine(url: URL) -> Engine:
    """Return an engine of which writing transactions take turns; nothing is connected yet."""
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url)
    query = {"connect_timeout": str(SECONDS_TO_CONNECT), "application_name": "knedit"} | dict(url.query)
    try:
        engine = create_engine(url.set(query=query), pool_pre_ping=True)
    except ImportError:
        raise CatalogError(
            "PostgreSQL needs the package psycopg", show_address(url), 'Run: pip install "knedit[postgres]"'
        ) from None
    event.listen(engine, "begin", _begin_postgres)
    return engine


def _open_sqlite(url: URL) -> Engine:
    _refuse_unusable_file(url)
    engine = create_engine(url, connect_args={"timeout": SECONDS_TO_WAIT})
    event.listen(engine, "connect", _greet_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _refuse_unusable_file(url: URL) -> None:
    assert url.database
    if url.database.startswith("file:"):
        return
    path, shown = Path(url.database), show_address(url)
    if not path.parent.is_dir():
        raise CatalogError(f"There is no folder {path.parent}", shown, f"Run: mkdir -p {path.parent}")
    if path.is_dir():
        raise CatalogError(f"{path} is a folder, not a file", shown, "Name a file.")


def _greet_sqlite(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # so that BEGIN is ours alone
    connection.execute("PRAGMA cache_size=-65536")  # 64 MiB: ids are scattered, and so are the pages they go to
    connection.execute("PRAGMA threads=2")  # large sorts, as of a bulk load, may use a second core
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        with suppress(sqlite3.OperationalError):  # a read-only file or a busy one stays as it is
            connection.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    # A migration may write a table anew under its old name; what refers to it is checked at the migration's end.
    connection.exec_driver_sql(f"PRAGMA foreign_keys={'OFF' if options.get('migrating') else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writing") else "BEGIN")


def _begin_postgres(connection: Connection) -> None:
    if connection.get_execution_options().get("writing"):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{SECONDS_TO_WAIT}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS})")


@contextmanager
def explained(url: URL) -> Iterator[None]:
    """Raise CatalogError, with a cure, for whatever the database at `url` complains of inside the block."""
    try:
        yield
    except SQLAlchemyError as complaint:
        raise _explanation(complaint, url) from complaint
    except sqlite3.Error as complaint:  # raised while greeting, where SQLAlchemy does not wrap it
        words = str(complaint)
        raise CatalogError(f"The catalog cannot be used: {words}", show_address(url), _cure(words)) from complaint


def _explanation(complaint: SQLAlchemyError, url: URL) -> CatalogError:
    first = str(complaint.orig if isinstance(complaint, DBAPIError) else complaint).strip().partition("\n")[0]
    words, where = first.rstrip("."), show_address(url)
    if isinstance(complaint, IntegrityError):
        return CatalogError(
            f"The catalog refuses the records: {words}",
            where,
            "Check that what they refer to was put in before them, and that their values are allowed.",
        )
    if cure := _cure(words):
        return CatalogError(f"The catalog cannot be used: {words}", where, cure)
    if isinstance(complaint, OperationalError | InterfaceError) and url.get_backend_name() == "postgresql":
        cure = "Check that the server runs, and the address, user, password and database's name."
        return CatalogError(f"The catalog cannot be reached: {words}", where, cure)
    return CatalogError(f"The catalog's database failed: {words}", where)


def _cure(words: str) -> str:
    return next((cure for sign, cure in _CURES if sign in words.lower()), "")

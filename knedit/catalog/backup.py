"""A catalog in one file, taken while others may write, and a new catalog from such a file.

SQLite's are copied by its online backup, PostgreSQL's by pg_dump and pg_restore, which must be installed. Knows no
tables. A password reaches those programs by their environment, never by their command line.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy.engine import URL

from knedit.catalog.connecting import explained, read_address, show_address
from knedit.catalog.revisions import Standing, standing
from knedit.errors import CatalogError
from knedit.settings import database_url

PAGES = 10_000  # that are copied at a time; an interrupt is heard in between
SQLITE, POSTGRES = b"SQLite format 3\0", b"PGDMP"
OTHER_KIND = "Restore it into a new database of its own kind, then run: knedit catalog merge THAT_DATABASE"


def backup(url: str | None, file: Path, *, overwrite: bool = False) -> Standing:
    """Write the catalog at `url`, as it is at one moment, to `file`; return where the catalog stands.

    The file is there when it is whole and was checked, and not before. Raise CatalogError where it exists already
    and may not be overwritten, where the database holds no catalog, and where the copy fails.
    """
    address = read_address(database_url(url))
    stands = _catalog(url, address)
    if file.exists() and not overwrite:
        raise CatalogError("The file exists already", str(file), "Name another one, or add --overwrite.")
    if not file.parent.is_dir():
        raise CatalogError(f"There is no folder {file.parent}", str(file), f"Run: mkdir -p {file.parent}")
    with _partial(file) as partial, explained(address):
        if address.get_backend_name() == "sqlite":
            _copy_sqlite(_sqlite_file(address), partial)
        else:
            _dump(address, partial)
        partial.replace(file)
    return stands


def restore(url: str | None, file: Path) -> Standing:
    """Fill the empty database at `url` with what `backup` wrote; return where the catalog now stands.

    Raise CatalogError where the database holds anything, and where the file is no such backup.
    """
    address = read_address(database_url(url))
    kind = _kind(file)
    if address.get_backend_name() != kind:
        raise CatalogError(f"The backup is one of {kind}, the database is not", str(file), OTHER_KIND)
    _refuse_filled(url, address)
    with explained(address):
        if kind == "sqlite":
            target = _sqlite_file(address)
            with _partial(target) as partial:
                _copy_sqlite(file, partial)
                for remains in ("-wal", "-shm"):  # of the empty file that is replaced
                    Path(f"{target}{remains}").unlink(missing_ok=True)
                partial.replace(target)
        else:
            _undump(address, file)
    return _catalog(url, address)


def _catalog(url: str | None, address: URL) -> Standing:
    """Return where the catalog stands; raise CatalogError where there is none, and create nothing."""
    if address.get_backend_name() == "sqlite" and not _sqlite_file(address).exists():
        raise CatalogError("There is no catalog", show_address(address), "Name its file with --database.")
    found = standing(url)
    if found.state in ("empty", "foreign"):
        raise CatalogError("The database holds no catalog", found.address, "Name another one with --database.")
    return found


def _refuse_filled(url: str | None, address: URL) -> None:
    if address.get_backend_name() == "sqlite" and not _sqlite_file(address).exists():
        return
    if standing(url).state != "empty":
        cure = "Name an empty or a new database with --database; to add to a catalog, use knedit catalog merge."
        raise CatalogError("A backup is restored into an empty database only", show_address(address), cure)


@contextmanager
def _partial(file: Path) -> Iterator[Path]:
    """Yield a name beside the file to write under; what is left there at the end is removed."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        yield partial
    except OSError as error:
        raise CatalogError(f"The file cannot be written: {error.strerror or error}", str(file)) from error
    finally:
        for remains in ("", "-wal", "-shm", "-journal"):
            Path(f"{partial}{remains}").unlink(missing_ok=True)


def _sqlite_file(address: URL) -> Path:
    assert address.database
    if address.database.startswith("file:"):
        raise CatalogError("A backup needs a plain file's name", show_address(address), "Write sqlite:///FILE.")
    return Path(address.database)


def _copy_sqlite(source: Path, target: Path) -> None:
    if not source.exists():
        raise CatalogError("There is no such file", str(source))
    with closing(sqlite3.connect(source, isolation_level=None)) as here, closing(sqlite3.connect(target)) as there:
        here.execute("BEGIN")  # all steps then read one moment's pages, and nobody's write starts them again
        here.execute("SELECT count(*) FROM sqlite_master").fetchone()
        here.backup(there, pages=PAGES)
        if (found := there.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise CatalogError(f"The copy is damaged: {found}", str(source), "Check the disk, and run it again.")


def _kind(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            head = opened.read(len(SQLITE))
    except OSError as error:
        raise CatalogError(f"The backup cannot be read: {error.strerror or error}", str(file)) from error
    if head == SQLITE:
        return "sqlite"
    if head.startswith(POSTGRES):
        return "postgresql"
    raise CatalogError("The file is no backup of a catalog", str(file), "Name one that knedit catalog backup wrote.")


def _dump(address: URL, file: Path) -> None:
    options = ["--format=custom", "--no-owner", "--no-privileges", f"--file={file}"]
    _run("pg_dump", [*options, f"--dbname={_bare(address)}"], address)
    listed = _run("pg_restore", ["--list", str(file)], address)
    if "TABLE DATA public alembic_version" not in listed and "alembic_version" not in listed:
        raise CatalogError("The backup does not hold the catalog", show_address(address), "Check the user's rights.")


def _undump(address: URL, file: Path) -> None:
    options = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
    _run("pg_restore", [*options, f"--dbname={_bare(address)}", str(file)], address)


def _bare(address: URL) -> str:
    """Return the address for PostgreSQL's own programs, without what is secret."""
    query = {name: value for name, value in address.query.items() if name not in ("password", "passfile")}
    plain = URL.create(
        "postgresql", address.username, host=address.host, port=address.port, database=address.database, query=query
    )
    return plain.render_as_string(hide_password=False)


def _run(program: str, arguments: list[str], address: URL) -> str:
    found = shutil.which(program)
    if found is None:
        cure = "Install PostgreSQL's client programs (postgresql-client), or add their folder to PATH."
        raise CatalogError(f"A backup on PostgreSQL needs {program}, which is not there", show_address(address), cure)
    if "sslpassword" in address.query:
        raise CatalogError(
            f"{program} takes no sslpassword but on its command line", show_address(address), "Use a key without one."
        )
    told = subprocess.run(  # noqa: S603 - the program found above, without a shell
        [found, *arguments], env=os.environ | _secrets(address), capture_output=True, text=True, check=False
    )
    if told.returncode:
        words = (told.stderr.strip().splitlines() or [f"exit code {told.returncode}"])[0]
        cure = f"Install the {program} of the server's version." if "version mismatch" in told.stderr else ""
        raise CatalogError(f"{words.rstrip('.')}", show_address(address), cure)
    return told.stdout


def _secrets(address: URL) -> dict[str, str]:
    password = address.password or address.query.get("password")
    passfile = address.query.get("passfile")
    told = {"PGPASSWORD": password, "PGPASSFILE": passfile, "PGCONNECT_TIMEOUT": "5"}
    return {name: str(value) for name, value in told.items() if value}

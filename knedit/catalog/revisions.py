"""A catalog's revision: create an empty one, upgrade an old one, refuse one that this knedit does not fit.

Knows nothing of what the migrations do, and needs no alembic.ini.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.engine import URL

from knedit.catalog.connecting import explained, open_engine, read_address, show_address
from knedit.errors import CatalogError
from knedit.settings import database_url

State = Literal["empty", "current", "stale", "newer", "foreign"]

_one_at_a_time = threading.Lock()  # alembic keeps the migration under way in a global


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a catalog stands: its revision (None before it has one) and the one that this knedit needs."""

    address: str
    state: State
    revision: str | None
    needed: str


def migrations_folder() -> Path:
    """Return the folder of migrations: inside the installed package, or beside it in a working copy."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").exists():
            return folder
    raise CatalogError("This knedit was built without its migrations", str(package), "Install knedit again.")


def configuration(folder: Path | None = None) -> Config:
    """Return alembic's settings for the migrations of `folder`."""
    config = Config()
    config.set_main_option("script_location", str(folder or migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def standing(url: str | None = None, *, folder: Path | None = None) -> Standing:
    """Return where the catalog at `url` stands, and change nothing in it."""
    address = read_address(database_url(url))
    engine = open_engine(address)
    try:
        with explained(address), engine.connect() as connection:
            return _standing(connection, address, folder)
    finally:
        engine.dispose()


def upgrade(url: str | None = None, *, folder: Path | None = None) -> tuple[Standing, Standing]:
    """Bring the catalog at `url` to the revision needed, in one transaction; return where it stood and stands.

    An empty database becomes a catalog. Raise CatalogError for a newer catalog and for a database of something else.
    """
    address = read_address(database_url(url))
    engine = open_engine(address)
    try:
        with explained(address):
            return _upgrade(engine, address, folder)
    finally:
        engine.dispose()


def prepare(engine: Engine, address: URL, *, folder: Path | None = None) -> None:
    """Create the catalog where the database is empty; raise CatalogError unless it then is at the revision needed."""
    with engine.connect() as connection:
        found = _standing(connection, address, folder)
    if found.state == "empty":
        _upgrade(engine, address, folder)
    elif found.state == "stale":
        raise CatalogError(
            f"Catalog at {found.address} is at revision {found.revision}, this knedit needs {found.needed}",
            cure="Run: knedit db upgrade",
        )
    else:
        _refuse_unfit(found)


def _upgrade(engine: Engine, address: URL, folder: Path | None) -> tuple[Standing, Standing]:
    with _one_at_a_time, engine.execution_options(writing=True, migrating=True).begin() as connection:
        before = _standing(connection, address, folder)  # another process may just have done the work
        _refuse_unfit(before)
        if before.state != "current":
            config = configuration(folder)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return before, _standing(connection, address, folder)


def _refuse_unfit(found: Standing) -> None:
    if found.state == "newer":
        raise CatalogError(
            f"Catalog at {found.address} is at revision {found.revision}, this knedit knows none after {found.needed}",
            cure="Upgrade knedit: pip install --upgrade knedit",
        )
    if found.state == "foreign":
        raise CatalogError(
            f"The database at {found.address} holds tables that are not a knedit catalog's",
            cure="Name an empty or a new database with --database or KNEDIT_DATABASE.",
        )


def _standing(connection: Connection, address: URL, folder: Path | None) -> Standing:
    scripts = ScriptDirectory.from_config(configuration(folder))
    needed = scripts.get_current_head()
    assert needed is not None
    known = {script.revision for script in scripts.walk_revisions()}
    # Tables first: a catalog that another process makes in between is then current, and not somebody else's.
    tables = set(inspect(connection).get_table_names()) - {"alembic_version"}
    heads = MigrationContext.configure(connection).get_current_heads()
    return Standing(show_address(address), _state(heads, known, needed, tables), "+".join(heads) or None, needed)


def _state(heads: tuple[str, ...], known: set[str], needed: str, tables: set[str]) -> State:
    if not heads:
        return "foreign" if tables else "empty"
    if heads == (needed,):
        return "current"
    if set(heads) <= known:
        return "stale"
    return "newer" if {"facts", "neuron_scores"} <= tables else "foreign"

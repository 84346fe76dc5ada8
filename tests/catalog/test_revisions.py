import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from knedit.catalog import revisions, schema
from knedit.catalog.connecting import open_engine, read_address, show_address
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import EditTarget, PromptAttribution, Relation
from knedit.solved import EditGate, EditOutcome, EditValue
from tests.catalog.making import (
    CAPITAL,
    EDIT,
    EVENING,
    MODEL,
    NEURONS,
    PARIS,
    PARIS_IS,
    PARIS_SEAT,
    REFINEMENT,
    RUN,
    TOKYO,
    YEN,
    attribution,
    fill_facts,
    fill_refinement,
    fill_run,
    score,
)
from tests.catalog.test_experiments import everything, fill_experiment

ASSETS = Path(__file__).parent / "assets"
NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("relations", sa.Column("note", sa.Text(), nullable=True))
"""


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """Return a folder of migrations that goes one revision further than this knedit."""
    folder = tmp_path / "newer % migrations"
    shutil.copytree(revisions.migrations_folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "0007_a_note.py").write_text(NEXT)
    return folder


def execute(url: str, *statements: str) -> None:
    engine = open_engine(read_address(url))
    with engine.execution_options(writing=True).begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_the_migrations_make_what_the_schema_says(database: str) -> None:
    Catalog(database).close()
    engine = open_engine(read_address(database))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, schema.metadata)
    assert [one for one in differences if "_search" not in str(one)] == []
    engine.dispose()


def test_an_empty_database_becomes_a_catalog_on_first_use(database: str) -> None:
    assert revisions.standing(database).state == "empty"
    with Catalog(database) as catalog:
        assert catalog.relations() == []
    shown = show_address(read_address(database))
    assert revisions.standing(database) == revisions.Standing(shown, "current", "0006", "0006")


def test_a_stale_catalog_is_refused_with_the_command_that_upgrades_it(database: str, newer: Path) -> None:
    Catalog(database).close()
    address = read_address(database)
    engine = open_engine(address)
    with pytest.raises(CatalogError) as caught:
        revisions.prepare(engine, address, folder=newer)
    engine.dispose()
    assert str(caught.value) == (
        f"Catalog at {show_address(address)} is at revision 0006, this knedit needs 0007. Run: knedit db upgrade"
    )
    assert revisions.standing(database, folder=newer).state == "stale"


def test_an_upgrade_keeps_what_is_there(database: str, newer: Path) -> None:
    with Catalog(database) as catalog:
        fill_facts(catalog)
        kept = (catalog.facts(), catalog.prompts([PARIS.id, TOKYO.id, YEN.id]))
    before, after = revisions.upgrade(database, folder=newer)
    assert (before.state, before.revision, after.state, after.revision) == ("stale", "0006", "current", "0007")
    assert revisions.upgrade(database, folder=newer) == (after, after)
    execute(database, "UPDATE relations SET note = 'new'", "DELETE FROM alembic_version")
    execute(database, "ALTER TABLE relations DROP COLUMN note", "INSERT INTO alembic_version VALUES ('0006')")
    with Catalog(database) as catalog:
        assert (catalog.facts(), catalog.prompts([PARIS.id, TOKYO.id, YEN.id])) == kept


def test_an_upgrade_of_an_empty_database_makes_a_catalog(database: str) -> None:
    before, after = revisions.upgrade(database)
    assert (before.state, after.state) == ("empty", "current")
    Catalog(database).close()


def test_an_upgrade_that_fails_changes_nothing(database: str, newer: Path) -> None:
    (newer / "versions" / "0007_a_note.py").write_text(NEXT + '    op.execute("SELECT * FROM nowhere")\n')
    Catalog(database).close()
    with pytest.raises(CatalogError, match="nowhere"):
        revisions.upgrade(database, folder=newer)
    with Catalog(database) as catalog:
        catalog.import_facts([Relation.make("capital")])
    execute(database, "ALTER TABLE relations ADD COLUMN note TEXT")


def test_a_catalog_of_a_newer_knedit_is_refused(database: str, newer: Path) -> None:
    revisions.upgrade(database, folder=newer)
    with pytest.raises(CatalogError) as caught:
        Catalog(database)
    shown = show_address(read_address(database))
    assert str(caught.value) == (
        f"Catalog at {shown} is at revision 0007, this knedit knows none after 0006. "
        "Upgrade knedit: pip install --upgrade knedit"
    )
    with pytest.raises(CatalogError, match="at revision 0007"):
        revisions.upgrade(database)


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE bookings (id INTEGER)"],
        ["CREATE TABLE facts (id INTEGER)"],
        [
            "CREATE TABLE bookings (id INTEGER)",
            "CREATE TABLE alembic_version (version_num TEXT)",
            "INSERT INTO alembic_version VALUES ('a1b2')",
        ],
        ["CREATE TABLE bookings (id INTEGER)", "CREATE TABLE alembic_version (version_num TEXT)"],
    ],
    ids=["no revision", "a table of our name", "another's revision", "no revision yet"],
)
def test_a_database_of_something_else_is_refused_and_left_alone(database: str, statements: list[str]) -> None:
    execute(database, *statements)
    for attempt in (Catalog, revisions.upgrade):
        with pytest.raises(CatalogError, match="holds tables that are not a knedit catalog's"):
            attempt(database)
    assert revisions.standing(database).state == "foreign"


def test_asking_where_a_catalog_stands_creates_nothing_in_it(database: str) -> None:
    revisions.standing(database)
    assert revisions.standing(database).state == "empty"


def test_there_is_one_head_and_every_revision_has_an_old_catalog_in_the_assets() -> None:
    scripts = ScriptDirectory.from_config(revisions.configuration())
    known = sorted(script.revision for script in scripts.walk_revisions())
    assert len(scripts.get_heads()) == 1
    assert sorted(path.stem for path in ASSETS.glob("*.sql")) == known


@pytest.mark.parametrize("old", sorted(ASSETS.glob("*.sql")), ids=lambda path: path.stem)
def test_an_old_catalog_upgrades_and_works(old: Path, tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    connection = sqlite3.connect(file)
    connection.executescript(old.read_text())
    connection.close()
    url = f"sqlite:///{file}"
    assert revisions.standing(url).revision == old.stem
    revisions.upgrade(url)
    with Catalog(url) as catalog:
        assert catalog.facts() == [PARIS, TOKYO, YEN]
        assert catalog.checkpoints() == [MODEL]
        assert catalog.runs() == [RUN]
        assert catalog.attributions(RUN.id) == [attribution(PARIS_IS)]
        assert catalog.scores(RUN.id, PARIS_IS.id) == [score(PARIS_IS, 1, 7, 1.0), score(PARIS_IS, 0, 3, 0.25)]
        assert catalog.latest_refinement(MODEL.id) == REFINEMENT
        assert catalog.neurons_of(REFINEMENT.id, PARIS.id) == [NEURONS[1], NEURONS[2], NEURONS[0]]
        assert catalog.edits() == [EDIT]
        assert len(catalog.edit_targets(EDIT.id)) == len(catalog.evaluations(EDIT.id)) == 1
        catalog.finish_run(RUN.id, EVENING)
        assert catalog.import_facts([CAPITAL, PARIS]).facts.added == 0


def migrate(url: str, to: str) -> None:
    """Run alembic's command on the catalog: upwards to "head", or downwards to a revision."""
    engine = open_engine(read_address(url))
    try:
        with engine.execution_options(writing=True, migrating=True).begin() as connection:
            config = revisions.configuration()
            config.attributes["connection"] = connection
            (command.upgrade if to == "head" else command.downgrade)(config, to)
    finally:
        engine.dispose()


def test_a_catalog_goes_down_a_revision_and_up_again_with_its_scores(database: str) -> None:
    with Catalog(database) as catalog:
        fill_run(catalog)
        catalog.put_attributions(
            [attribution(PARIS_IS), PromptAttribution(RUN.id, PARIS_SEAT.id, 0.0, None, 0.0, "unusable", "too long")],
            [score(PARIS_IS, 1, 7, 1.0), score(PARIS_IS, 0, 3, 0.25)],
        )
    migrate(database, "0001")
    assert revisions.standing(database).state == "stale"
    migrate(database, "head")
    with Catalog(database) as catalog:
        assert {one.prompt_id: one for one in catalog.attributions(RUN.id)} == {
            PARIS_IS.id: attribution(PARIS_IS),
            PARIS_SEAT.id: PromptAttribution(RUN.id, PARIS_SEAT.id, 0.0, None, 0.0, "unusable"),
        }
        assert catalog.scores(RUN.id, PARIS_IS.id) == [score(PARIS_IS, 1, 7, 1.0), score(PARIS_IS, 0, 3, 0.25)]


def test_a_catalog_with_attributions_without_an_error_does_not_go_down(database: str) -> None:
    with Catalog(database) as catalog:
        fill_run(catalog)
        catalog.put_attributions([replace(attribution(PARIS_IS), completeness_error=None)], [])
    with pytest.raises(RuntimeError, match="1 prompts were attributed without a completeness error"):
        migrate(database, "0001")
    with Catalog(database) as catalog:
        assert catalog.attributions(RUN.id) == [replace(attribution(PARIS_IS), completeness_error=None)]


def test_a_catalog_goes_down_from_solved_edits_unless_it_holds_one(database: str) -> None:
    with Catalog(database) as catalog:
        fill_refinement(catalog)
        catalog.put_edit(EDIT, [EditTarget(EDIT.id, 0, PARIS.id, "update", "Rome")], [])
    migrate(database, "0004")
    migrate(database, "head")
    free = replace(EDIT, id=5, refinement_id=None)
    with Catalog(database) as catalog:
        assert catalog.edits() == [EDIT]
        catalog.put_edit(
            free,
            [EditTarget(5, 0, PARIS.id, "amplify", None)],
            [],
            values=[EditValue(5, 1, 7, bytes(8))],
            outcomes=[EditOutcome(5, 0, PARIS.id, True, 3, 0.0, 0.0, {})],
            gates=[EditGate(5, "growth", 1.0, 16.0, True)],
        )
    told = "1 rows of edit gates, 1 rows of edit outcomes, 1 rows of edit values, 1 rows of edits without a refinement"
    with pytest.raises(RuntimeError, match=f"Revision 0004 has no place for {told}, 1 rows of amplified facts"):
        migrate(database, "0004")
    with Catalog(database) as catalog:
        assert {one.id for one in catalog.edits()} == {EDIT.id, 5}


def test_a_catalog_goes_down_from_experiments_unless_it_holds_one(database: str) -> None:
    Catalog(database).close()
    migrate(database, "0005")
    migrate(database, "head")
    with Catalog(database) as catalog:
        fill_experiment(catalog)
        before = everything(catalog)
    told = "1 rows of experiments, 1 rows of experiment parts, 3 rows of experiment values"
    with pytest.raises(RuntimeError, match=f"Revision 0005 has no place for {told}"):
        migrate(database, "0005")
    with Catalog(database) as catalog:
        assert everything(catalog) == before


def test_threads_may_open_a_new_catalog_at_once(sqlite_url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        for opened in pool.map(Catalog, [sqlite_url] * 6):
            opened.close()
    assert revisions.standing(sqlite_url).state == "current"

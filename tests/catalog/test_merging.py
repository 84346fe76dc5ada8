"""Two catalogs into one: SQLite into Postgres and the other way, conflicts told, nothing mixed, nothing lost."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from knedit.catalog import schema
from knedit.catalog.merging import Conflict, TableMerge
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Checkpoint, Relation
from knedit.remarks import StatusChange
from tests.catalog.making import (
    CAPITAL,
    EVENING,
    FACTS,
    MODEL,
    MORNING,
    NEURONS,
    NOON,
    PARIS,
    PARIS_IS,
    PARIS_SEAT,
    REFINEMENT,
    RUN,
    TOKYO,
    YEN,
    attribution,
    checkpoint,
    fill_refinement,
    fill_run,
    neuron,
    refined,
    score,
)

ASSET = Path(__file__).parent / "assets" / "0006.sql"


@pytest.fixture
def other(tmp_path: Path, migrated_file: Path) -> Iterator[Catalog]:
    """Yield another empty catalog, on SQLite."""
    file = tmp_path / "other.db"
    file.write_bytes(migrated_file.read_bytes())
    with Catalog(str(file)) as opened:
        yield opened


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Catalog]:
    """Yield a catalog with rows in every table."""
    file = tmp_path / "full.db"
    connection = sqlite3.connect(file)
    connection.executescript(ASSET.read_text())
    connection.close()
    with Catalog(str(file)) as opened:
        yield opened


def content(catalog: Catalog) -> dict[str, list[tuple[object, ...]]]:
    with catalog._engine.connect() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in schema.metadata.sorted_tables
        }


def put(catalog: Catalog, *records: tuple[str, object]) -> None:
    with catalog._writing() as connection:
        for table, record in records:
            columns = schema.metadata.tables[table]
            connection.execute(insert(columns), [{name: getattr(record, name) for name in list(columns.c.keys())}])


def merge(into: Catalog, other: Catalog, *, dry_run: bool = False) -> tuple[list[TableMerge], list[Conflict]]:
    conflicts: list[Conflict] = []
    return into.merge(other, conflicts.append, dry_run=dry_run), conflicts


def told(conflicts: list[Conflict]) -> list[tuple[str, str, object, object]]:
    return [(one.words, one.field, one.ours, one.theirs) for one in conflicts]


def tell_status(catalog: Catalog, ids: list[int], status: str) -> None:
    """Give the facts a status without any history, as an import does."""
    with catalog._writing() as connection:
        connection.execute(update(schema.facts).where(schema.facts.c.id.in_(ids)).values(status=status))


def status(before: str, after: str, hours: int, by: str = "ada") -> StatusChange:
    when = MORNING + timedelta(hours=hours)
    return StatusChange.make(PARIS.id, before, after, changed_by=by, changed_at=when)


def test_an_empty_catalog_becomes_all_of_the_other_and_again_changes_nothing(catalog: Catalog, full: Catalog) -> None:
    before = content(full)
    assert all(before.values())
    tables, conflicts = merge(catalog, full)
    assert content(catalog) == before
    assert [one.added for one in tables] == [one.seen for one in tables]
    assert conflicts == []
    tables, conflicts = merge(catalog, full)
    assert [(one.added, one.changed, one.conflicts) for one in tables] == [(0, 0, 0)] * len(tables)
    assert (content(catalog), content(full), conflicts) == (before, before, [])


def test_what_came_from_sqlite_goes_back_unchanged(catalog: Catalog, other: Catalog, full: Catalog) -> None:
    merge(catalog, full)
    merge(other, catalog)
    assert content(other) == content(full)
    assert merge(other, catalog)[1] == []


def test_a_dry_run_tells_the_same_and_changes_nothing(catalog: Catalog, full: Catalog) -> None:
    catalog.import_facts([Relation.make("capital", "chief town")])
    before = content(catalog)
    expected = merge(catalog, full, dry_run=True)
    assert content(catalog) == before
    assert merge(catalog, full) == expected
    assert told(expected[1]) == [("relation capital", "label", "chief town", "capital of a country")]


def test_two_halves_of_a_run_become_one(catalog: Catalog, other: Catalog) -> None:
    for half, prompt, when in ((catalog, PARIS_IS, NOON), (other, PARIS_SEAT, EVENING)):
        fill_run(half)
        half.put_attributions([attribution(prompt)], [score(prompt, 1, 7, 1.0)])
        half.finish_run(RUN.id, when)
    assert merge(catalog, other)[1] == []
    assert catalog.attributed_prompts(RUN.id) == {PARIS_IS.id, PARIS_SEAT.id}
    assert catalog.scores(RUN.id, PARIS_SEAT.id) == [score(PARIS_SEAT, 1, 7, 1.0)]
    assert catalog.runs() == [replace(RUN, finished_at=EVENING)]


def test_the_scores_of_a_prompt_are_never_mixed(catalog: Catalog, other: Catalog) -> None:
    ours = [score(PARIS_IS, 1, 7, 1.0), score(PARIS_IS, 0, 3, 0.25)]
    for half, scores in ((catalog, ours), (other, [ours[0], score(PARIS_IS, 0, 4, 0.5), score(PARIS_IS, 0, 5, 0.5)])):
        fill_run(half)
        half.put_attributions([attribution(PARIS_IS)], scores)
    tables, conflicts = merge(catalog, other)
    assert catalog.scores(RUN.id, PARIS_IS.id) == ours
    prompt = "prompt The capital of France is {object}."
    assert told(conflicts) == [
        (f"run {RUN.id:016x}, {prompt}", "neuron_scores", "2 rows", "3 rows, 1 of them alike"),
    ]
    assert {one.table: one.conflicts for one in tables if one.conflicts} == {"prompt_attributions": 1}


def test_a_refinement_with_other_neurons_is_one_conflict_and_stays(catalog: Catalog, other: Catalog) -> None:
    fill_refinement(catalog)
    fill_run(other)
    other.put_refinement(REFINEMENT, [refined(PARIS, 1), refined(TOKYO, 2)], [neuron(PARIS, 0, 9, 0.5), *NEURONS[3:5]])
    kept = content(catalog)
    _, conflicts = merge(catalog, other)
    words = f"refinement {REFINEMENT.id:016x}"
    assert told(conflicts) == [
        (words, "refined_facts", "3 rows", "2 rows, 1 of them alike"),
        (words, "knowledge_neurons", "6 rows", "3 rows, 2 of them alike"),
    ]
    assert content(catalog) == kept


def test_a_new_refinement_comes_with_its_counts(catalog: Catalog, other: Catalog) -> None:
    fill_run(catalog)
    fill_refinement(other)
    merge(catalog, other)
    assert catalog.hubs(REFINEMENT.id) == other.hubs(REFINEMENT.id)
    assert content(catalog)["neuron_counts"] == content(other)["neuron_counts"] != []
    assert content(catalog)["refined_relations"] == content(other)["refined_relations"] != []


def test_an_equal_refinement_made_at_another_time_is_no_conflict(catalog: Catalog, other: Catalog) -> None:
    fill_refinement(catalog)
    fill_run(other)
    facts = [refined(PARIS, 3), refined(TOKYO, 2), refined(YEN, 1)]
    other.put_refinement(replace(REFINEMENT, created_at=EVENING), facts, NEURONS)
    assert merge(catalog, other)[1] == []
    assert catalog.refinements() == [REFINEMENT]


def test_a_checkpoint_whose_name_is_taken_gets_another(catalog: Catalog, other: Catalog) -> None:
    namesake = checkpoint("tiny", sha256="cd" * 32)
    child = checkpoint("child", sha256="ef" * 32, parent=namesake)
    catalog.add_checkpoint(MODEL)
    for one in (namesake, child):
        other.add_checkpoint(one)
    _, conflicts = merge(catalog, other)
    renamed = f"tiny-{namesake.id:016x}"[:13]
    assert catalog.checkpoints() == [child, MODEL, replace(namesake, name=renamed)]
    mine, theirs = f"tiny is {MODEL.id:016x}", f"tiny is {namesake.id:016x}, now {renamed}"
    assert told(conflicts) == [("checkpoint tiny", "name", mine, theirs)]
    before = content(catalog)
    assert told(merge(catalog, other)[1]) == [(f"checkpoint {renamed}", "name", renamed, "tiny")]
    assert content(catalog) == before


def test_what_a_checkpoint_lacks_here_is_filled_in(catalog: Catalog, other: Catalog) -> None:
    parent = checkpoint("parent", sha256="cd" * 32)
    catalog.add_checkpoint(replace(MODEL, path="", revision=""))
    other.add_checkpoint(parent)
    other.add_checkpoint(replace(MODEL, path="/models/tiny", parent_id=parent.id))
    tables, conflicts = merge(catalog, other)
    assert catalog.find_checkpoint("tiny") == replace(MODEL, path="/models/tiny", parent_id=parent.id)
    assert (conflicts, next(one.changed for one in tables if one.table == "checkpoints")) == ([], 1)
    other.add_checkpoint(replace(MODEL, path="/elsewhere/tiny"))
    assert told(merge(catalog, other)[1]) == [("checkpoint tiny", "path", "/models/tiny", "/elsewhere/tiny")]


@pytest.mark.parametrize(
    ("ours", "theirs", "kept", "conflict"),
    [
        ([], [status("approved", "protected", 1)], "protected", False),
        ([status("approved", "retired", 1)], [], "retired", False),
        ([status("approved", "retired", 1)], [status("approved", "protected", 2, "bob")], "retired", True),
        (
            [status("approved", "proposed", 1)],
            [status("approved", "proposed", 1), status("proposed", "retired", 3)],
            "retired",
            False,
        ),
    ],
    ids=["they went on", "we went on", "both went on", "they went on from where we are"],
)
def test_a_status_follows_the_longer_history(
    *,
    catalog: Catalog,
    other: Catalog,
    ours: list[StatusChange],
    theirs: list[StatusChange],
    kept: str,
    conflict: bool,
) -> None:
    for half, history in ((catalog, ours), (other, theirs)):
        half.import_facts(FACTS)
        tell_status(half, [PARIS.id], history[-1].after if history else "approved")
        put(half, *[("status_changes", one) for one in history])
    _, conflicts = merge(catalog, other)
    assert next(one.status for one in catalog.facts() if one.id == PARIS.id) == kept
    expected = [("fact capital/France=Paris", "status", "retired", "protected")] if conflict else []
    assert told(conflicts) == expected
    assert {row[0] for row in content(catalog)["status_changes"]} == {one.id for one in [*ours, *theirs]}
    before = content(catalog)
    assert merge(catalog, other)[1] == []
    assert content(catalog) == before


def test_statuses_without_any_history_are_a_conflict(catalog: Catalog, other: Catalog) -> None:
    catalog.import_facts(FACTS)
    other.import_facts(FACTS)
    tell_status(other, [PARIS.id, YEN.id], "retired")
    _, conflicts = merge(catalog, other)
    assert sorted(told(conflicts)) == [
        ("fact capital/France=Paris", "status", "approved", "retired"),
        ("fact currency/Japan=yen", "status", "proposed", "retired"),
    ]
    assert catalog.facts() == [PARIS, TOKYO, YEN]


def test_a_selection_with_other_criteria_stays_and_its_facts_with_it(catalog: Catalog, full: Catalog) -> None:
    merge(catalog, full)
    with full._writing() as connection:
        selections, selected = schema.selections, schema.selected_facts
        name = connection.scalar(select(selections.c.name))
        connection.execute(selections.update().values(criteria={"relation": "currency"}, saved_at=NOON))
        connection.execute(selected.insert().values(selection=name, fact_id=YEN.id))
        connection.execute(selected.delete().where(selected.c.fact_id == PARIS.id))
    before = content(catalog)
    _, conflicts = merge(catalog, full)
    assert [(one.table, one.field) for one in conflicts] == [
        ("selections", "selected_facts"),
        ("selections", "criteria"),
    ]
    assert content(catalog) == before


def test_a_catalog_is_not_merged_with_itself(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="A catalog cannot be merged with itself"):
        catalog.merge(catalog, print)
    if catalog.address.startswith("sqlite"):
        link = tmp_path / "link.db"
        link.symlink_to(catalog.address.removeprefix("sqlite:///"))
        with Catalog(str(link)) as again, pytest.raises(CatalogError, match="with itself"):
            catalog.merge(again, print)


def test_where_merging_fails_nothing_is_left(catalog: Catalog, other: Catalog) -> None:
    twin = Relation(5, CAPITAL.key, "of another id")
    catalog.import_facts(FACTS)
    put(other, ("relations", twin))
    before = content(catalog)
    with pytest.raises(CatalogError, match="The catalog refuses the records"):
        merge(catalog, other)
    assert content(catalog) == before


def test_a_checkpoint_known_by_name_alone_comes_too(catalog: Catalog, other: Catalog) -> None:
    bare = Checkpoint.named("bert-base-cased", "main")
    other.add_checkpoint(bare)
    assert merge(catalog, other)[1] == []
    assert catalog.checkpoints() == [bare]

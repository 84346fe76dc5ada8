"""What `check` finds: each kind of damage by itself, put in behind the catalog's back; and what `repair` mends."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import text

from knedit.catalog.checking import Finding
from knedit.catalog.store import Catalog
from knedit.records import Edit
from tests.catalog.making import (
    EDIT,
    EVENING,
    MODEL,
    PARIS,
    PARIS_IS,
    REFINEMENT,
    RUN,
    attribution,
    checkpoint,
    fill_refinement,
    score,
)

RESULT = checkpoint("result", sha256="cd" * 32)
PLACE = "fact capital/France=Paris, layer {}, index {}"


@pytest.fixture
def sound(catalog: Catalog) -> Catalog:
    """A catalog with nothing wrong in it."""
    fill_refinement(catalog)
    catalog.put_attributions([attribution(PARIS_IS)], [score(PARIS_IS, 1, 7, 1.0), score(PARIS_IS, 0, 3, 0.25)])
    catalog.finish_run(RUN.id, EVENING)
    catalog.add_checkpoint(RESULT)
    catalog.put_edit(replace(EDIT, result_id=RESULT.id), [], [])
    return catalog


def harm(catalog: Catalog, *statements: str) -> None:
    """Write behind the catalog's back, its foreign keys not being asked."""
    with catalog._engine.execution_options(writing=True, migrating=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for statement in statements:
            connection.execute(text(statement))


def found(catalog: Catalog) -> list[tuple[str, str, str]]:
    return [(one.check, one.what, one.where) for one in catalog.check()]


def test_nothing_is_wrong_with_a_sound_catalog(sound: Catalog) -> None:
    assert sound.check() == []


RUN_WORDS = f"run {RUN.id:016x}"
PROMPT = f"{RUN_WORDS}, prompt The capital of France is {{object}}."
OF_PARIS = f"refinement {REFINEMENT.id:016x}, fact capital/France=Paris"
OUTSIDE = "1 of neuron_scores name neurons that their checkpoint does not have"
NO_RELATION = "1 of refined_relations refer to relations that are not there"
HARM = {
    "a probability above one": (
        "UPDATE prompt_attributions SET probability = 1.5",
        [("ranges", "1 probabilities are not between 0 and 1", PROMPT)],
    ),
    "a share below zero": (
        f"UPDATE refined_facts SET share = -0.5 WHERE fact_id = {PARIS.id}",
        [("ranges", "1 shares are not in 0 to 1", OF_PARIS)],
    ),
    "an infinite score": (
        f"UPDATE knowledge_neurons SET score = 1.79e308 WHERE fact_id = {PARIS.id} AND layer = 0",
        [
            ("ranges", "1 scores are no numbers", f"{OF_PARIS}, layer 0, index 3"),
            ("counts", "the kept counts are not those of the rows", f"refinement {REFINEMENT.id:016x}"),
        ],
    ),
    "a score above its peak": (
        "UPDATE neuron_scores SET score = 2 WHERE layer = 1",
        [("ranges", "1 scores are above their prompt's peak", f"{PROMPT}, layer 1, index 7")],
    ),
    "a layer that the checkpoint has not": (
        "UPDATE neuron_scores SET layer = 2 WHERE layer = 1",
        [
            (
                "places",
                OUTSIDE,
                f"{PROMPT}, layer 2, index 7",
            )
        ],
    ),
    "a neuron beyond the width": (
        'UPDATE neuron_scores SET "index" = 16 WHERE layer = 1',
        [
            (
                "places",
                OUTSIDE,
                f"{PROMPT}, layer 1, index 16",
            )
        ],
    ),
    "a neuron too many": (
        f"UPDATE refined_facts SET neurons = 4 WHERE fact_id = {PARIS.id}",
        [
            ("counts", "1 refined facts have another number of neurons than they tell", OF_PARIS),
            ("counts", "the kept counts are not those of the rows", f"refinement {REFINEMENT.id:016x}"),
        ],
    ),
    "a count too low": (
        "UPDATE neuron_counts SET facts = 1 WHERE layer = 1",
        [("counts", "the kept counts are not those of the rows", f"refinement {REFINEMENT.id:016x}")],
    ),
    "a count too many": (
        "INSERT INTO refined_relations SELECT refinement_id, 5, 1, 1 FROM refined_relations WHERE neurons = 1",
        [
            (
                "orphans",
                NO_RELATION,
                f"{OF_PARIS[:27]}, relation {5:016x}",
            ),
            ("counts", "the kept counts are not those of the rows", f"refinement {REFINEMENT.id:016x}"),
        ],
    ),
    "a run that never finished": (
        "UPDATE attribution_runs SET finished_at = NULL",
        [("unfinished", "1 runs never finished", RUN_WORDS)],
    ),
    "an edit without result": (
        "UPDATE edits SET result_id = NULL",
        [("unfinished", "1 edits have no result", f"edit {EDIT.id:016x}")],
    ),
    "an attribution without scores": (
        "DELETE FROM neuron_scores",
        [("unfinished", "1 prompts are attributed but have no scores", PROMPT)],
    ),
    "facts without their relation": (
        "DELETE FROM relations WHERE key = 'capital'",
        [("orphans", "2 of facts refer to relations that are not there", None)],
    ),
}


@pytest.mark.parametrize(("statement", "expected"), HARM.values(), ids=HARM.keys())
def test_each_damage_is_told(sound: Catalog, statement: str, expected: list[tuple[str, str, str | None]]) -> None:
    harm(sound, statement)
    told = [one for one in found(sound) if expected[0][2] is not None or one[0] == expected[0][0]]
    if expected[0][2] is None:
        assert told[0][:2] == expected[0][:2]
    else:
        assert told == expected


def test_many_of_a_kind_are_one_finding(sound: Catalog) -> None:
    harm(sound, "UPDATE knowledge_neurons SET share = 7")
    (finding,) = [one for one in sound.check() if one.check == "ranges"]
    assert finding.what == "6 shares are not in 0 to 1"
    assert finding.where.endswith("; and 3 more")
    assert finding.cure


def test_repairing_counts_again_and_leaves_the_rest(sound: Catalog) -> None:
    hubs = sound.hubs(REFINEMENT.id)
    harm(sound, "DELETE FROM neuron_counts WHERE layer = 1", "UPDATE edits SET result_id = NULL")
    sound.repair()
    assert [one.check for one in sound.check()] == ["unfinished"]
    assert sound.hubs(REFINEMENT.id) == hubs


def test_a_checkpoint_of_unknown_shape_has_any_neuron(sound: Catalog) -> None:
    harm(sound, "UPDATE checkpoints SET n_layers = 0, ffn_width = 0")
    harm(
        sound,
        "UPDATE neuron_scores SET layer = 99 WHERE layer = 1",
    )
    assert sound.check() == []


@pytest.fixture
def searched(sqlite_catalog_url: str) -> Iterator[Catalog]:
    with Catalog(sqlite_catalog_url) as opened:
        fill_refinement(opened)
        opened.finish_run(RUN.id, EVENING)
        yield opened


@pytest.mark.parametrize("table", ["facts", "prompts"])
def test_a_search_index_out_of_step_is_told_and_repaired(searched: Catalog, table: str) -> None:
    assert searched.check() == []
    harm(searched, f"INSERT INTO {table}_search ({table}_search) VALUES ('delete-all')")
    cure = "Run: knedit catalog check --repair"
    assert searched.check() == [Finding("search", "the search index is out of step", f"{table}_search", cure)]
    searched.repair()
    assert searched.check() == []


def test_an_edit_is_named_by_its_id(sound: Catalog) -> None:
    other = Edit(EDIT.id + 1, REFINEMENT.id, MODEL.id, None, {}, EVENING)
    sound.put_edit(other, [], [])
    assert found(sound) == [("unfinished", "1 edits have no result", f"edit {other.id:016x}")]

from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Fact, show_id
from knedit.remarks import StatusChange
from tests.catalog.making import (
    CAPITAL,
    EVENING,
    MODEL,
    MORNING,
    NOON,
    PARIS,
    PARIS_GENERATE,
    PARIS_IS,
    TOKYO,
    YEN,
    fill_facts,
)

REASON = 'Says "Paris, Texas"?\n\tÉ, \\, \x01, \U0001f5fc'


def test_a_status_is_changed_with_who_when_and_why_and_nothing_else_is(catalog: Catalog) -> None:
    fill_facts(catalog)
    changed = catalog.set_fact_status([PARIS.id, TOKYO.id, PARIS.id], "protected", by="Ada", reason=REASON, at=NOON)
    assert changed == 1
    assert catalog.facts() == [replace(PARIS, status="protected"), TOKYO, YEN]
    change = StatusChange.make(PARIS.id, "approved", "protected", changed_by="Ada", changed_at=NOON, reason=REASON)
    assert (catalog.history(PARIS.id), catalog.history(TOKYO.id)) == ([change], [])


def test_a_prompts_status_is_changed_likewise_and_stands_in_its_facts_history(catalog: Catalog) -> None:
    fill_facts(catalog)
    both = [PARIS_IS.id, PARIS_GENERATE.id]
    assert catalog.set_prompt_status(both, "retired", by="Bo", reason="odd", at=EVENING) == 2
    assert catalog.set_fact_status([PARIS.id], "proposed", by="Ada", at=MORNING) == 1
    assert catalog.prompts([PARIS.id])[0].status == "proposed"
    assert {one.id for one in catalog.prompts([PARIS.id]) if one.status == "retired"} == set(both)
    of_fact = StatusChange.make(PARIS.id, "approved", "proposed", changed_by="Ada", changed_at=MORNING)
    of_prompts = [
        StatusChange.make(
            PARIS.id, "proposed", "retired", changed_by="Bo", changed_at=EVENING, prompt_id=one, reason="odd"
        )
        for one in both
    ]
    assert catalog.history(PARIS.id) == [of_fact, *sorted(of_prompts, key=lambda one: one.id)]


def test_a_history_is_told_by_time_whatever_the_order_and_the_time_zones(catalog: Catalog) -> None:
    fill_facts(catalog)
    far = MORNING.astimezone(timezone(timedelta(hours=9)))
    for status, when in (("retired", EVENING), ("proposed", far), ("approved", NOON)):
        assert catalog.set_fact_status([PARIS.id], status, by="Ada", at=when) == 1
    assert [(one.after, one.changed_at) for one in catalog.history(PARIS.id)] == [
        ("proposed", MORNING),
        ("approved", NOON),
        ("retired", EVENING),
    ]
    early = StatusChange.make(PARIS.id, "retired", "proposed", changed_by="Ada", changed_at=MORNING)
    assert catalog.history(PARIS.id)[0] == early


def test_only_those_of_one_status_are_changed_where_that_is_asked(catalog: Catalog) -> None:
    fill_facts(catalog)
    every = [PARIS.id, TOKYO.id, YEN.id]
    assert catalog.set_fact_status(every, "approved", before="proposed", by="Ada") == 1
    assert {fact.id: fact.status for fact in catalog.facts()} == {
        PARIS.id: "approved",
        TOKYO.id: "protected",
        YEN.id: "approved",
    }
    assert [len(catalog.history(own)) for own in every] == [0, 0, 1]


def test_thousands_of_facts_are_changed_at_once(catalog: Catalog) -> None:
    made = [Fact.make(CAPITAL.id, f"Land {number:05}", "Town") for number in range(2500)]
    catalog.import_facts([CAPITAL, *made])
    ids = [fact.id for fact in made]
    assert catalog.set_fact_status(ids, "retired", by="Ada", at=NOON) == 2500
    expected = StatusChange.make(ids[-1], "proposed", "retired", changed_by="Ada", changed_at=NOON)
    assert catalog.history(ids[-1]) == [expected]
    assert catalog.facts(statuses=["proposed"]) == []


def test_who_does_it_is_asked_of_the_settings(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_facts(catalog)
    monkeypatch.setenv("KNEDIT_USER", " Cleo ")
    catalog.set_fact_status([PARIS.id], "retired")
    assert [one.changed_by for one in catalog.history(PARIS.id)] == ["Cleo"]
    monkeypatch.delenv("KNEDIT_USER")
    monkeypatch.setenv("LOGNAME", "dora")
    catalog.set_fact_status([PARIS.id], "approved")
    assert [one.changed_by for one in catalog.history(PARIS.id)] == ["Cleo", "dora"]


WRONG: list[tuple[dict[str, object], str]] = [
    ({"status": "protect"}, r'There is no status "protect". Did you mean protected\?'),
    ({"before": "propsed"}, r'There is no status "propsed". Did you mean proposed'),
    ({"by": "  "}, "Nobody signs .* --by NAME, or set KNEDIT_USER"),
    ({"by": "A\0B"}, "cannot keep the author's name 'A"),
    ({"reason": "\ud800"}, "cannot keep the reason"),
    ({"at": NOON.replace(tzinfo=None)}, "StatusChange.changed_at"),
    ({"fact_ids": [PARIS.id, 5]}, "1 of the facts are not in the catalog"),
]


def test_what_cannot_be_kept_changes_nothing(catalog: Catalog) -> None:
    fill_facts(catalog)
    asked: dict[str, object] = {"fact_ids": [PARIS.id], "status": "retired", "by": "Ada"}
    for change, words in WRONG:
        with pytest.raises(CatalogError, match=words):
            catalog.set_fact_status(**asked | change)  # type: ignore[arg-type]
    assert (catalog.facts(), catalog.history(PARIS.id)) == ([PARIS, TOKYO, YEN], [])


def test_the_same_change_at_the_same_moment_is_refused_rather_than_forgotten(catalog: Catalog) -> None:
    fill_facts(catalog)
    for status in ("retired", "approved"):
        catalog.set_fact_status([PARIS.id], status, by="Ada", at=NOON)
    with pytest.raises(CatalogError, match="refuses the records"):
        catalog.set_fact_status([PARIS.id], "retired", by="Ada", at=NOON)
    assert catalog.find_fact("capital/France") == PARIS


def test_a_prompt_is_found_by_the_beginning_of_its_id(catalog: Catalog) -> None:
    fill_facts(catalog)
    assert catalog.find_prompt(show_id(PARIS_IS.id)[:8]) == PARIS_IS
    for wrong in ("ffff", "the capital", "7"):
        with pytest.raises(CatalogError, match=f'There is no prompt "{wrong}".*knedit facts show'):
            catalog.find_prompt(wrong)


def test_the_database_itself_refuses_to_change_the_history(catalog: Catalog) -> None:
    fill_facts(catalog)
    catalog.add_checkpoint(MODEL)
    catalog.set_fact_status([PARIS.id], "retired", by="Ada")
    catalog.note_fact(PARIS.id, "first", by="Ada")
    catalog.note_neuron(MODEL.id, 1, 2, "second", by="Ada")
    for table in ("status_changes", "fact_notes", "neuron_notes"):
        for statement in (f"UPDATE {table} SET id = 0", f"DELETE FROM {table}"):
            with (
                pytest.raises(DBAPIError, match="the history is only added to"),
                catalog._engine.begin() as connection,
            ):
                connection.execute(text(statement))
    notes = (len(catalog.fact_notes(PARIS.id)), len(catalog.neuron_notes(MODEL.id, 1, 2)))
    assert (len(catalog.history(PARIS.id)), *notes) == (1, 1, 1)

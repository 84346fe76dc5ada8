from collections.abc import Callable

import pytest

from knedit.catalog.answers import LabelCount
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Checkpoint
from knedit.remarks import FactLabel, FactNote, NeuronDescription, NeuronLabel, NeuronNote
from tests.catalog.making import (
    EVENING,
    MODEL,
    MORNING,
    NOON,
    PARIS,
    REFINEMENT,
    TOKYO,
    YEN,
    fill_facts,
    fill_refinement,
    fill_run,
)


def test_notes_on_a_fact_are_kept_by_time(catalog: Catalog) -> None:
    fill_facts(catalog)
    later = catalog.note_fact(PARIS.id, "Since 508, <b>nearly</b> always.", by="Bo", at=EVENING)
    earlier = catalog.note_fact(PARIS.id, " Ask again. ", by="Ada", at=MORNING)
    assert later == FactNote.make(PARIS.id, "Since 508, <b>nearly</b> always.", written_by="Bo", written_at=EVENING)
    assert earlier.text == "Ask again."
    assert catalog.fact_notes(PARIS.id) == [earlier, later]
    assert catalog.fact_notes(TOKYO.id) == []


def test_notes_on_a_neuron_are_kept_by_time(catalog: Catalog) -> None:
    fill_run(catalog)
    later = catalog.note_neuron(MODEL.id, 1, 15, "capitals", by="Bo", at=EVENING)
    earlier = catalog.note_neuron(MODEL.id, 1, 15, "cities", by="Ada", at=MORNING)
    assert later == NeuronNote.make(MODEL.id, 1, 15, "capitals", written_by="Bo", written_at=EVENING)
    assert catalog.neuron_notes(MODEL.id, 1, 15) == [earlier, later]
    assert catalog.neuron_notes(MODEL.id, 1, 14) == []


def test_the_same_note_twice_is_one(catalog: Catalog) -> None:
    fill_facts(catalog)
    first, second = (catalog.note_fact(PARIS.id, "once", by="Ada", at=NOON) for _ in range(2))
    assert catalog.fact_notes(PARIS.id) == [first] == [second]


def test_labels_are_given_listed_and_taken_off(catalog: Catalog) -> None:
    fill_facts(catalog)
    assert catalog.label_facts([PARIS.id, TOKYO.id], " doubtful ", by="Ada", at=NOON) == 2
    assert catalog.label_facts([TOKYO.id, YEN.id, YEN.id], "doubtful", by="Bo", at=EVENING) == 1
    assert catalog.label_facts([PARIS.id], "capital", by="Bo", at=EVENING) == 1
    assert catalog.fact_labels([TOKYO.id, PARIS.id, YEN.id]) == [
        FactLabel(TOKYO.id, "doubtful", "Ada", NOON),
        FactLabel(PARIS.id, "capital", "Bo", EVENING),
        FactLabel(PARIS.id, "doubtful", "Ada", NOON),
        FactLabel(YEN.id, "doubtful", "Bo", EVENING),
    ]
    assert catalog.labels() == [LabelCount("capital", 1, 0), LabelCount("doubtful", 3, 0)]
    assert catalog.facts_of({"labels": ["doubtful"]}) == [PARIS, TOKYO, YEN]
    assert catalog.unlabel_facts([PARIS.id, YEN.id], "doubtful") == 2
    assert catalog.unlabel_facts([PARIS.id], "doubtful") == 0
    assert catalog.facts_of({"labels": ["doubtful"]}) == [TOKYO]


def test_neurons_are_labelled_likewise(catalog: Catalog) -> None:
    fill_run(catalog)
    assert catalog.label_neurons(MODEL.id, [(1, 3), (0, 2), (1, 3)], "hub", by="Ada", at=NOON) == 2
    assert catalog.label_neurons(MODEL.id, [(1, 3)], "massive", by="Ada", at=NOON) == 1
    assert catalog.label_neurons(MODEL.id, [(1, 3)], "hub", by="Bo", at=EVENING) == 0
    hub, massive = NeuronLabel(MODEL.id, 1, 3, "hub", "Ada", NOON), NeuronLabel(MODEL.id, 1, 3, "massive", "Ada", NOON)
    first = NeuronLabel(MODEL.id, 0, 2, "hub", "Ada", NOON)
    assert catalog.neuron_labels(MODEL.id) == [first, hub, massive]
    assert catalog.neuron_labels(MODEL.id, places=[(1, 3), (1, 4)]) == [hub, massive]
    assert catalog.neuron_labels(MODEL.id, label="massive") == [massive]
    assert catalog.labels() == [LabelCount("hub", 0, 2), LabelCount("massive", 0, 1)]
    assert catalog.unlabel_neurons(MODEL.id, [(1, 3), (1, 2)], "hub") == 1
    assert catalog.neuron_labels(MODEL.id) == [first, massive]


def test_thousands_of_facts_and_neurons_are_labelled_at_once(catalog: Catalog) -> None:
    large = Checkpoint.named("large", "main", n_layers=2, ffn_width=4000)
    catalog.add_checkpoint(large)
    places = [(layer, index) for layer in range(2) for index in range(0, 4000, 3)]
    assert catalog.label_neurons(large.id, places, "every third", by="Ada") == len(places)
    found = catalog.neuron_labels(large.id, places=[*places, (0, 1)])
    assert [(one.layer, one.index) for one in found] == places
    assert catalog.unlabel_neurons(large.id, places[1:], "every third") == len(places) - 1


Wrong = Callable[[Catalog], object]
WRONG: dict[str, tuple[Wrong, str]] = {
    "empty note": (lambda c: c.note_fact(PARIS.id, " \n ", by="Ada"), "The note is empty"),
    "note of NUL": (lambda c: c.note_fact(PARIS.id, "a\0b", by="Ada"), "cannot keep the note"),
    "note of half a character": (lambda c: c.note_neuron(MODEL.id, 0, 0, "\ud800", by="Ada"), "cannot keep the note"),
    "label of half a character": (lambda c: c.label_facts([PARIS.id], "\ud800", by="Ada"), "cannot keep the label"),
    "note on no fact": (lambda c: c.note_fact(7, "text", by="Ada"), "1 of the facts are not in the catalog"),
    "note of nobody": (lambda c: c.note_fact(PARIS.id, "text", by=""), "Nobody signs"),
    "note on a layer too high": (lambda c: c.note_neuron(MODEL.id, 2, 0, "x", by="Ada"), r"no neuron \(2, 0\)"),
    "note on an index too high": (
        lambda c: c.note_neuron(MODEL.id, 0, 16, "x", by="Ada"),
        r"no neuron \(0, 16\)\. .*2 layers of 16 neurons",
    ),
    "note below zero": (lambda c: c.note_neuron(MODEL.id, -1, 0, "x", by="Ada"), r"no neuron \(-1, 0\)"),
    "note on no checkpoint": (lambda c: c.note_neuron(9, 0, 0, "x", by="Ada"), "There is no checkpoint 0{15}9"),
    "empty label": (lambda c: c.label_facts([PARIS.id], " ", by="Ada"), "The label is empty"),
    "long label": (lambda c: c.label_facts([PARIS.id], "x" * 101, by="Ada"), "has 101 characters: xxx.*Use 100"),
    "label on no fact": (lambda c: c.label_facts([PARIS.id, 8], "x", by="Ada"), "1 of the facts"),
    "label off no fact": (lambda c: c.unlabel_facts([8], "x"), "1 of the facts"),
    "label on no neuron": (lambda c: c.label_neurons(MODEL.id, [(0, 1), (0, 99)], "x", by="Ada"), r"\(0, 99\)"),
    "label off no neuron": (lambda c: c.unlabel_neurons(MODEL.id, [(0, 99)], "x"), r"\(0, 99\)"),
}


def test_what_cannot_be_remarked_is_refused_and_nothing_kept(catalog: Catalog) -> None:
    fill_run(catalog)
    for wrong, words in WRONG.values():
        with pytest.raises(CatalogError, match=words):
            wrong(catalog)
    assert (catalog.fact_notes(PARIS.id), catalog.labels(), catalog.neuron_labels(MODEL.id)) == ([], [], [])


def test_a_label_of_100_characters_of_any_kind_is_kept(catalog: Catalog) -> None:
    fill_facts(catalog)
    assert catalog.label_facts([PARIS.id], "\U0001f5fc" * 100, by="Ada") == 1
    assert catalog.labels() == [LabelCount("\U0001f5fc" * 100, 1, 0)]


def test_a_checkpoint_of_unknown_size_may_have_any_neuron(catalog: Catalog) -> None:
    published = Checkpoint.named("bert", "main")
    catalog.add_checkpoint(published)
    catalog.note_neuron(published.id, 10, 2484, "hub", by="Ada")
    assert [one.text for one in catalog.neuron_notes(published.id, 10, 2484)] == ["hub"]


def test_readings_are_kept_and_replaced(catalog: Catalog) -> None:
    fill_run(catalog)
    old = NeuronDescription(MODEL.id, 1, 3, {"top": [["a", 1.0]], "bottom": [["b", -1.0]]}, MORNING)
    new = NeuronDescription(MODEL.id, 1, 3, {"top": [[" ü", 2.5]], "bottom": [["\\x00", -0.1]]}, NOON)
    other = NeuronDescription(MODEL.id, 0, 9, {"top": [], "bottom": []}, NOON)
    catalog.put_descriptions([old])
    catalog.put_descriptions(iter([new, other]))
    assert catalog.description(MODEL.id, 1, 3) == new
    assert catalog.description(MODEL.id, 1, 4) is None
    assert list(catalog.descriptions(MODEL.id)) == [other, new]


def test_the_neurons_of_refinements_and_their_facts_by_role(catalog: Catalog) -> None:
    fill_refinement(catalog)
    places = [(0, 3), (1, 7), (1, 9)]
    assert catalog.refined_places(MODEL.id) == places
    assert catalog.refined_places(MODEL.id, refinement_id=REFINEMENT.id) == places
    assert catalog.refined_places(MODEL.id, refinement_id=1) == []
    assert catalog.refined_places(5) == []
    assert catalog.facts_by_role(REFINEMENT.id, 1, 7) == {"relation": 2}
    assert catalog.facts_by_role(REFINEMENT.id, 1, 9) == {"generic": 3}
    assert catalog.facts_by_role(REFINEMENT.id, 1, 1) == {}

import struct
from dataclasses import replace

import pytest

from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Edit, EditNeuron, EditTarget, Evaluation, show_id
from knedit.solved import EditGate, EditOutcome, EditValue
from tests.catalog.making import (
    EDIT,
    MODEL,
    NOON,
    PARIS,
    PARIS_GENERATE,
    PARIS_IS,
    TOKYO,
    YEN,
    checkpoint,
    fill_edit,
    fill_refinement,
)

TARGETS = [
    EditTarget(EDIT.id, 1, TOKYO.id, "erase", None),
    EditTarget(EDIT.id, 0, PARIS.id, "update", "Rome"),
]
NEURONS = [
    EditNeuron(EDIT.id, 1, 0, 5, 1.5, 0.0),
    EditNeuron(EDIT.id, 0, 1, 7, 1.5, 0.0),
    EditNeuron(EDIT.id, 0, 0, 3, 1.5, 0.0),
]
CHILD = checkpoint("patched", parent=MODEL)


def test_an_edit_comes_back_whole_and_in_the_order_of_its_steps(catalog: Catalog) -> None:
    fill_refinement(catalog)
    assert catalog.put_edit(EDIT, TARGETS, NEURONS) == EDIT
    assert catalog.edits() == [EDIT]
    assert catalog.edit_targets(EDIT.id) == [TARGETS[1], TARGETS[0]]
    assert catalog.edit_neurons(EDIT.id) == [NEURONS[2], NEURONS[1], NEURONS[0]]
    assert (catalog.edit_targets(3), catalog.edit_neurons(3)) == ([], [])


def test_the_same_edit_again_is_returned_as_it_was(catalog: Catalog) -> None:
    fill_refinement(catalog)
    catalog.put_edit(EDIT, TARGETS, NEURONS)
    catalog.add_checkpoint(CHILD)
    catalog.set_edit_result(EDIT.id, CHILD.id)
    again = catalog.put_edit(replace(EDIT, created_at=NOON), TARGETS, [EditNeuron(EDIT.id, 2, 0, 0, 1.5, 0.0)])
    assert again == replace(EDIT, result_id=CHILD.id)
    assert len(catalog.edit_neurons(EDIT.id)) == 3


def test_what_solving_gave_comes_back_to_the_last_bit(catalog: Catalog) -> None:
    fill_refinement(catalog)
    free = replace(EDIT, refinement_id=None)
    values = [EditValue(EDIT.id, 1, 7, b"\x00\xff\n\\." * 8), EditValue(EDIT.id, 0, 3, struct.pack("<2d", 0.1, -0.0))]
    layers = {"0": {"columns": 1, "editability": 8.5}}
    outcomes = [
        EditOutcome(EDIT.id, 1, TOKYO.id, False, 16, 1.5, 2.25, {}),
        EditOutcome(EDIT.id, 0, PARIS.id, True, 9, 0.03125, 0.0625, layers),
    ]
    gates = [EditGate(EDIT.id, "success", 0.5, 0.99, False, True), EditGate(EDIT.id, "growth", 2.0, 16.0, True)]
    assert catalog.put_edit(free, TARGETS, NEURONS, values=values, outcomes=outcomes, gates=gates) == free
    assert catalog.edit_values(EDIT.id) == values[::-1]
    assert catalog.edit_outcomes(EDIT.id) == outcomes[::-1]
    assert catalog.edit_gates(EDIT.id) == gates[::-1]
    catalog.put_edit_gates([replace(gates[0], value=1.0, passed=True, forced=False)])
    assert catalog.edit_gates(EDIT.id) == [gates[1], EditGate(EDIT.id, "success", 1.0, 0.99, True)]
    assert (catalog.edit_values(3), catalog.edit_outcomes(3), catalog.edit_gates(3)) == ([], [], [])
    assert catalog.edit_impact(EDIT.id).facts == ()


def test_values_outcomes_and_gates_of_nothing_are_refused(catalog: Catalog) -> None:
    fill_refinement(catalog)
    with pytest.raises(CatalogError, match=r"cannot keep 'text' as EditValue\.vector"):
        catalog.put_edit(EDIT, TARGETS, [], values=[EditValue(EDIT.id, 0, 0, "text")])  # type: ignore[arg-type]
    for bad in (
        {"values": [EditValue(EDIT.id, -1, 0, b"")]},
        {"outcomes": [EditOutcome(EDIT.id, 0, YEN.id, True, 1, 0.0, 0.0, {})]},
        {"gates": [EditGate(3, "growth", 1.0, 2.0, True)]},
    ):
        with pytest.raises(CatalogError, match=r"(?i)refuses the records|foreign key"):
            catalog.put_edit(EDIT, TARGETS, NEURONS, **bad)  # type: ignore[arg-type]
    assert catalog.edits() == []


def test_an_edit_with_a_bad_target_is_refused_whole(catalog: Catalog) -> None:
    fill_refinement(catalog)
    for bad in (
        EditTarget(EDIT.id, 0, PARIS.id, "update", None),
        EditTarget(EDIT.id, 0, PARIS.id, "forget", None),
        EditTarget(EDIT.id, -1, PARIS.id, "erase", None),
        EditTarget(EDIT.id, 0, 12, "erase", None),
    ):
        with pytest.raises(CatalogError, match="refuses the records"):
            catalog.put_edit(EDIT, [TARGETS[0], bad], NEURONS)
    assert catalog.edits() == []


def test_the_result_of_an_unknown_edit_and_an_unknown_result_are_refused(catalog: Catalog) -> None:
    fill_edit(catalog)
    with pytest.raises(CatalogError, match="There is no edit 0000000000000003 in the catalog"):
        catalog.set_edit_result(3, MODEL.id)
    with pytest.raises(CatalogError, match=r"(?i)foreign key"):
        catalog.set_edit_result(EDIT.id, 3)


def test_edits_come_newest_first_and_by_checkpoint(catalog: Catalog) -> None:
    fill_edit(catalog)
    catalog.add_checkpoint(CHILD)
    older = replace(EDIT, id=9, created_at=NOON)
    elsewhere = replace(EDIT, id=10, checkpoint_id=CHILD.id, created_at=NOON)
    catalog.put_edit(older, [], [])
    catalog.put_edit(elsewhere, [], [])
    assert catalog.edits() == [EDIT, older, elsewhere]
    assert catalog.edits(MODEL.id) == [EDIT, older]


def test_an_edit_is_found_by_a_unique_beginning_of_its_id(catalog: Catalog) -> None:
    fill_edit(catalog)
    near: list[Edit] = [replace(EDIT, id=0x7ABC_0000_0000_0000 + number) for number in (1, 2)]
    for one in near:
        catalog.put_edit(one, [], [])
    assert catalog.find_edit(show_id(EDIT.id)[:8]) == EDIT
    with pytest.raises(
        CatalogError, match=r'2 edits begin with "7abc"\. Name one of 7abc000000000001, 7abc000000000002'
    ):
        catalog.find_edit("7abc")
    for unknown in ("7ab", "0000", "", "an edit"):
        with pytest.raises(CatalogError, match=f'There is no edit "{unknown}" in the catalog'):
            catalog.find_edit(unknown)


def test_evaluations_come_back_and_later_ones_replace_earlier_ones(catalog: Catalog) -> None:
    fill_edit(catalog)
    number = Evaluation(EDIT.id, MODEL.id, PARIS.id, PARIS_IS.id, "efficacy", 0.25, 0.75)
    words = Evaluation(EDIT.id, MODEL.id, PARIS.id, PARIS_GENERATE.id, "generation", None, None, "Paris is", "Rome is")
    later = replace(number, after=1.0)
    catalog.put_evaluations(iter([number, words]))
    catalog.put_evaluations([later])
    catalog.put_evaluations([])
    assert catalog.evaluations(EDIT.id) == [later, words]
    assert catalog.evaluations(4) == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_evaluations_that_are_no_numbers_are_refused(catalog: Catalog, bad: float) -> None:
    fill_edit(catalog)
    with pytest.raises(CatalogError, match=r"Evaluation\.after"):
        catalog.put_evaluations([Evaluation(EDIT.id, MODEL.id, YEN.id, PARIS_IS.id, "efficacy", 0.1, bad)])
    assert catalog.evaluations(EDIT.id) == []

from dataclasses import replace
from random import Random

import pytest

from knedit.catalog.questions.answers import Impact, ImpactedFact
from knedit.catalog.store import Catalog
from knedit.records import Edit, EditNeuron, EditTarget
from tests.catalog.making import EDIT, MODEL, NEURONS, NOON, PARIS, REFINEMENT, TOKYO, YEN, fill_refinement, refined
from tests.catalog.questions.drawing import draw_facts, draw_places, put_places

TARGET = EditTarget(EDIT.id, 0, PARIS.id, "update", "Rome")


def changed(*places: tuple[int, int]) -> list[EditNeuron]:
    return [EditNeuron(EDIT.id, 0, layer, index, 1.0, 2.0) for layer, index in places]


def test_an_edit_touches_other_facts_by_their_share_of_scores_protected_first(catalog: Catalog) -> None:
    fill_refinement(catalog)
    catalog.put_edit(EDIT, [TARGET], changed((0, 3), (1, 9)))
    tokyo = ImpactedFact("capital", TOKYO, 1, 2, 1.0 / 2.5)
    yen = ImpactedFact("currency", YEN, 1, 1, 1.0)
    assert TOKYO.status == "protected"
    assert catalog.edit_impact(EDIT.id) == Impact(1, 1, (tokyo, yen))
    assert catalog.edit_impact(EDIT.id, limit=1) == Impact(1, 1, (tokyo,))
    assert catalog.edit_impact(5) == Impact(0, 0, ())


def test_a_fact_edited_through_neurons_of_some_roles_touches_their_users(catalog: Catalog) -> None:
    fill_refinement(catalog)
    own = REFINEMENT.id
    assert catalog.fact_impact(own, PARIS.id) == Impact(0, 0, ())
    of_relation = catalog.fact_impact(own, PARIS.id, roles=["relation"])
    assert of_relation == Impact(1, 0, (ImpactedFact("capital", TOKYO, 1, 2, 1.5 / 2.5),))
    assert catalog.fact_impact(own, PARIS.id, roles=["fact", "relation", "generic"]) == Impact(
        1, 1, (ImpactedFact("capital", TOKYO, 2, 2, 1.0), ImpactedFact("currency", YEN, 1, 1, 1.0))
    )


def test_neurons_without_scores_count_by_number(catalog: Catalog) -> None:
    fill_refinement(catalog)
    neurons = [replace(one, score=None, share=None) for one in NEURONS]
    catalog.put_refinement(REFINEMENT, [refined(PARIS, 3), refined(TOKYO, 2), refined(YEN, 1)], neurons)
    found = catalog.fact_impact(REFINEMENT.id, YEN.id, roles=["generic"])
    assert found.facts == (
        ImpactedFact("capital", TOKYO, 1, 2, 0.5),
        ImpactedFact("capital", PARIS, 1, 3, 1 / 3),
    )


def test_the_impact_is_what_a_loop_over_facts_gives(catalog: Catalog) -> None:
    world = draw_facts(catalog)
    random = Random(11)
    held = {fact: draw_places(random, 6) for fact in world.facts}
    refinement = put_places(catalog, held)
    edit = Edit(7, refinement.id, MODEL.id, None, {}, NOON)
    places = {(0, 1), (1, 2), (2, 0)}
    targets = sorted(held)[:3]
    catalog.put_edit(
        edit,
        [EditTarget(7, step, fact, "erase", None) for step, fact in enumerate(targets)],
        [EditNeuron(7, step, *place, norm=1.0, new_norm=0.0) for step in (0, 1) for place in sorted(places)],
    )
    expected = {
        fact: (len(own & places), len(own), sum(i + 0.5 for _, i in own & places) / sum(i + 0.5 for _, i in own))
        for fact, own in held.items()
        if own & places and fact not in targets
    }
    found = catalog.edit_impact(7, limit=100)
    assert {one.fact.id for one in found.facts} == expected.keys()
    for one in found.facts:
        assert (one.used, one.neurons, one.share) == pytest.approx(expected[one.fact.id])
    assert (found.protected, found.others) == (0, len(expected))
    assert [one.share for one in found.facts] == sorted((one.share for one in found.facts), reverse=True)

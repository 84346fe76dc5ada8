import math
from dataclasses import replace

import pytest

from knedit.catalog.answers import Hub, NeuronUse, RelationNeuron
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Fact, KnowledgeNeuron, Refinement
from tests.catalog.making import (
    CAPITAL,
    CURRENCY,
    EVENING,
    MODEL,
    MORNING,
    NEURONS,
    NOON,
    PARIS,
    REFINEMENT,
    RUN,
    TOKYO,
    YEN,
    checkpoint,
    fill_refinement,
    fill_run,
    neuron,
    refined,
)


def test_a_refinement_comes_back_whole(catalog: Catalog) -> None:
    fill_run(catalog)
    facts = [refined(PARIS, 3), refined(TOKYO, 2), refined(YEN, 1)]
    assert catalog.put_refinement(REFINEMENT, iter(facts), iter(NEURONS)) == REFINEMENT
    assert catalog.refinements() == [REFINEMENT]
    assert catalog.refined_facts(REFINEMENT.id) == sorted(facts, key=lambda one: one.fact_id)
    assert catalog.neurons_of(REFINEMENT.id, PARIS.id) == [NEURONS[1], NEURONS[2], NEURONS[0]]
    assert catalog.neurons_of(REFINEMENT.id, 99) == []
    by_key = sorted(NEURONS, key=lambda one: (one.fact_id, one.layer, one.index))
    assert list(catalog.refined_neurons(REFINEMENT.id)) == by_key


def test_the_same_refinement_again_replaces_all_of_the_earlier_result(catalog: Catalog) -> None:
    fill_refinement(catalog)
    later = replace(REFINEMENT, created_at=EVENING)
    catalog.put_refinement(later, [refined(PARIS, 1), refined(TOKYO, 0)], [neuron(PARIS, 0, 3, 0.75)])
    assert catalog.refinements() == [later]
    assert {one.fact_id for one in catalog.refined_facts(REFINEMENT.id)} == {PARIS.id, TOKYO.id}
    assert catalog.neurons_of(REFINEMENT.id, PARIS.id) == [neuron(PARIS, 0, 3, 0.75)]
    assert catalog.neurons_of(REFINEMENT.id, YEN.id) == []


def test_a_refinement_that_fails_leaves_the_earlier_result(catalog: Catalog) -> None:
    fill_refinement(catalog)
    with pytest.raises(CatalogError, match=r"KnowledgeNeuron\.score"):
        catalog.put_refinement(REFINEMENT, [refined(PARIS, 1)], [neuron(PARIS, 0, 0, math.nan)])
    assert len(catalog.refined_facts(REFINEMENT.id)) == 3
    assert len(catalog.neurons_of(REFINEMENT.id, PARIS.id)) == 3


@pytest.mark.parametrize(
    "bad",
    [neuron(PARIS, 0, 0, 1.0, "hub"), neuron(PARIS, -1, 0, 1.0), neuron(YEN, 0, 0, 1.0)],
    ids=lambda one: one.role,
)
def test_a_neuron_of_unknown_role_or_place_or_of_a_fact_not_refined_is_refused(
    catalog: Catalog, bad: KnowledgeNeuron
) -> None:
    fill_run(catalog)
    with pytest.raises(CatalogError, match="refuses the records"):
        catalog.put_refinement(REFINEMENT, [refined(PARIS, 1)], [bad])
    assert catalog.refinements() == []


def test_refinements_come_newest_first_and_by_checkpoint(catalog: Catalog) -> None:
    fill_run(catalog)
    other = catalog.add_checkpoint(checkpoint("another"))
    older = Refinement(1, RUN.id, {}, MORNING)
    elsewhere_run = catalog.open_run(replace(RUN, id=2, checkpoint_id=other.id))
    elsewhere = Refinement(3, elsewhere_run.id, {}, EVENING)
    for one in (REFINEMENT, older, elsewhere):
        catalog.put_refinement(one, [], [])
    assert catalog.refinements() == [elsewhere, REFINEMENT, older]
    assert catalog.refinements(MODEL.id) == [REFINEMENT, older]
    assert catalog.latest_refinement(MODEL.id) == REFINEMENT
    assert catalog.latest_refinement(other.id) == elsewhere


def test_a_checkpoint_without_refinement_says_what_to_run(catalog: Catalog) -> None:
    catalog.add_checkpoint(MODEL)
    with pytest.raises(CatalogError) as caught:
        catalog.latest_refinement(MODEL.id)
    assert str(caught.value) == 'The checkpoint "tiny" has no refined neurons yet. Run: knedit refine tiny'
    with pytest.raises(CatalogError, match="There is no checkpoint 0000000000000009"):
        catalog.latest_refinement(9)


def test_the_users_of_a_neuron_come_by_score_then_words(catalog: Catalog) -> None:
    fill_refinement(catalog)
    assert catalog.users_of(REFINEMENT.id, 1, 9) == [
        NeuronUse(PARIS, "capital", NEURONS[2]),
        NeuronUse(TOKYO, "capital", NEURONS[4]),
        NeuronUse(YEN, "currency", NEURONS[5]),
    ]
    assert catalog.users_of(REFINEMENT.id, 1, 8) == []
    assert catalog.users_of(4, 1, 9) == []


def test_sharing_answers_for_many_neurons_at_once(catalog: Catalog) -> None:
    fill_refinement(catalog)
    asked = [(1, 7), (0, 3), (1, 7), *((0, index) for index in range(100, 2000))]
    assert catalog.sharing(REFINEMENT.id, asked) == [
        NeuronUse(PARIS, "capital", NEURONS[0]),
        NeuronUse(PARIS, "capital", NEURONS[1]),
        NeuronUse(TOKYO, "capital", NEURONS[3]),
    ]
    assert catalog.sharing(REFINEMENT.id, []) == []


def test_hubs_are_the_neurons_of_most_facts_and_shares_are_of_all_refined(catalog: Catalog) -> None:
    fill_refinement(catalog)
    lonely = Fact.make(CAPITAL.id, "Peru", "Lima")
    catalog.import_facts([lonely])
    catalog.put_refinement(
        REFINEMENT, [refined(PARIS, 3), refined(TOKYO, 2), refined(YEN, 1), refined(lonely, 0)], NEURONS
    )
    assert catalog.hubs(REFINEMENT.id) == [
        Hub(1, 9, 3, 2, 0.75, 1.0, {"fact": 0, "relation": 0, "generic": 3}),
        Hub(1, 7, 2, 1, 0.5, 0.5, {"fact": 0, "relation": 2, "generic": 0}),
        Hub(0, 3, 1, 1, 0.25, 0.5, {"fact": 1, "relation": 0, "generic": 0}),
    ]
    assert [(hub.layer, hub.index) for hub in catalog.hubs(REFINEMENT.id, limit=1)] == [(1, 9)]
    assert catalog.hubs(5) == []


def test_the_neurons_of_a_relation_come_by_its_facts_then_score(catalog: Catalog) -> None:
    fill_refinement(catalog)
    assert catalog.relation_neurons(REFINEMENT.id, CAPITAL.id) == [
        RelationNeuron(1, 7, 2, 3.5, generic=False),
        RelationNeuron(1, 9, 2, 2.0, generic=True),
        RelationNeuron(0, 3, 1, 0.5, generic=False),
    ]
    assert catalog.relation_neurons(REFINEMENT.id, CURRENCY.id) == [RelationNeuron(1, 9, 1, 0.25, generic=True)]
    assert catalog.relation_neurons(REFINEMENT.id, 6) == []


def test_facts_and_neurons_may_come_from_the_catalog_itself(catalog: Catalog) -> None:
    fill_refinement(catalog)
    copy = Refinement(8, RUN.id, {}, NOON)
    catalog.put_refinement(
        copy,
        (replace(one, refinement_id=8) for one in catalog.refined_facts(REFINEMENT.id)),
        (
            replace(one, refinement_id=8)
            for fact in catalog.facts()
            for one in catalog.neurons_of(REFINEMENT.id, fact.id)
        ),
    )
    assert [replace(one, refinement_id=REFINEMENT.id) for one in catalog.neurons_of(8, PARIS.id)] == (
        catalog.neurons_of(REFINEMENT.id, PARIS.id)
    )

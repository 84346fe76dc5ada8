import pytest

from knedit.catalog.answers import Hub, NeuronUse
from knedit.catalog.questions.answers import FactNeuron, LayerCount, SparseFact
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Fact, KnowledgeNeuron, RefinedFact, Refinement
from tests.catalog.making import (
    CAPITAL,
    EVENING,
    MODEL,
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
    refined,
)

LONELY = Fact.make(CAPITAL.id, "Peru", "Lima")


def fill_lonely(catalog: Catalog) -> None:
    fill_refinement(catalog)
    catalog.import_facts([LONELY])
    facts = [refined(PARIS, 3), refined(TOKYO, 2), refined(YEN, 1), refined(LONELY, 0)]
    catalog.put_refinement(REFINEMENT, facts, NEURONS)


def test_a_facts_neurons_come_with_the_number_of_other_users(catalog: Catalog) -> None:
    fill_lonely(catalog)
    assert catalog.fact_neurons(REFINEMENT.id, PARIS.id) == [
        FactNeuron(NEURONS[1], others=1, relations=1),
        FactNeuron(NEURONS[2], others=2, relations=2),
        FactNeuron(NEURONS[0], others=0, relations=1),
    ]
    assert catalog.fact_neurons(REFINEMENT.id, LONELY.id) == []


def test_the_users_themselves_are_named_when_asked_for(catalog: Catalog) -> None:
    fill_lonely(catalog)
    tokyo, yen = NeuronUse(TOKYO, "capital", NEURONS[4]), NeuronUse(YEN, "currency", NEURONS[5])
    users = {
        number: [one.users for one in catalog.fact_neurons(REFINEMENT.id, PARIS.id, users=number)] for number in (1, 5)
    }
    assert users == {
        1: [(NeuronUse(TOKYO, "capital", NEURONS[3]),), (tokyo,), ()],
        5: [(NeuronUse(TOKYO, "capital", NEURONS[3]),), (tokyo, yen), ()],
    }


def test_labels_and_readings_of_the_checkpoint_come_with_the_neurons(catalog: Catalog) -> None:
    fill_lonely(catalog)
    other = catalog.add_checkpoint(checkpoint("another"))
    reading = {"top": [["Paris", 2.5]], "bottom": [["the", -1.0]]}
    with catalog._writing() as connection:
        for own, label in ((MODEL.id, "cities"), (MODEL.id, "a hub"), (other.id, "elsewhere")):
            connection.exec_driver_sql(
                f"INSERT INTO neuron_labels VALUES ({own}, 1, 9, '{label}', 'a curator', '2024-05-17 20:15:00.000000')"
            )
        connection.exec_driver_sql(
            f"INSERT INTO neuron_descriptions VALUES ({MODEL.id}, 1, 9, "
            """'{"top": [["Paris", 2.5]], "bottom": [["the", -1.0]]}', '2024-05-17 20:15:00.000000')"""
        )
    found = catalog.fact_neurons(REFINEMENT.id, YEN.id)
    assert found == [FactNeuron(NEURONS[5], others=2, relations=2, labels=("a hub", "cities"), reading=reading)]


def test_a_fact_that_was_not_refined_is_an_error(catalog: Catalog) -> None:
    fill_run(catalog)
    with pytest.raises(CatalogError, match=r"was not refined.*Run: knedit attribute"):
        catalog.fact_neurons(REFINEMENT.id, PARIS.id)


def test_the_facts_of_a_neuron_come_in_pages(catalog: Catalog) -> None:
    fill_refinement(catalog)
    whole = catalog.users_of(REFINEMENT.id, 1, 9)
    pages = [catalog.users_of(REFINEMENT.id, 1, 9, limit=2, offset=offset) for offset in (0, 2, 4)]
    assert pages == [whole[:2], whole[2:], []]
    assert catalog.users_of(REFINEMENT.id, 1, 9, offset=1) == whole[1:]


def test_neurons_without_scores_come_after_those_with_and_by_words(catalog: Catalog) -> None:
    fill_run(catalog)
    facts = [RefinedFact(REFINEMENT.id, fact.id, None, None, 1) for fact in (PARIS, TOKYO, YEN)]
    neurons = [
        KnowledgeNeuron(REFINEMENT.id, fact.id, 1, 9, None, score, "generic")
        for fact, score in ((TOKYO, None), (PARIS, None), (YEN, 0.5))
    ]
    catalog.put_refinement(REFINEMENT, facts, neurons)
    assert [use.fact for use in catalog.users_of(REFINEMENT.id, 1, 9)] == [YEN, PARIS, TOKYO]
    assert [use.fact for use in catalog.sharing(REFINEMENT.id, [(1, 9)])] == [YEN, PARIS, TOKYO]
    assert [one.score for one in catalog.relation_neurons(REFINEMENT.id, CAPITAL.id)] == [None]


GENERIC = Hub(1, 9, 3, 2, 0.75, 1.0, {"fact": 0, "relation": 0, "generic": 3})
OF_RELATION = Hub(1, 7, 2, 1, 0.5, 0.5, {"fact": 0, "relation": 2, "generic": 0})
OF_FACT = Hub(0, 3, 1, 1, 0.25, 0.5, {"fact": 1, "relation": 0, "generic": 0})


def test_hubs_are_chosen_by_role_layer_and_share(catalog: Catalog) -> None:
    fill_lonely(catalog)
    own = REFINEMENT.id
    assert catalog.hubs(own, role="generic") == [GENERIC]
    assert catalog.hubs(own, role="relation") == [OF_RELATION]
    assert catalog.hubs(own, role="fact") == [OF_FACT]
    assert catalog.hubs(own, layer=1) == [GENERIC, OF_RELATION]
    assert catalog.hubs(own, min_share=0.5) == [GENERIC, OF_RELATION]
    assert catalog.hubs(own, min_share=0.51) == [GENERIC]
    assert catalog.hubs(own, limit=1, offset=1) == [OF_RELATION]
    assert [one.role for one in catalog.hubs(own, limit=None)] == ["generic", "relation", "fact"]
    with pytest.raises(CatalogError, match="relation"):
        catalog.hubs(own, role="relations")


def test_a_neurons_role_is_the_widest_that_it_plays(catalog: Catalog) -> None:
    fill_run(catalog)
    roles = {PARIS: "fact", TOKYO: "relation", YEN: "fact"}
    neurons = [KnowledgeNeuron(REFINEMENT.id, fact.id, 0, 0, 1.0, 1.0, role) for fact, role in roles.items()]
    catalog.put_refinement(REFINEMENT, [refined(fact, 1) for fact in roles], neurons)
    (found,) = catalog.hubs(REFINEMENT.id)
    assert (found.role, found.roles, found.facts) == ("relation", {"fact": 2, "relation": 1, "generic": 0}, 3)
    assert catalog.hubs(REFINEMENT.id, role="fact") == []
    assert catalog.hubs(REFINEMENT.id, role="relation") == [found]


def test_layers_are_counted_by_uses_and_neurons(catalog: Catalog) -> None:
    fill_lonely(catalog)
    assert catalog.layer_counts(REFINEMENT.id) == [LayerCount(0, 1, 1 / 6, 1), LayerCount(1, 5, 5 / 6, 2)]
    assert catalog.layer_counts(3) == []


def test_facts_of_few_neurons_come_fewest_first(catalog: Catalog) -> None:
    fill_lonely(catalog)
    own = REFINEMENT.id
    none, one = SparseFact("capital", LONELY, refined(LONELY, 0)), SparseFact("currency", YEN, refined(YEN, 1))
    two = SparseFact("capital", TOKYO, refined(TOKYO, 2))
    assert catalog.sparse_facts(own) == [none]
    assert catalog.sparse_facts(own, at_most=2) == [none, one, two]
    assert catalog.sparse_facts(own, at_most=2, relation_id=CAPITAL.id) == [none, two]
    assert catalog.sparse_facts(own, at_most=2, limit=1, offset=1) == [one]


def test_a_refinement_is_found_by_the_beginning_of_its_id(catalog: Catalog) -> None:
    fill_run(catalog)
    with pytest.raises(CatalogError, match=r'no refinement "abcd".*Run: knedit refine'):
        catalog.find_refinement("abcd")
    first, second = (Refinement(0x1234_0000_0000_0000 + n, RUN.id, {}, when) for n, when in ((1, NOON), (2, EVENING)))
    for one in (first, second):
        catalog.put_refinement(one, [], [])
    assert catalog.find_refinement("1234000000000001") == first
    with pytest.raises(CatalogError, match="2 refinements begin with"):
        catalog.find_refinement("1234")
    with pytest.raises(CatalogError, match=r"Name one of 1234000000000002, 1234000000000001\."):
        catalog.find_refinement("ab")


def test_the_refined_checkpoints_are_those_with_refinements(catalog: Catalog) -> None:
    fill_run(catalog)
    catalog.add_checkpoint(checkpoint("another"))
    assert catalog.refined_checkpoints() == []
    for number in (1, 2):
        catalog.put_refinement(Refinement(number, RUN.id, {}, NOON), [], [])
    assert catalog.refined_checkpoints() == [MODEL]

import pytest

from knedit.catalog.questions.answers import HeldSet, NeuronSet
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import DegenerateSet, Fact
from tests.catalog.making import NEURONS, PARIS, REFINEMENT, TOKYO, YEN, fill_refinement, refined


def neuron_set(fact: Fact, score: float, *places: tuple[int, int]) -> NeuronSet:
    own = DegenerateSet.identify(REFINEMENT.id, fact.id, places)
    return NeuronSet(DegenerateSet(own, REFINEMENT.id, fact.id, score), places)


PAIR = neuron_set(PARIS, 0.5, (0, 3), (1, 7))
TRIPLE = neuron_set(PARIS, 0.75, (0, 3), (1, 7), (1, 9))
ELSEWHERE = neuron_set(TOKYO, 0.25, (1, 7), (1, 9))


def fill_sets(catalog: Catalog) -> None:
    fill_refinement(catalog)
    assert catalog.put_degenerate_sets(REFINEMENT.id, [PARIS.id, TOKYO.id], iter([PAIR, TRIPLE, ELSEWHERE])) == 3


def test_sets_are_found_by_fact_and_by_neuron(catalog: Catalog) -> None:
    fill_sets(catalog)
    of_france = [HeldSet("capital", PARIS, TRIPLE), HeldSet("capital", PARIS, PAIR)]
    of_japan = HeldSet("capital", TOKYO, ELSEWHERE)
    assert catalog.degenerate_sets_of(REFINEMENT.id, PARIS.id) == of_france
    assert catalog.degenerate_sets_with(REFINEMENT.id, 1, 7) == [*of_france, of_japan]
    assert catalog.degenerate_sets_with(REFINEMENT.id, 1, 9) == [of_france[0], of_japan]
    assert catalog.degenerate_sets_with(REFINEMENT.id, 9, 9) == []
    assert catalog.degenerate_sets_of(REFINEMENT.id, YEN.id) == []
    assert catalog.degenerate_sets_with(4, 1, 7) == []


def test_a_facts_sets_put_in_again_replace_the_earlier_ones(catalog: Catalog) -> None:
    fill_sets(catalog)
    better = neuron_set(PARIS, 0.875, (0, 3), (1, 7))
    assert catalog.put_degenerate_sets(REFINEMENT.id, [PARIS.id], [better]) == 1
    assert catalog.degenerate_sets_of(REFINEMENT.id, PARIS.id) == [HeldSet("capital", PARIS, better)]
    assert catalog.degenerate_sets_of(REFINEMENT.id, TOKYO.id) == [HeldSet("capital", TOKYO, ELSEWHERE)]


def test_a_refinement_put_in_again_keeps_the_sets_whose_neurons_its_facts_still_hold(catalog: Catalog) -> None:
    fill_sets(catalog)
    facts = [refined(PARIS, 3), refined(TOKYO, 2), refined(YEN, 1)]
    assert catalog.put_refinement(REFINEMENT, facts, NEURONS) == REFINEMENT
    assert len(catalog.degenerate_sets_of(REFINEMENT.id, PARIS.id)) == 2
    fewer = [one for one in NEURONS if (one.fact_id, one.index) != (PARIS.id, 9)]
    catalog.put_refinement(REFINEMENT, [refined(PARIS, 2), *facts[1:]], fewer)
    assert catalog.degenerate_sets_of(REFINEMENT.id, PARIS.id) == [HeldSet("capital", PARIS, PAIR)]
    assert catalog.degenerate_sets_of(REFINEMENT.id, TOKYO.id) == [HeldSet("capital", TOKYO, ELSEWHERE)]
    catalog.put_refinement(REFINEMENT, [refined(YEN, 1)], NEURONS[-1:])
    assert catalog.degenerate_sets_with(REFINEMENT.id, 1, 7) == []


@pytest.mark.parametrize("bad", [ELSEWHERE, NeuronSet(PAIR.set, ((0, 3),)), NeuronSet(PAIR.set, ())])
def test_a_set_of_another_fact_or_of_other_neurons_is_refused(catalog: Catalog, bad: NeuronSet) -> None:
    fill_sets(catalog)
    with pytest.raises(CatalogError, match="The degenerate set"):
        catalog.put_degenerate_sets(REFINEMENT.id, [PARIS.id], [bad])
    assert len(catalog.degenerate_sets_of(REFINEMENT.id, PARIS.id)) == 2


def test_sets_of_a_fact_that_was_not_refined_are_refused(catalog: Catalog) -> None:
    fill_refinement(catalog)
    catalog.put_refinement(REFINEMENT, [], [])
    with pytest.raises(CatalogError, match="refuses the records"):
        catalog.put_degenerate_sets(REFINEMENT.id, [PARIS.id], [PAIR])

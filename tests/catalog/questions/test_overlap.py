from random import Random

import pytest

from knedit.catalog.questions.answers import Overlap, RelationOverlap, SharedNeurons
from knedit.catalog.store import Catalog
from tests.catalog.making import REFINEMENT, fill_refinement
from tests.catalog.questions.drawing import World, draw_facts, draw_places, mean, put_places, shared_by_pairs


def test_two_facts_of_a_relation_and_of_two_share_so_many_neurons(catalog: Catalog) -> None:
    fill_refinement(catalog)
    assert catalog.overlap(REFINEMENT.id) == Overlap(
        facts=3,
        mean_neurons=2.0,
        within=2.0,
        across=1.0,
        relations=(RelationOverlap("capital", 2, 2.5, 2.0, 1.0), RelationOverlap("currency", 1, 1.0, None, 1.0)),
    )
    assert catalog.overlap_matrix(REFINEMENT.id) == [
        SharedNeurons("capital", "capital", 2, 2.0),
        SharedNeurons("capital", "currency", 2, 1.0),
    ]


def test_nothing_refined_is_no_overlap(catalog: Catalog) -> None:
    assert catalog.overlap(5) == Overlap(0, None, None, None, ())
    assert catalog.overlap_matrix(5) == []


def of_one(world: World, pairs: dict[tuple[str, str], list[float]], key: str) -> tuple[float | None, float | None]:
    across = [one for keys, found in pairs.items() for one in found if key in keys and keys[0] != keys[1]]
    return mean(pairs.get((key, key), [])), mean(across)


def test_the_counts_give_what_a_loop_over_all_pairs_gives(catalog: Catalog) -> None:
    world = draw_facts(catalog, relations=4)
    random = Random(5)
    held = {fact: draw_places(random, 8) for fact in world.facts}
    refinement = put_places(catalog, held)
    pairs = shared_by_pairs(world, held)
    found = catalog.overlap(refinement.id)
    assert [one.relation for one in found.relations] == sorted(world.keys.values())
    for one in found.relations:
        assert (one.within, one.across) == pytest.approx(of_one(world, pairs, one.relation), abs=1e-12)
    assert found.mean_neurons == mean([float(len(places)) for places in held.values()])
    assert found.within == pytest.approx(mean([n for keys, ns in pairs.items() for n in ns if keys[0] == keys[1]]))
    assert found.across == pytest.approx(mean([n for keys, ns in pairs.items() for n in ns if keys[0] != keys[1]]))
    matrix = {(one.relation, one.other): one.mean_shared for one in catalog.overlap_matrix(refinement.id)}
    assert matrix == {keys: pytest.approx(mean(ns)) for keys, ns in sorted(pairs.items())}

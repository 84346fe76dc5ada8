from dataclasses import replace
from itertools import combinations
from random import Random

import pytest

from knedit.catalog.questions.answers import (
    LOW,
    CheckpointDifference,
    Consistency,
    FactChange,
    PromptChange,
    RefinementDifference,
    RunDifference,
)
from knedit.catalog.store import Catalog
from knedit.records import PromptAttribution
from tests.catalog.making import (
    MODEL,
    PARIS,
    PARIS_IS,
    PARIS_PARA,
    PARIS_SEAT,
    REFINEMENT,
    RUN,
    TOKYO,
    TOKYO_IS,
    YEN,
    YEN_IS,
    attribution,
    checkpoint,
    fill_refinement,
    fill_run,
    refined,
    score,
)
from tests.catalog.questions.drawing import (
    OTHER_RUN,
    Places,
    draw_facts,
    draw_places,
    jaccard,
    mean,
    put_places,
    put_scores,
)


def fill_scores(catalog: Catalog) -> None:
    """Three wordings of France: the first two share one of their three neurons, the third none with either."""
    fill_run(catalog)
    catalog.put_attributions(
        [attribution(PARIS_IS), attribution(PARIS_SEAT, 2.0, "inexact"), attribution(PARIS_PARA), attribution(YEN_IS)],
        [
            *(score(PARIS_IS, 0, 3, 1.0), score(PARIS_IS, 1, 7, 0.25), score(PARIS_IS, 1, 8, 0.125)),
            *(score(PARIS_SEAT, 0, 3, 2.0), score(PARIS_SEAT, 1, 8, 0.5), score(PARIS_SEAT, 1, 7, 0.25)),
            *(score(PARIS_PARA, 1, 1, 1.0), score(YEN_IS, 0, 0, 1.0)),
        ],
    )


def test_consistency_is_the_mean_jaccard_index_of_all_pairs_of_prompts(catalog: Catalog) -> None:
    fill_scores(catalog)
    expected = [Consistency("capital", PARIS, 3, 333_333_333 / 3e9)]
    assert catalog.consistency(RUN.id, [PARIS.id, TOKYO.id, YEN.id]) == expected
    assert catalog.least_consistent(RUN.id) == expected
    assert not expected[0].low
    assert catalog.least_consistent(RUN.id, relation_id=YEN.relation_id) == []
    assert catalog.least_consistent(RUN.id, relation_id=PARIS.relation_id) == expected
    at_a_quarter = Consistency("capital", PARIS, 3, 333_333_333 / 3e9)
    assert catalog.consistency(RUN.id, [PARIS.id], threshold=0.25) == [at_a_quarter]
    assert catalog.consistency(RUN.id, [PARIS.id], threshold=0.5) == [Consistency("capital", PARIS, 3, 1 / 3)]
    assert catalog.consistency(RUN.id, []) == []


def test_a_consistency_below_a_tenth_is_low() -> None:
    assert [Consistency("capital", PARIS, 2, value).low for value in (0.0, LOW - 1e-9, LOW, 1.0)] == [
        *(True, True),
        *(False, False),
    ]


def test_consistency_is_what_a_loop_over_all_pairs_gives_the_lowest_first(catalog: Catalog) -> None:
    world = draw_facts(catalog, prompts=4)
    random = Random(7)
    coarse = {prompt: {(2, 3), *draw_places(random, 5)} for prompt in world.prompts if random.random() < 0.9}
    put_scores(catalog, RUN.id, coarse)
    expected = {}
    for fact in world.facts:
        own = [places for prompt, places in coarse.items() if world.prompts[prompt].fact_id == fact]
        if len(own) > 1:
            expected[fact] = (len(own), mean([jaccard(*pair) for pair in combinations(own, 2)]))
    found = catalog.least_consistent(RUN.id, limit=None)
    assert {one.fact.id for one in found} == expected.keys()
    for one in found:
        assert (one.prompts, one.mean_jaccard) == pytest.approx(expected[one.fact.id], abs=1e-8)
    order = [(one.mean_jaccard, *world.words(one.fact.id)) for one in found]
    assert order == sorted(order)
    assert catalog.least_consistent(RUN.id, limit=3) == found[:3]
    assert catalog.consistency(RUN.id, list(world.facts)) == found


def test_prompts_that_do_not_count_are_not_compared(catalog: Catalog) -> None:
    fill_run(catalog)
    catalog.put_attributions(
        [attribution(PARIS_IS), attribution(PARIS_SEAT, 0.0), attribution(PARIS_PARA, 1.0, "unusable")],
        [score(prompt, 0, 3, 1.0) for prompt in (PARIS_IS, PARIS_SEAT, PARIS_PARA)],
    )
    assert catalog.least_consistent(RUN.id) == []


def test_two_refinements_differ_by_facts_and_their_neurons(catalog: Catalog) -> None:
    fill_refinement(catalog)
    after = replace(REFINEMENT, id=8)
    neurons = [replace(one, refinement_id=8) for one in catalog.neurons_of(REFINEMENT.id, PARIS.id) if one.index != 3]
    gained = [replace(neurons[0], index=5), replace(neurons[0], index=6)]
    catalog.put_refinement(
        after,
        [replace(refined(PARIS, 4), refinement_id=8), replace(refined(YEN, 0), refinement_id=8)],
        neurons + gained,
    )
    france = FactChange("capital", PARIS, 3, 4, gained=2, lost=1)
    japan = FactChange("capital", TOKYO, 2, None, gained=0, lost=2)
    yen = FactChange("currency", YEN, 1, 0, gained=0, lost=1)
    found = catalog.refinement_difference(REFINEMENT.id, 8)
    assert found == RefinementDifference(1, 0, 0, 2, 0.2, (france, japan, yen))
    backwards = catalog.refinement_difference(8, REFINEMENT.id, limit=1)
    assert backwards == RefinementDifference(0, 1, 0, 2, 0.2, (replace(france, before=4, after=3, gained=1, lost=2),))
    assert catalog.refinement_difference(8, 8) == RefinementDifference(0, 0, 2, 0, 1.0, ())
    assert catalog.refinement_difference(5, 6) == RefinementDifference(0, 0, 0, 0, None, ())


def test_the_difference_of_refinements_is_what_a_loop_over_facts_gives(catalog: Catalog) -> None:
    world = draw_facts(catalog)
    random = Random(3)
    sides: list[dict[int, Places]] = [
        {fact: draw_places(random, 3) for fact in world.facts if random.random() < 0.8} for _ in range(2)
    ]
    one, other = (put_places(catalog, held, number) for number, held in enumerate(sides, 1))
    found = catalog.refinement_difference(one.id, other.id, limit=100)
    both = sides[0].keys() & sides[1].keys()
    equal = [fact for fact in both if sides[0][fact] == sides[1][fact]]
    changes = []
    for fact in sides[0].keys() ^ sides[1].keys() | both - set(equal):
        before, after = (side.get(fact, set()) for side in sides)
        numbers = [len(side[fact]) if fact in side else None for side in sides]
        gained, lost = len(after - before), len(before - after)
        words = world.words(fact)
        change = FactChange(words[0], world.facts[fact], numbers[0], numbers[1], gained, lost)
        changes.append((-gained - lost, words, change))
    assert (found.only_before, found.only_after) == (len(sides[0].keys() - both), len(sides[1].keys() - both))
    assert (found.equal, found.changed) == (len(equal), len(both) - len(equal))
    assert found.mean_jaccard == pytest.approx(mean([jaccard(sides[0][fact], sides[1][fact]) for fact in both]))
    assert found.changes == tuple(change[-1] for change in sorted(changes, key=lambda change: change[:2]))


def test_two_runs_differ_prompt_by_prompt(catalog: Catalog) -> None:
    fill_scores(catalog)
    catalog.open_run(OTHER_RUN)
    other = [
        PromptAttribution(OTHER_RUN.id, PARIS_IS.id, 0.75, 0.0, 1.0),
        PromptAttribution(OTHER_RUN.id, PARIS_SEAT.id, 0.25, 0.0, 1.0),
        PromptAttribution(OTHER_RUN.id, PARIS_PARA.id, 0.0, None, 0.0, "unusable", "no such word"),
        PromptAttribution(OTHER_RUN.id, TOKYO_IS.id, 0.5, 0.0, 1.0),
    ]
    scores = [
        *(score(PARIS_IS, 0, 3, 1.0), score(PARIS_IS, 1, 7, 0.5), score(PARIS_SEAT, 0, 3, 1.0)),
        *(score(PARIS_SEAT, 1, 9, 1.0), score(TOKYO_IS, 0, 0, 1.0)),
    ]
    catalog.put_attributions(other, [replace(one, run_id=OTHER_RUN.id) for one in scores])
    found = catalog.run_difference(RUN.id, OTHER_RUN.id)
    tokyo = PromptChange("capital", TOKYO, TOKYO_IS, None, "ok", None, 0.5, None)
    yen = PromptChange("currency", YEN, YEN_IS, "ok", None, 0.25, None, None)
    assert found == RunDifference(
        *(1, 1, 3, 2),
        mean_probability_before=0.25,
        mean_probability_after=1 / 3,
        mean_jaccard=1_333_333_333 / 2e9,
        changes=(
            PromptChange("capital", PARIS, PARIS_SEAT, "inexact", "ok", 0.25, 0.25, 1 / 3),
            PromptChange("capital", PARIS, PARIS_PARA, "ok", "unusable", 0.25, 0.0, None),
            *(tokyo, yen),
            PromptChange("capital", PARIS, PARIS_IS, "ok", "ok", 0.25, 0.75, 1.0),
        ),
    )
    assert catalog.run_difference(RUN.id, OTHER_RUN.id, limit=2).changes == found.changes[:2]
    assert catalog.run_difference(RUN.id, RUN.id).changes == ()


def test_two_checkpoints_differ_by_files_and_newest_refinements(catalog: Catalog) -> None:
    fill_refinement(catalog)
    files = {"model.safetensors": "cd" * 32, "config.json": "ab" * 32, "merges.txt": "ef" * 32}
    other = catalog.add_checkpoint(replace(checkpoint("another"), files=files))
    alone = catalog.checkpoint_difference(MODEL, other)
    assert alone == CheckpointDifference(MODEL, other, (), ("merges.txt",), ("model.safetensors",), None)
    run = catalog.open_run(replace(RUN, id=2, checkpoint_id=other.id))
    catalog.put_refinement(replace(REFINEMENT, id=9, run_id=run.id), [], [])
    compared = catalog.checkpoint_difference(MODEL, other, limit=1)
    assert compared.refinements == catalog.refinement_difference(REFINEMENT.id, 9, limit=1)
    assert compared.refinements is not None
    assert compared.refinements.only_before == 3

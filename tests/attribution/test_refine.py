"""Refinement of counts made by hand: thresholds, roles, the moving share."""

from collections.abc import Sequence
from typing import Any

import pytest

from knedit.attribution.refine import Thresholds, refine
from knedit.errors import KneditError
from knedit.records import AttributedFact, CoarseCount, KnowledgeNeuron, RefinedFact

OWN = Thresholds(share=0.7, min_prompts=1, hub_share=1.0, hub_relations=1.0)


def seen(fact: AttributedFact, *counts: int, score: float = 1.0) -> list[CoarseCount]:
    """Return a neuron (2, 0), (2, 1) … for each count of prompts, with `score` in each of these."""
    return [
        CoarseCount(fact.fact_id, fact.relation_id, 2, index, number, number * score)
        for index, number in enumerate(counts)
    ]


def kept(facts: Sequence[AttributedFact], counts: Sequence[CoarseCount], thresholds: Thresholds) -> list[int]:
    return [neuron.index for neuron in refine(1, facts, counts, thresholds)[1]]


def test_a_neuron_at_the_share_is_kept_and_one_below_is_not() -> None:
    fact = AttributedFact(7, 3, 10)
    refined, neurons = refine(5, [fact], seen(fact, 6, 7, 8, 10, score=0.25), OWN)
    assert refined == [RefinedFact(5, 7, 10, 0.7, 3)]
    assert neurons == [
        KnowledgeNeuron(5, 7, 2, 1, 0.7, 0.25, "fact"),
        KnowledgeNeuron(5, 7, 2, 2, 0.8, 0.25, "fact"),
        KnowledgeNeuron(5, 7, 2, 3, 1.0, 0.25, "fact"),
    ]


@pytest.mark.parametrize("twentieths", range(1, 21))
def test_the_boundary_is_exact_in_twentieths(twentieths: int) -> None:
    """Among them 0.55 of 100, which floating point makes more than 55."""
    for prompts in (*range(1, 21), 100):
        fact = AttributedFact(1, 1, prompts)
        found = kept([fact], seen(fact, *range(1, prompts + 1)), Thresholds(share=twentieths / 20, min_prompts=1))
        assert [index + 1 for index in found] == [n for n in range(1, prompts + 1) if 20 * n >= twentieths * prompts]


def test_few_prompts_must_agree_in_at_least_min_prompts() -> None:
    few, many = AttributedFact(1, 1, 3), AttributedFact(2, 1, 20)
    counts = [*seen(few, 1, 2, 3), *seen(many, 3, 13, 14)]
    assert kept([few, many], counts, Thresholds(share=0.7, min_prompts=3)) == [2, 2]
    assert kept([few, many], counts, Thresholds(share=0.5, min_prompts=2)) == [1, 2, 1, 2]
    assert kept([few, many], counts, Thresholds(share=0.1, min_prompts=15)) == []


def test_facts_without_neurons_or_prompts_are_kept_with_none() -> None:
    facts = [AttributedFact(1, 1, 4), AttributedFact(2, 1, 0), AttributedFact(3, 2, 5)]
    refined, neurons = refine(9, facts, seen(facts[0], 1, 2), OWN)
    assert refined == [RefinedFact(9, 1, 4, 0.7, 0), RefinedFact(9, 2, 0, 0.7, 0), RefinedFact(9, 3, 5, 0.7, 0)]
    assert neurons == []


def test_nothing_attributed_gives_nothing() -> None:
    assert refine(9, [], [], Thresholds(adjust=True)) == ([], [])


def roles(held: dict[tuple[int, int], Sequence[int]], sizes: Sequence[int], **thresholds: Any) -> dict[Any, str]:
    """Refine relations 0, 1 … of so many facts; `held` says how many facts of each relation hold a neuron."""
    facts = [
        AttributedFact(100 * relation + k, relation, 4) for relation, size in enumerate(sizes) for k in range(size)
    ]
    counts = [
        CoarseCount(100 * relation + k, relation, *neuron, 4, 1.0)
        for neuron, holders in held.items()
        for relation, number in enumerate(holders)
        for k in range(number)
    ]
    _, neurons = refine(1, facts, counts, Thresholds(**thresholds))
    found: dict[Any, set[str]] = {}
    for one in neurons:
        found.setdefault((one.fact_id // 100, one.layer, one.index), set()).add(one.role)
    return {key: ", ".join(sorted(names)) for key, names in found.items()}


def test_a_neuron_of_more_than_the_hub_share_is_its_relations() -> None:
    found = roles({(0, 1): [2], (0, 2): [3], (0, 3): [20], (0, 4): [1]}, [20], hub_share=0.1)
    assert found == {(0, 0, 1): "fact", (0, 0, 2): "relation", (0, 0, 3): "relation", (0, 0, 4): "fact"}


def test_a_neuron_of_one_fact_is_never_its_relations() -> None:
    assert roles({(0, 1): [1], (0, 2): [2]}, [2], hub_share=0.1) == {(0, 0, 1): "fact", (0, 0, 2): "relation"}


def test_a_neuron_is_judged_in_each_relation_by_itself() -> None:
    found = roles({(0, 1): [10, 1]}, [10, 10], hub_share=0.5)
    assert found == {(0, 0, 1): "relation", (1, 0, 1): "fact"}


def test_a_neuron_of_three_relations_is_generic_and_of_two_is_not() -> None:
    found = roles({(0, 1): [1, 1, 1], (0, 2): [5, 1, 0]}, [5, 5, 5], hub_share=0.5)
    assert found == {
        **{(relation, 0, 1): "generic" for relation in range(3)},
        (0, 0, 2): "relation",
        (1, 0, 2): "fact",
    }


def test_generic_asks_for_more_than_its_part_of_many_relations() -> None:
    found = roles({(0, 1): [1] * 4 + [0] * 36, (0, 2): [1] * 5 + [0] * 35}, [1] * 40, hub_relations=0.1)
    assert {key for key, role in found.items() if role == "generic"} == {(relation, 0, 2) for relation in range(5)}


def adjusted(prompts: int, counts: Sequence[int], **thresholds: Any) -> tuple[float | None, int]:
    """Return the share that one fact's relation comes to, and the neurons it leaves."""
    fact = AttributedFact(1, 1, prompts)
    refined, _ = refine(1, [fact], seen(fact, *counts), Thresholds(**{"adjust": True, "min_prompts": 1} | thresholds))
    return refined[0].share, refined[0].neurons


@pytest.mark.parametrize(
    ("counts", "share", "neurons"),
    [
        ([100, 100], 0.7, 2),
        ([100] * 5, 0.7, 5),
        ([100, 65], 0.65, 2),
        ([100, 64], 0.6, 2),
        ([100, 45], 0.45, 2),
        ([100, 44], 0.45, 1),
        ([], 0.45, 0),
        ([74] * 3 + [100] * 4, 0.75, 4),
        ([94] * 3 + [100] * 4, 0.95, 4),
        ([95] * 3 + [100] * 4, 0.95, 7),
    ],
)
def test_the_share_moves_by_a_twentieth_at_most_five_times(counts: list[int], share: float, neurons: int) -> None:
    assert adjusted(100, counts) == (share, neurons)


def test_a_share_that_swings_ends_after_the_fifth_move() -> None:
    """Seven neurons at 0.7 and one at 0.75: neither is from 2 to 5."""
    assert adjusted(100, [72] * 6 + [100]) == (0.75, 1)


def test_each_relation_moves_by_itself_and_by_its_average() -> None:
    many, few, two = AttributedFact(1, 1, 100), AttributedFact(2, 2, 100), AttributedFact(3, 2, 100)
    counts = [*seen(many, *[72] * 4, *[100] * 3), *seen(few, 100, 68), *seen(two, 100, 67)]
    refined, _ = refine(1, [many, few, two], counts, Thresholds(adjust=True))
    assert refined == [
        RefinedFact(1, 1, 100, 0.75, 3),
        RefinedFact(1, 2, 100, 0.65, 2),
        RefinedFact(1, 3, 100, 0.65, 2),
    ]


def test_without_adjust_the_share_stays() -> None:
    assert adjusted(100, [69] * 9, adjust=False) == (0.7, 0)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.9, 0.95, 1.0])
def test_an_adjusted_share_stays_a_share(share: float) -> None:
    """Facts agreed on by every prompt keep their neurons, however many: no share is above 1."""
    assert adjusted(10, [10] * 9, share=share)[1] == 9
    shares = [adjusted(10, counts, share=share)[0] for counts in ([10] * 9, [])]
    assert all(one is not None and 0 < one <= 1 for one in shares)


@pytest.mark.parametrize("name", ["threshold", "share", "hub_share", "hub_relations"])
@pytest.mark.parametrize("value", [0.0, -0.1, 1.01, float("nan")])
def test_a_part_outside_its_bounds_is_refused(name: str, value: float) -> None:
    with pytest.raises(KneditError, match=f"{name} is"):
        Thresholds(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -3])
def test_fewer_than_one_prompt_are_refused(value: int) -> None:
    with pytest.raises(KneditError, match="min_prompts is"):
        Thresholds(min_prompts=value)


def test_the_config_names_every_threshold() -> None:
    assert Thresholds().as_config() == {
        "threshold": 0.2,
        "share": 0.7,
        "min_prompts": 3,
        "adjust": False,
        "hub_share": 0.1,
        "hub_relations": 0.1,
    }

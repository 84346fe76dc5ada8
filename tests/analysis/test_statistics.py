"""Overlaps and layers on a worked example, and against a count over all pairs."""

import random
from itertools import combinations

import pytest

from knedit.analysis.sheet import Notes
from knedit.analysis.statistics import FactNeurons, count_facts, findings, layer_shares, overlap, shared_matrix
from tests.analysis.sheets import cells, sheet

A, B, C, D = (0, 1), (0, 2), (1, 1), (2, 5)
FACTS = [
    FactNeurons("capital", frozenset({A, B})),
    FactNeurons("capital", frozenset({A, B, C})),
    FactNeurons("capital", frozenset()),
    FactNeurons("currency", frozenset({A, D})),
    FactNeurons("currency", frozenset({D})),
]


def test_overlap_is_the_mean_intersection_over_all_pairs_pooled_over_relations() -> None:
    found = overlap(FACTS)
    # within: capital has pairs sharing 2, 0, 0; currency one sharing 1: 3 of 4 pairs' sum. across: 1 + 1 of 6 pairs.
    assert found.within == pytest.approx(3 / 4)
    assert found.across == pytest.approx(2 / 6)
    assert overlap(FACTS[:1]).within is None
    assert overlap(FACTS[:3]).across is None


def test_overlap_equals_a_count_over_all_pairs() -> None:
    chance = random.Random(7)
    facts = [
        FactNeurons(f"r{chance.randrange(4)}", frozenset((chance.randrange(2), chance.randrange(9)) for _ in range(5)))
        for _ in range(60)
    ]
    pairs = list(combinations(facts, 2))
    for within in (True, False):
        some = [len(a.neurons & b.neurons) for a, b in pairs if (a.relation == b.relation) == within]
        found = overlap(facts)
        assert (found.within if within else found.across) == pytest.approx(sum(some) / len(some))


def test_relations_share_pairwise() -> None:
    assert shared_matrix(FACTS) == {
        ("capital", "capital"): pytest.approx(2 / 3),
        ("capital", "currency"): pytest.approx(2 / 6),
        ("currency", "currency"): 1.0,
    }


def test_layers_share_all_pairs_of_a_fact_and_a_neuron() -> None:
    assert layer_shares(FACTS, 4) == pytest.approx([5 / 8, 1 / 8, 2 / 8, 0])
    assert layer_shares([], 2) == [0, 0]


def test_facts_without_neurons_count_as_zero_and_are_told() -> None:
    notes = Notes()
    count_facts(notes, {"neurons": FACTS}, {"capital": 30}, 3)
    rows: dict[tuple[str, str], dict[str, float | None]] = {}
    for one in notes.found:
        rows.setdefault((one.series, one.key), {})[one.metric] = one.value
    found = findings(sheet({"all": ("", rows)}))
    row = cells(found.tables[0], 0)
    assert (row["facts"], row["neurons a fact"], row["facts without"]) == (5, pytest.approx(8 / 5), 1)
    assert found.figures["statistics neurons within"] == pytest.approx(3 / 4)
    assert cells(found.tables[1], 0)["prompts"] == 30
    assert "1 of 5 facts have no neuron" in found.notes[0]

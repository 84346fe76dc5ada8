"""ParaRel's consistency and degenerate pairs on worked examples."""

from math import log

import pytest

from knedit.analysis.consistency import agreement, findings, is_degenerate, lost_shares, note_edit, note_wordings
from knedit.analysis.sheet import Notes
from knedit.analysis.update import Heard
from knedit.models.model import wrap_model
from knedit.models.prompting import encode_prompt
from knedit.models.scaling import Trial, speak
from knedit.records import Prompt
from tests.analysis.sheets import cells, sheet
from tests.tiny_models import network, tokenizer_of


def test_consistency_is_the_share_of_pairs_of_wordings_with_one_prediction() -> None:
    assert agreement(["Paris", "Paris", "Rome", "Paris"]) == pytest.approx(3 / 6)
    assert agreement(["Rome", "Rome"]) == 1.0  # wrong, but of one mind
    assert agreement(["Paris"]) is None


def rows_of(notes: Notes) -> dict[tuple[str, str], dict[str, float | None]]:
    rows: dict[tuple[str, str], dict[str, float | None]] = {}
    for one in notes.found:
        rows.setdefault((one.series, one.key), {})[one.metric] = one.value
    return rows


def test_relations_are_means_over_facts_and_the_whole_is_the_mean_over_relations() -> None:
    parts = {}
    for name, relation, said in (
        ("a", "capital", ["Paris", "Paris", "Rome", "Paris"]),
        ("b", "capital", ["Paris", "Paris"]),
        ("c", "currency", ["yen", "euro"]),
    ):
        notes = Notes()
        note_wordings(notes, said, [hash(word) for word in said], said[0])
        parts[name] = (relation, rows_of(notes))
    found = findings(sheet(parts))
    whole, capital = cells(found.tables[0], 0), cells(found.tables[0], 1)
    assert capital["consistency"] == pytest.approx((0.5 + 1) / 2)
    assert whole["consistency"] == pytest.approx((0.75 + 0) / 2)
    assert capital["right"] == pytest.approx((0.75 + 1) / 2)
    assert capital["facts right in all wordings"] == pytest.approx(0.5)


def test_an_edits_reach_is_told_probe_by_probe() -> None:
    notes = Notes()
    was = [Heard(-log(0.1), False, 1), Heard(-log(0.1), False, 1)]
    now = [Heard(-log(0.9), True, 2), Heard(-log(0.3), False, 1)]
    probes = {"wordings": (was, now), "symmetry": (was[:1], now[1:]), "synonymy": ([], [])}
    note_edit(notes, "paper", ["Paris", "Paris", "Paris"], ["Rome", "Rome", "Paris"], "Rome", probes)
    found = findings(sheet({"edit a": ("capital", rows_of(notes))}))
    edit, wordings, symmetry = cells(found.tables[0], 0), cells(found.tables[1], 0), cells(found.tables[1], 1)
    assert (edit["consistency before"], edit["after"]) == (1.0, pytest.approx(1 / 3))
    assert edit["give the new object"] == pytest.approx(2 / 3)
    assert (wordings["probability before"], wordings["probability after"]) == (pytest.approx(0.1), pytest.approx(0.6))
    assert wordings["likeliest after"] == 0.5
    assert symmetry["likeliest after"] == 0.0
    assert len(found.tables[1].rows) == 2  # no synonym was known


def test_a_pair_is_degenerate_that_loses_little_alone_and_much_together() -> None:
    assert is_degenerate([0.19, 0.0], 0.26)
    assert not is_degenerate([0.2, 0.0], 0.5)
    assert not is_degenerate([0.1, 0.1], 0.25)


def test_lost_shares_are_those_of_scaling_each_set_by_itself() -> None:
    model = wrap_model(network("gpt2"), tokenizer_of("gpt2"))
    texts = [("the capital of France is {object}", "Paris"), ("the capital of Japan is {object}", "Tokyo")]
    queries = [encode_prompt(model, Prompt.make(0, "attribute", text, answer)) for text, answer in texts]
    neurons = [(0, 3), (1, 7), (2, 20)]
    alone, pairs = lost_shares(model, queries, neurons)
    assert (list(alone), list(pairs)) == (
        neurons,
        [(neurons[0], neurons[1]), (neurons[0], neurons[2]), tuple(neurons[1:])],
    )
    before = sum(one.probability for one in speak(model, queries, [Trial(0), Trial(1)]))
    after = sum(one.probability for one in speak(model, queries, [Trial(n, tuple(neurons[1:])) for n in (0, 1)]))
    assert pairs[neurons[1], neurons[2]] == pytest.approx((before - after) / before, rel=1e-4)

"""The authors' definitions on a worked example: two relations, three facts, every number by hand."""

import pytest

from knedit.analysis.findings import Table
from knedit.analysis.sheet import Notes
from knedit.analysis.suppress_amplify import change_ratio, findings, mean_of_ratios, measure
from knedit.models.model import wrap_model
from knedit.models.prompting import encode_prompt
from knedit.records import Prompt
from tests.analysis.sheets import cells, sheet
from tests.tiny_models import network, tokenizer_of


def sums(before: float, after: float, ratios: float, **more: float) -> dict[str, float]:
    usual = {"prompts": 2.0, "defined": 2.0, "flips": 0.0, "correct": 2.0, "lost": 0.0, "gained": 0.0}
    return {"before": before, "after": after, "ratios": ratios} | usual | more


def test_the_change_ratio_is_the_mean_change_over_the_mean_probability_and_no_mean_of_ratios() -> None:
    before, after = [0.8, 0.1, 0.0], [0.4, 0.2, 0.03]
    assert change_ratio(before, after) == pytest.approx((0.63 - 0.9) / 0.9)
    assert mean_of_ratios(before, after) == pytest.approx((-0.5 + 1.0) / 2)  # a probability of 0 has no ratio
    assert change_ratio([0.0], [0.1]) is None
    assert mean_of_ratios([0.0], [0.1]) is None


def test_relations_pool_their_prompts_and_the_headline_is_their_unweighted_mean() -> None:
    # capital: 1.0 + 0.6 of probability falls to 0.8 + 0.0, a half; currency: 0.4 falls to 0.3, a quarter.
    found = findings(
        sheet(
            {
                "a": ("capital", {("own suppress", "neurons"): sums(1.0, 0.8, -0.4, flips=1.0, lost=1.0)}),
                "b": ("capital", {("own suppress", "neurons"): sums(0.6, 0.0, -2.0, flips=2.0, lost=2.0)}),
                "c": ("currency", {("own suppress", "neurons"): sums(0.4, 0.3, -0.5, correct=0.0)}),
            }
        )
    )
    row = cells(found.tables[0], 0)
    assert row["relations"] == 2
    assert row["change ratio"] == pytest.approx((-0.5 - 0.25) / 2)
    assert row["mean of ratios"] == pytest.approx((-2.4 / 4 - 0.5 / 2) / 2)
    assert row["argmax flips"] == pytest.approx(3 / 6)
    assert row["right answers lost"] == pytest.approx(3 / 4)
    assert found.figures["own suppress neurons"] == pytest.approx(-0.375)
    assert [line[6] for line in _relations(found.tables[1])] == pytest.approx([-0.5, -0.25])


def _relations(table: Table) -> list[tuple[object, ...]]:
    return [row for row in table.rows if row[1] == "suppress"]


def test_probability_changes_and_flips_are_summed_over_the_prompts_of_each_side() -> None:
    model = wrap_model(network("bert"), tokenizer_of("bert"))
    texts = {"own": ["the capital of France is {object}", "France has a capital called {object}"], "other": []}
    sides = {
        side: [encode_prompt(model, Prompt.make(0, "attribute", text, "Paris")) for text in own]
        for side, own in texts.items()
    }
    notes = Notes()
    measure(model, sides, {"neurons": [(0, 3), (1, 7)], "activation": [], "random": [(0, 4), (1, 8)]}, notes)
    keys = {(one.series, one.key) for one in notes.found}
    assert keys == {
        (f"{side} {verb}", name)
        for side in ("own", "other")
        for verb in ("suppress", "amplify")
        for name in ("neurons", "random")
    }
    numbers = {(one.series, one.key, one.metric): one.value for one in notes.found}
    assert numbers["own suppress", "neurons", "prompts"] == 2
    assert numbers["own suppress", "neurons", "before"] == numbers["own amplify", "random", "before"]
    assert numbers["own suppress", "neurons", "after"] != numbers["own suppress", "random", "after"]
    assert numbers["other suppress", "neurons", "prompts"] == 0

"""The authors' rates and perplexities of updates, and their rule for hubs, on worked examples."""

from math import exp, log

import pytest

from knedit.analysis.sheet import Notes
from knedit.analysis.update import Edited, Heard, findings, note, perplexity_rise, without_hubs
from tests.analysis.sheets import cells, sheet

PARIS, ROME, OSLO = 7, 8, 9  # tokens


def heard(probability: float, top: int, *, right: bool = False) -> Heard:
    return Heard(-log(probability), right, top)


def edited(top: int, new: float, within: float, across: float, unseen: list[bool]) -> Edited:
    return Edited(
        old=(heard(0.5, PARIS, right=True), heard(0.1, top, right=top == PARIS)),
        new=(heard(0.01, PARIS), heard(new, top, right=top == ROME)),
        unseen=[heard(0.5, ROME, right=one) for one in unseen],
        within=([heard(0.5, 1), heard(0.125, 1)], [heard(within, 1), heard(0.125, 1)]),
        across=([heard(0.25, 1)], [heard(across, 1)]),
    )


def test_rates_and_perplexities_are_the_authors() -> None:
    rows: dict[str, tuple[str, dict[tuple[str, str], dict[str, float | None]]]] = {}
    edits = {"a": edited(ROME, 0.6, 0.5, 0.25, [True, False]), "b": edited(OSLO, 0.2, 0.125, 0.125, [False]),
             "c": edited(PARIS, 0.2, 0.125, 0.0625, [])}  # fmt: skip
    for name, edit in edits.items():
        notes = Notes()
        note(notes, "paper", edit, neurons=3, seconds=1.0)
        rows[name] = ("capital", {("solvers", "paper"): {one.metric: one.value for one in notes.found}})
    found = findings(sheet(rows))
    row = cells(found.tables[0], 0)
    assert row["change rate"] == pytest.approx(2 / 3)  # b says something else, which is a change and no success
    assert row["success rate"] == pytest.approx(1 / 3)
    assert row["success, unseen wordings"] == pytest.approx(1 / 3)
    # each edit's mean ln(1/p) first: ln 4 before; after ln 4, ln 8, ln 8: exp of their mean is 4 · 2^(2/3)
    assert row["perplexity within"] == pytest.approx(4 * 2 ** (2 / 3) - 4)
    assert row["perplexity across"] == pytest.approx(8 - 4)  # ln 4, ln 8, ln 16
    assert found.figures["update success"] == pytest.approx(1 / 3)
    assert found.figures["update within"] == pytest.approx(4 * 2 ** (2 / 3) - 4)


def test_a_perplexitys_rise_is_a_difference_of_exponentials_of_means() -> None:
    assert perplexity_rise([0.0, 2.0], [1.0, 3.0]) == pytest.approx(exp(2) - exp(1))
    assert perplexity_rise([], []) is None


def test_hubs_are_those_that_more_than_a_tenth_hold_the_fact_counted_twice() -> None:
    users = {(0, 1): 9, (0, 2): 10, (0, 3): 1}
    places = [(0, 1), (0, 2), (0, 3)]
    assert without_hubs(places, users, 100) == [(0, 1), (0, 3)]  # 9 + 1 is not more than 10, 10 + 1 is
    assert without_hubs(places, users, 99) == [(0, 3)]
    assert without_hubs(places, users, 5) == [(0, 3)]  # of few facts, what no other one holds

"""Erasing's perplexity and the sign of its change, on a worked example."""

from math import log

import pytest

from knedit.analysis.erase import findings, note, perplexity, relative_rise
from knedit.analysis.sheet import Notes
from knedit.analysis.update import Heard
from tests.analysis.sheets import cells, sheet


def heard(probability: float, *, right: bool) -> Heard:
    return Heard(-log(probability), right, 0)


def test_perplexity_is_exp_of_the_mean_and_its_rise_is_positive_where_it_grew() -> None:
    assert perplexity([log(2), log(8)]) == pytest.approx(4)
    assert relative_rise(1450.0, 2996.0) == pytest.approx(1.066, abs=1e-3)  # the paper's place of birth, +106.6 %
    assert relative_rise(4.0, 2.0) == -0.5


def test_an_erased_relation_is_told_with_its_rise_and_accuracy_beside_others() -> None:
    notes = Notes()
    note(notes, "paper", "own", [heard(0.5, right=True)] * 2, [heard(0.125, right=False), heard(0.5, right=True)],
         neurons=20)  # fmt: skip
    note(notes, "paper", "other", [heard(0.25, right=True)], [heard(0.2, right=True)], neurons=20)
    rows: dict[tuple[str, str], dict[str, float | None]] = {}
    for one in notes.found:
        rows.setdefault((one.series, one.key), {})[one.metric] = one.value
    found = findings(sheet({"capital": ("capital", rows)}))
    own, other = cells(found.tables[0], 0), cells(found.tables[0], 1)
    assert (own["perplexity before"], own["after"]) == (pytest.approx(2), pytest.approx(4))
    assert own["rise"] == pytest.approx(1.0)
    assert (own["right before"], own["right after"]) == (1.0, 0.5)
    assert other["rise"] == pytest.approx(0.25)
    assert found.figures == {"erase own": pytest.approx(1.0), "erase other": pytest.approx(0.25)}

"""The published figures of replies made by hand."""

from math import exp, log

import pytest

from knedit.evaluation.figures import drift, figures, harmonic_mean, mean_figures
from tests.evaluation.asking import reply, tiny


def test_the_published_figures_of_a_worked_example() -> None:
    found = figures(
        {
            "rewrite": [reply(log(2), log(4), right=(True, False))],
            "paraphrase": [reply(log(2), log(10), right=(True, True)), reply(log(5), log(4))],
            "neighbour": [reply(log(2), log(8)), reply(log(8), log(4)), reply(log(3), log(4), right=(True,))],
        }
    )
    expected = {
        "es": 1.0,
        "em": 0.5 - 0.25,
        "argmax": 0.0,
        "token_accuracy": 0.5,
        "ps": 0.5,
        "pm": ((0.5 - 0.1) + (0.2 - 0.25)) / 2,
        "paraphrase_argmax": 0.5,
        "paraphrase_accuracy": 0.5,
        "ns": 2 / 3,
        "nm": ((0.5 - 0.125) + (0.125 - 0.25) + (1 / 3 - 0.25)) / 3,
        "neighbour_argmax": 1 / 3,
        "neighbour_accuracy": 1 / 3,
    }
    assert found == pytest.approx(expected)


def test_equal_losses_are_no_success() -> None:
    assert figures({"rewrite": [reply(1.0, 1.0)], "neighbour": [reply(1.0, 1.0)]})["es"] == 0.0


def test_other_groups_tell_how_often_their_answer_is_the_argmax() -> None:
    groups = ("sibling", "same_subject", "inverse")
    found = figures({group: [reply(1.0, right=(True,)), reply(1.0)] for group in groups})
    assert found == {f"{group}_argmax": 0.5 for group in groups}
    assert figures({"implied": [reply(1.0, right=(True, False))]}) == {
        "portability_argmax": 0.0,
        "portability_accuracy": 0.5,
    }
    assert figures({"negated": [reply(1.0, 2.0)], "prepended": [reply(2.0, 1.0)]}) == pytest.approx(
        {
            "negated_es": 1.0,
            "negated_em": exp(-1) - exp(-2),
            "negated_argmax": 0.0,
            "prepended_ns": 0.0,
            "prepended_nm": exp(-2) - exp(-1),
            "prepended_argmax": 0.0,
        }
    )


def test_prompts_that_shall_stay_are_kept_where_their_likeliest_token_is_the_same() -> None:
    model = tiny("gpt2")
    before = {"prepended": [reply(1.0, top=3), reply(1.0, top=4)], "rewrite": [reply(1.0)]}
    after = {"prepended": [reply(2.0, top=3), reply(2.0, top=5)], "rewrite": [reply(2.0)]}
    assert drift(model, before, after) == {"prepended_argmax_kept": 0.5}


def test_means_are_taken_over_the_records_that_have_a_figure_and_s_over_the_means() -> None:
    found = mean_figures([{"es": 1.0, "ps": 0.5, "ns": 0.25}, {"es": 1.0, "ps": 0.5, "ns": 0.75, "portability": 1.0}])
    assert found == {"es": 1.0, "ps": 0.5, "ns": 0.5, "portability": 1.0, "s": 3 / (1 + 2 + 2)}
    assert mean_figures([{"es": 1.0}]) == {"es": 1.0}
    assert mean_figures([]) == {}


def test_the_harmonic_mean_of_the_papers_own_row() -> None:
    assert harmonic_mean(100.0, 96.4, 75.4) == pytest.approx(89.2, abs=0.05)
    assert harmonic_mean(0.0, 1.0) == 0.0

"""A look at a case: which figures and texts it gives, and when a continuation begins with an answer."""

import pytest

from knedit.evaluation.figures import figures
from knedit.evaluation.fluency import draw, fluency, repetition
from knedit.evaluation.look import ask_cases, begins_with, look, moved
from knedit.evaluation.metrics import write
from tests.evaluation.asking import CASE, REWRITE, tiny


@pytest.mark.parametrize(
    ("text", "answer", "begins"),
    [
        (" Rome, the city", "Rome", True),
        ("Rome", "Rome", True),
        ("\nRome.", "Rome", True),
        (" Romeo", "Rome", False),
        (" Rom", "Rome", False),
        (" in Rome", "Rome", False),
        (" New York City", "New York", True),
        (" 1998", "199", False),
        ("", "Rome", False),
    ],
)
def test_a_continuation_begins_with_an_answer_as_whole_words(text: str, answer: str, begins: bool) -> None:
    assert begins_with(text, answer) is begins


def test_a_quick_look_gives_the_figures_of_its_replies_and_whether_the_answer_is_written() -> None:
    model = tiny()
    (found,) = look(model, [CASE])
    (replies,) = ask_cases(model, [CASE])
    assert found.figures == {"generated": 0.0, **figures(replies)}
    assert list(found.texts) == [REWRITE.text]
    assert write(model, REWRITE.text, tokens=3).startswith(found.texts[REWRITE.text])


def test_an_answer_that_the_model_writes_is_generated_and_the_argmax() -> None:
    from dataclasses import replace

    model = tiny()
    said = write(model, REWRITE.text, tokens=1)
    (found,) = look(model, [replace(CASE, rewrite=replace(REWRITE, new=said))])
    assert (found.figures["generated"], found.figures["argmax"], found.figures["es"]) == (1.0, 1.0, 1.0)


def test_a_thorough_look_lets_the_model_write() -> None:
    model = tiny()
    (found,) = look(model, [CASE], thorough={"1"}, seed=3)
    drawn = draw(model, CASE.generations[0], seed=3)
    assert found.texts == {REWRITE.text: write(model, REWRITE.text), CASE.generations[0]: drawn}
    assert (found.figures["fluency"], found.figures["repetition"]) == (fluency(drawn), repetition(drawn))
    assert {"prepended_ns", "negated_argmax"} <= found.figures.keys()


def test_looks_of_the_same_model_have_not_moved() -> None:
    model = tiny()
    before, after = (look(model, [CASE])[0] for _ in range(2))
    gone = moved(model, before, after)
    assert {name: value for name, value in gone.items() if "kept" in name or name.endswith("_kl")} == {
        "neighbour_argmax_kept": 1.0,
        "neighbour_kl": pytest.approx(0.0, abs=1e-9),
        "sibling_argmax_kept": 1.0,
        "sibling_kl": pytest.approx(0.0, abs=1e-9),
        "same_subject_argmax_kept": 1.0,
    }

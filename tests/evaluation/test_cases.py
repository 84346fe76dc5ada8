"""Which questions a case asks, and how facts are told and denied."""

from dataclasses import replace

from knedit.evaluation.cases import Question, denied, questions, told_fact
from tests.evaluation.asking import CASE, REWRITE


def test_a_case_asks_its_groups_with_the_wished_answer_first() -> None:
    assert questions(replace(CASE, same_subject=(), implied=())) == {
        "rewrite": (Question("the capital of France is {object}", ("Rome", "Paris")),),
        "paraphrase": (
            Question("people speak of France and {object}", ("Rome", "Paris")),
            Question("France has a capital called {object}", ("Rome", "Paris")),
        ),
        "neighbour": (
            Question("the big city of France is {object}", ("Paris", "Rome")),
            Question("they live in {object}", ("Paris", "Rome")),
        ),
        "sibling": (Question("the capital of Japan is {object}", ("Tokyo",)),),
    }


def test_a_thorough_look_asks_neighbours_behind_the_edited_fact_and_the_denied_fact() -> None:
    asked = questions(CASE, thorough=True)
    assert asked["prepended"] == (
        Question("the capital of France is Rome. the big city of France is {object}", ("Paris", "Rome")),
        Question("the capital of France is Rome. they live in {object}", ("Paris", "Rome")),
    )
    assert asked["negated"] == (Question("It is not true that the capital of France is {object}", ("Rome", "Paris")),)


def test_a_told_fact_ends_in_one_mark_and_a_denied_one_keeps_its_subjects_capital() -> None:
    question = replace(REWRITE, text="Which city is the capital of France? {object}", new="Rome")
    assert told_fact(question) == "Which city is the capital of France? Rome."
    assert told_fact(replace(REWRITE, text="the city is {object} .")) == "the city is Rome ."
    assert denied(replace(REWRITE, text="The capital of France is {object}")) == (
        "It is not true that the capital of France is {object}"
    )
    assert denied(replace(REWRITE, text="France has {object}")) == "It is not true that France has {object}"

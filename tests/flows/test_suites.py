"""Published records as cases, and what a solver may know of the rest of the set."""

import json
from pathlib import Path

import pytest

from knedit.errors import FactsError
from knedit.evaluation.cases import Ask, Case, Rewrite
from knedit.flows.suites import KnownFact, Surroundings, read_suite, refusal
from tests.flows.rewriting import RECORDS, ZSRE, record, write_records


def test_a_counterfact_record_is_a_case(tmp_path: Path) -> None:
    first, *_ = cases = read_suite("counterfact", write_records(tmp_path / "set.jsonl"))
    assert [case.rewrite.key for case in cases] == ["0", "1", "2", "3"]
    assert first == Case(
        Rewrite("0", "P36", "France", "the capital of France is {object}", "Paris", "Rome"),
        paraphrases=("people of France live in {object}", "big and old . France has a city called {object}"),
        neighbours=(
            Ask("the capital of Spain is {object}", "Paris"),
            Ask("people of Kenya live in {object}", "Paris"),
            Ask("the city is called {object}", "Paris"),
        ),
        generations=("people in France speak",),
    )


def test_a_zsre_record_is_a_case_with_its_portability(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text(json.dumps(ZSRE))
    (case,) = read_suite("zsre", tmp_path / "set.json")
    question = "what is the capital of France ?"
    assert case == Case(
        Rewrite(question, "what is the capital of … ?", "France", f"{question} {{object}}", "Paris", "old Rome"),
        paraphrases=("what is the big city of France ? {object}",),
        neighbours=(Ask("nq question : they speak the language of {object}", "Spain"),),
        implied=(Ask("people of France live in ? {object}", "Italy"),),
    )


def test_a_key_that_stands_twice_gets_a_number(tmp_path: Path) -> None:
    twice = read_suite("counterfact", write_records(tmp_path / "set.jsonl", [RECORDS[0], RECORDS[0]]))
    assert [case.rewrite.key for case in twice] == ["0", "0 (2)"]
    assert twice[0].paraphrases == twice[1].paraphrases


def test_an_unknown_suite_and_a_set_without_rewrites_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FactsError, match=r"no suite 'popqa'.*counterfact, zsre"):
        read_suite("popqa", tmp_path)
    (tmp_path / "set.json").write_text(json.dumps([ZSRE[0] | {"alt": ""}]))
    with pytest.raises(FactsError, match="asks for no rewrite"):
        read_suite("zsre", tmp_path / "set.json")


def test_a_solver_knows_other_subjects_and_none_that_the_edit_is_judged_by(tmp_path: Path) -> None:
    cases = read_suite("counterfact", write_records(tmp_path / "set.jsonl"))
    around = Surroundings(cases)
    italy = KnownFact("Italy", "the capital of Italy is {object}", "Rome")
    japan = KnownFact("Japan", "the capital of Japan is {object}", "Tokyo")
    assert around.known("P36", cases[:1]) == [japan, italy]  # a neighbour's prompt asks Kenya
    assert around.known("P36", cases[:2]) == [italy]
    assert around.known("P17", cases[:1]) == []
    judged = [around.with_bystanders(cases[0], cases[:1])]
    assert around.known("P36", judged) == []


def test_bystanders_are_other_facts_of_the_relation_the_subjects_others_and_the_inverse(tmp_path: Path) -> None:
    def of(case: int, relation: str, subject: str, true: str) -> dict[str, object]:
        one = record(case, subject, true, "Madrid", neighborhood_prompts=[])
        return one | {"requested_rewrite": one["requested_rewrite"] | {"relation_id": relation}}

    records = [
        RECORDS[0],
        of(10, "P37", "France", "language"),
        of(11, "P1376", "Rome", "France"),
        *(of(number, "P36", f"city {number}", "Oslo") for number in range(20, 26)),
        RECORDS[1],
    ]
    cases = read_suite("counterfact", write_records(tmp_path / "set.jsonl", records))
    found = Surroundings(cases).with_bystanders(cases[0], cases[:1] + cases[3:5])
    assert found.siblings == tuple(Ask(f"the capital of city {n} is {{object}}", "Oslo") for n in range(22, 26))
    assert found.same_subject == (Ask("the capital of France is {object}", "language"),)
    assert found.inverse == (Ask("the capital of Rome is {object}", "France"),)


def test_a_rewrite_to_the_present_object_or_without_its_subject_is_refused() -> None:
    def rewrite(text: str, new: str) -> Rewrite:
        return Rewrite("1", "P36", "France", text, "Paris", new)

    assert refusal(rewrite("the capital of France is {object}", "Rome")) is None
    assert refusal(rewrite("the capital of France is {object}", "Paris")) == "the new object 'Paris' is the present one"
    assert refusal(rewrite("its capital is {object}", "Rome")) == (
        "the subject 'France' does not stand in the prompt 'its capital is {object}'"
    )

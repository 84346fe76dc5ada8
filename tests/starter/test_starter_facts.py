"""The starter facts as a file: their number, wordings and form. Knows no model and none of knedit's readers."""

import json
import re
from collections import Counter
from importlib.resources import files
from itertools import combinations
from typing import Any

import pytest

SUBJECT = "{subject}"
OBJECT = "{object}"
STATUSES = {"proposed", "approved", "protected", "retired"}
LINES = files("knedit").joinpath("starter", "facts.jsonl").read_text(encoding="utf-8").splitlines()
RELATIONS: list[dict[str, Any]] = [json.loads(line) for line in LINES]

each_relation = pytest.mark.parametrize("relation", RELATIONS, ids=[relation["relation"] for relation in RELATIONS])


def facts_of(relation: dict[str, Any]) -> list[tuple[str, str]]:
    """List the (subject, object) pairs in the file's order."""
    rows = relation["facts"]
    return [(row["subject"], row["object"]) if isinstance(row, dict) else (row[0], row[1]) for row in rows]


def wordings_of(relation: dict[str, Any], role: str | None = None) -> list[str]:
    """List the templates of a role, or all of them; a bare text is of the role "attribute"."""
    entries = [row if isinstance(row, dict) else {"text": row} for row in relation["templates"]]
    return [entry["text"] for entry in entries if role in (None, entry.get("role", "attribute"))]


def ends_in_answer(template: str) -> bool:
    """Tell whether nothing but punctuation follows the answer, so that a causal model can give it."""
    _, _, rest = template.partition(OBJECT)
    return OBJECT in template and not re.search(r"\w", rest)


def asked(template: str, subject: str) -> str:
    """Return what a causal model reads: the text before the blank, with the subject in its place."""
    return template.partition(OBJECT)[0].replace(SUBJECT, subject)


def test_there_are_enough_relations_and_facts() -> None:
    assert len(RELATIONS) >= 14
    assert sum(len(facts_of(relation)) for relation in RELATIONS) >= 220


def test_relation_keys_and_labels_are_unique() -> None:
    for name in ("relation", "label"):
        values = [relation[name] for relation in RELATIONS]
        assert len(set(values)) == len(values)
        assert all(value and value == value.strip() for value in values)


def test_one_relation_stands_in_for_unwanted_knowledge() -> None:
    unwanted = [relation for relation in RELATIONS if relation["relation"].startswith("unwanted-")]
    assert len(unwanted) == 1
    assert len(facts_of(unwanted[0])) >= 12


def test_some_facts_are_protected() -> None:
    rows = [row for relation in RELATIONS for row in relation["facts"]]
    assert any(isinstance(row, dict) and row["status"] == "protected" for row in rows)


def test_no_wording_serves_two_relations() -> None:
    for first, second in combinations(RELATIONS, 2):
        assert set(wordings_of(first)).isdisjoint(wordings_of(second))


@each_relation
def test_a_relation_has_only_the_fields_of_the_format(relation: dict[str, Any]) -> None:
    assert set(relation) == {"relation", "label", "templates", "facts"}
    for row in relation["templates"]:
        assert isinstance(row, str) or (
            set(row) == {"text", "role"} and row["role"] in {"paraphrase", "generate", "implied"}
        )
    for row in relation["facts"]:
        if isinstance(row, dict):
            assert set(row) == {"subject", "object", "status"}
            assert row["status"] in STATUSES
        else:
            assert len(row) == 2


@each_relation
def test_a_relation_has_wordings_for_causal_and_masked_models(relation: dict[str, Any]) -> None:
    causal = [text for text in wordings_of(relation, "attribute") if ends_in_answer(text)]
    assert len(causal) >= 6
    assert len(wordings_of(relation, "attribute")) > len(causal)


@each_relation
def test_a_relation_holds_out_paraphrases_that_end_in_the_answer(relation: dict[str, Any]) -> None:
    held_out = wordings_of(relation, "paraphrase")
    assert len(held_out) >= 2
    assert all(ends_in_answer(text) for text in held_out)


@each_relation
def test_a_relation_is_implied_by_wordings_that_end_in_the_answer_and_do_not_name_it(relation: dict[str, Any]) -> None:
    implied = wordings_of(relation, "implied")
    assert len(implied) >= 2
    assert all(ends_in_answer(text) for text in implied)
    names = {word for word in re.findall(r"\w+", relation["label"]) if len(word) > 3}
    assert not any(names & set(re.findall(r"\w+", text)) for text in implied)


@each_relation
def test_a_relation_has_a_beginning_to_generate_from(relation: dict[str, Any]) -> None:
    beginnings = wordings_of(relation, "generate")
    assert beginnings
    assert all(OBJECT not in text and text[-1].isalnum() | text.endswith(SUBJECT) for text in beginnings)


@each_relation
def test_a_wording_names_the_subject_once_and_asks_for_one_answer(relation: dict[str, Any]) -> None:
    for text in wordings_of(relation):
        assert text.count(SUBJECT) == 1
        assert not re.search(r"[{}]", text.replace(SUBJECT, "").replace(OBJECT, ""))
    for role in ("attribute", "paraphrase", "implied"):
        assert all(text.count(OBJECT) == 1 for text in wordings_of(relation, role))


@each_relation
def test_a_blank_that_ends_a_wording_stands_after_a_space(relation: dict[str, Any]) -> None:
    assert all(f" {OBJECT}" in text for text in wordings_of(relation) if ends_in_answer(text))


@each_relation
def test_subjects_objects_and_wordings_are_plain_and_tidy(relation: dict[str, Any]) -> None:
    subjects, objects = zip(*facts_of(relation), strict=True)
    for text in [*subjects, *objects, *wordings_of(relation)]:
        assert text
        assert text.isascii()
        assert text.isprintable()
        assert text == " ".join(text.split())
    assert not any(re.search(r"[{}]", text) for text in [*subjects, *objects])


@each_relation
def test_a_subject_has_one_answer(relation: dict[str, Any]) -> None:
    counted = Counter(subject for subject, _ in facts_of(relation))
    assert [subject for subject, times in counted.items() if times > 1] == []


@each_relation
def test_no_two_wordings_fill_to_the_same_text(relation: dict[str, Any]) -> None:
    filled = Counter(
        text.replace(SUBJECT, subject).replace(OBJECT, answer).casefold()
        for subject, answer in facts_of(relation)
        for text in wordings_of(relation)
    )
    assert [text for text, times in filled.items() if times > 1] == []


@each_relation
def test_no_two_wordings_ask_a_causal_model_the_same(relation: dict[str, Any]) -> None:
    questions = Counter(
        asked(text, subject).rstrip()
        for subject, _ in facts_of(relation)
        for text in wordings_of(relation)
        if ends_in_answer(text)
    )
    assert [text for text, times in questions.items() if times > 1] == []


@each_relation
def test_no_wording_tells_its_answer(relation: dict[str, Any]) -> None:
    leaks = [
        (text, subject, answer)
        for subject, answer in facts_of(relation)
        for role in ("attribute", "paraphrase", "implied")
        for text in wordings_of(relation, role)
        if re.search(
            rf"\b{re.escape(answer)}\b", text.replace(OBJECT, "").replace(SUBJECT, subject), flags=re.IGNORECASE
        )
    ]
    assert leaks == []


@each_relation
def test_no_subject_begins_a_word_with_its_answer(relation: dict[str, Any]) -> None:
    given_away = [
        (subject, answer)
        for subject, answer in facts_of(relation)
        if any(word.casefold().startswith(answer.casefold()) for word in subject.split())
    ]
    assert given_away == []

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knedit.catalog.formats.knedit_jsonl import read
from knedit.catalog.store import Catalog
from knedit.errors import FactsError
from knedit.records import Fact, Prompt, Relation

CAPITAL = Relation.make("capital", "capital of a country")
PARIS = Fact.make(CAPITAL.id, "France", "Paris")
TOKYO = Fact.make(CAPITAL.id, "Japan", "Tokyo", "protected")
WHOLE: dict[str, Any] = {
    "relation": "capital",
    "label": "capital of a country",
    "templates": [
        "The capital of {subject} is {object}.",
        {"text": "{object} ist die Hauptstadt von {subject}, {subject}!", "role": "paraphrase", "language": "de"},
        {"text": "In the capital of {subject}", "role": "generate"},
    ],
    "facts": [
        ["France", "Paris"],
        {
            "subject": "Japan",
            "object": "Tokyo",
            "status": "protected",
            "prompts": [{"text": "The capital of Peru is {object}.", "role": "neighbour", "answer": "Lima"}],
        },
    ],
}
SINGLE: dict[str, Any] = {
    "relation": "capital",
    "subject": "France",
    "object": "Paris",
    "prompts": ["The Louvre is in {object}."],
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a file of the given lines: objects as JSON, words and bytes as they are."""

    def written(*lines: object) -> Path:
        file = tmp_path / "facts.jsonl"
        parts = [line if isinstance(line, str | bytes) else json.dumps(line, ensure_ascii=False) for line in lines]
        file.write_bytes(b"\n".join(part if isinstance(part, bytes) else part.encode() for part in parts))
        return file

    return written


def test_a_relation_yields_itself_its_facts_and_their_prompts(write: Write) -> None:
    assert list(read(write(WHOLE))) == [
        CAPITAL,
        PARIS,
        Prompt.make(PARIS.id, "attribute", "The capital of France is {object}.", "Paris"),
        Prompt.make(PARIS.id, "paraphrase", "{object} ist die Hauptstadt von France, France!", "Paris", language="de"),
        Prompt.make(PARIS.id, "generate", "In the capital of France", None),
        TOKYO,
        Prompt.make(TOKYO.id, "attribute", "The capital of Japan is {object}.", "Tokyo"),
        Prompt.make(TOKYO.id, "paraphrase", "{object} ist die Hauptstadt von Japan, Japan!", "Tokyo", language="de"),
        Prompt.make(TOKYO.id, "generate", "In the capital of Japan", None),
        Prompt.make(TOKYO.id, "neighbour", "The capital of Peru is {object}.", "Lima"),
    ]


def test_a_single_fact_yields_its_relation_itself_and_its_prompts(write: Write) -> None:
    line = SINGLE | {
        "status": "approved",
        "prompts": ["The Louvre is in {object}.", "{subject}, {object}", {"text": "{subject} is", "role": "generate"}],
    }
    relation = Relation.make("capital")
    assert list(read(write(line))) == [
        relation,
        Fact.make(relation.id, "France", "Paris", "approved"),
        Prompt.make(PARIS.id, "attribute", "The Louvre is in {object}.", "Paris"),
        Prompt.make(PARIS.id, "attribute", "France, {object}", "Paris"),
        Prompt.make(PARIS.id, "generate", "France is", None),
    ]


def test_blank_lines_a_byte_order_mark_and_windows_line_ends_are_passed_over(write: Write) -> None:
    plain = list(read(write(SINGLE, SINGLE)))
    line = json.dumps(SINGLE).encode()
    assert list(read(write(b"\xef\xbb\xbf" + line + b"\r", b"", b"  \t\r", line + b"\r", b""))) == plain


def test_a_separator_of_lines_inside_a_text_does_not_end_the_line(write: Write) -> None:
    line = SINGLE | {"prompts": ["One\u2028two {object}\nthree"]}
    assert [record.text for record in read(write(line)) if isinstance(record, Prompt)] == [
        "One\u2028two {object}\nthree"
    ]


def test_lines_are_read_as_they_are_asked_for(write: Write) -> None:
    records = read(write(SINGLE, "not JSON"))
    assert [next(records) for _ in range(3)] == list(read(write(SINGLE)))
    with pytest.raises(FactsError, match="line 2"):
        list(read(write(SINGLE, "not JSON")))


def test_a_line_with_a_fault_yields_none_of_its_records(write: Write) -> None:
    records = read(write(WHOLE | {"facts": [["France", "Paris"], ["Japan", ""]]}))
    with pytest.raises(FactsError):
        next(records)


def changed(line: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return line | changes


def without(line: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != key}


def templates(*given: Any) -> dict[str, Any]:
    return changed(WHOLE, templates=list(given))


def facts(*given: Any) -> dict[str, Any]:
    return changed(WHOLE, facts=list(given))


def prompts(*given: Any) -> dict[str, Any]:
    return changed(SINGLE, prompts=list(given))


FAULTS: dict[str, tuple[object, str]] = {
    "no JSON": (
        "{relation: capital}",
        "The line is not JSON: Expecting property name enclosed in double quotes at character 2",
    ),
    "cut off": (
        '{"relation": "capital", "fac',
        "The line is not JSON: Unterminated string starting at at character 25",
    ),
    "not UTF-8": (b'{"relation": "caf\xe9"}', "Byte 18 of the line is not UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "Byte 1 of the line is not UTF-8"),
    "too deep": ("[" * 100_000, "The line is not JSON that can be read"),
    "too great a number": ('{"relation": ' + "9" * 5000 + "}", "The line is not JSON that can be read"),
    "a list": ([["France", "Paris"]], "The line is not a JSON object"),
    "a text": ('"France"', "The line is not a JSON object"),
    "a key twice": ('{"relation": "a", "relation": "b"}', 'The key "relation" stands twice in one object'),
    "a key twice within": (
        '{"facts": [{"subject": "a", "subject": "b"}]}',
        'The key "subject" stands twice in one object',
    ),
    "empty object": ({}, 'The record lacks the key "relation"'),
    "no relation": (without(WHOLE, "relation"), 'The record lacks the key "relation"'),
    "no facts": (without(WHOLE, "facts"), 'The record lacks the key "facts"'),
    "empty facts": (facts(), "The relation has templates and no facts"),
    "a rewrite of two parts": (
        facts({"subject": "a", "object": "b", "rewrites": [["x", "1"]]}),
        "The parts of a rewrite are 2",
    ),
    "a long rewrite": (
        facts({"subject": "a", "object": "b", "rewrites": [["x" * 200, "y" * 200, "z" * 200]]}),
        "The rewrite is 600 characters long in all",
    ),
    "a long source": (
        facts({"subject": "a", "object": "b", "sources": [["x" * 300, "y" * 300]]}),
        "The source is 600 characters long in all",
    ),
    "a prompt that its subject makes too long": (
        changed(templates("{subject} {object}" + " {subject}" * 9000), facts=[["x" * 100, "y"]]),
        "A prompt with its subject is",
    ),
    "no object": (without(SINGLE, "object"), 'The record lacks the key "object"'),
    "no prompts": (without(SINGLE, "prompts"), 'The record lacks the key "prompts"'),
    "empty prompts": (prompts(), 'The fact of "France" has no prompt'),
    "no template and no prompt": (without(WHOLE, "templates"), 'The fact of "France" has no prompt'),
    "misspelt key": (changed(WHOLE, temlates=[]), 'The record has an unknown key "temlates"'),
    "key of the other shape": (changed(SINGLE, templates=[]), 'The record has an unknown key "templates"'),
    "misspelt key of a fact": (facts({"subjct": "a", "object": "b"}), 'A fact has an unknown key "subjct"'),
    "relation within a fact": (
        facts({"relation": "a", "subject": "a", "object": "b"}),
        'A fact has an unknown key "relation"',
    ),
    "answer in a template": (
        templates({"text": "{subject} {object}", "answer": "x"}),
        'A template has an unknown key "answer"',
    ),
    "relation a number": (changed(WHOLE, relation=36), "The relation's key is a number"),
    "relation with a slash": (changed(WHOLE, relation="a/b"), 'The relation\'s key "a/b" has a "/"'),
    "label null": (changed(WHOLE, label=None), "The label is null"),
    "templates a text": (changed(WHOLE, templates="{subject} {object}"), "The templates are text"),
    "facts an object": (changed(WHOLE, facts={"France": "Paris"}), "The facts are an object"),
    "a fact of one part": (facts(["France"]), "A fact has 1 parts"),
    "a fact a text": (facts("France"), "A fact is text"),
    "a subject a number": (facts([1789, "Paris"]), "The subject is a number"),
    "an object a truth": (facts(["France", True]), "The object is true or false"),
    "empty subject": (facts(["", "Paris"]), "The subject is empty"),
    "blank object": (facts(["France", "  "]), "The object is empty"),
    "blank before": (facts([" France", "Paris"]), 'The subject begins or ends with a blank: " France"'),
    "blank after": (facts(["France", "Paris\u00a0"]), "The object begins or ends with a blank"),
    "NUL": (facts(["Fra\0nce", "Paris"]), "The subject holds a NUL or half a character: 'Fra\\x00nce'"),
    "half a character": (
        '{"relation": "a", "facts": [["\\ud83d", "b"]], "templates": ["{subject} {object}"]}',
        "The subject holds a NUL or half a character: '\\ud83d'",
    ),
    "blank in a subject": (facts(["{object}", "Paris"]), 'The subject holds a blank: "{object}"'),
    "blank in an object": (facts(["France", "the {subject}"]), 'The object holds a blank: "the {subject}"'),
    "too long": (facts(["x" * 501, "Paris"]), "The subject is 501 characters long"),
    "unknown status": (facts({"subject": "a", "object": "b", "status": "protect"}), 'There is no status "protect"'),
    "status a list": (facts({"subject": "a", "object": "b", "status": []}), "There is no status []"),
    "unknown role": (templates({"text": "{subject} {object}", "role": "paraphase"}), 'There is no role "paraphase"'),
    "template without object": (templates("The capital of {subject}"), "A template has 0 times {object}"),
    "template with two": (templates("{subject} {object} {object}"), "A template has 2 times {object}"),
    "template without subject": (templates("It is {object}."), 'The template "It is {object}." lacks {subject}'),
    "template empty": (templates(""), "A template's text is empty"),
    "template a number": (templates(7), "A template is a number"),
    "template without text": (templates({"role": "generate"}), 'A template lacks the key "text"'),
    "generate with object": (
        templates({"text": "{subject} {object}", "role": "generate"}),
        "A template to generate from has an answer",
    ),
    "generate with answer": (
        prompts({"text": "France is", "role": "generate", "answer": "Paris"}),
        "A prompt to generate from has an answer",
    ),
    "prompt without object": (prompts("The Louvre"), "A prompt has 0 times {object}"),
    "prompt ends with a blank": (prompts({"text": "France ", "role": "generate"}), "A prompt's text begins or ends"),
    "empty answer": (prompts({"text": "{object}", "answer": ""}), "The answer is empty"),
    "language a number": (prompts({"text": "{object}", "language": 1}), "A prompt's language is a number"),
}


@pytest.mark.parametrize(("line", "what"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_told_with_its_file_line_and_cure(write: Write, line: object, what: str) -> None:
    file = write(SINGLE, "", line)
    with pytest.raises(FactsError) as caught:
        list(read(file))
    assert caught.value.what.startswith(what)
    assert caught.value.where == f"{file}, line 3"
    assert caught.value.cure
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        (changed(WHOLE, temlates=[]), 'Did you mean "templates"?'),
        (facts({"subject": "a", "object": "b", "status": "protect"}), 'Did you mean "protected"?'),
        (changed(SINGLE, zzz=1), "Known are relation, subject, object, prompts, status, sources, rewrites."),
    ],
)
def test_a_misspelt_word_is_told_with_the_nearest_known_one(write: Write, line: object, cure: str) -> None:
    with pytest.raises(FactsError) as caught:
        list(read(write(line)))
    assert caught.value.cure == cure


@pytest.mark.parametrize("lines", [[], ["", "   "], [b"\xef\xbb\xbf"]], ids=["empty", "blank lines", "only a mark"])
def test_a_file_without_any_record_is_told(write: Write, lines: list[object]) -> None:
    file = write(*lines)
    with pytest.raises(FactsError) as caught:
        list(read(file))
    assert (caught.value.what, caught.value.where) == ("The file holds no record", str(file))


def test_a_file_that_is_not_there_or_is_a_folder_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(FactsError, match="The file cannot be read") as caught:
            list(read(path))
        assert caught.value.where == str(path)


@given(st.text(max_size=12), st.text(max_size=12))
def test_any_subject_and_object_are_told_or_kept_letter_by_letter(
    tmp_path_factory: pytest.TempPathFactory, subject: str, object: str
) -> None:
    file = tmp_path_factory.mktemp("any") / "facts.jsonl"
    file.write_text(json.dumps(changed(WHOLE, facts=[[subject, object]])))
    try:
        _, fact, first, *_ = read(file)
    except FactsError:
        return
    assert isinstance(fact, Fact)
    assert isinstance(first, Prompt)
    assert (fact.subject, fact.object, first.answer) == (subject, object, object)
    assert first.text == "The capital of " + subject + " is {object}."


def test_what_is_read_can_be_imported(write: Write, catalog: Catalog) -> None:
    count = catalog.import_facts(read(write(WHOLE, SINGLE)))
    assert (count.relations.added, count.facts.added, count.prompts.added) == (1, 2, 8)
    assert catalog.facts() == [PARIS, TOKYO]


def test_a_file_with_a_fault_at_its_end_imports_nothing(write: Write, catalog: Catalog) -> None:
    with pytest.raises(FactsError, match="line 3"):
        catalog.import_facts(read(write(WHOLE, SINGLE, "{")))
    assert (catalog.relations(), catalog.facts()) == ([], [])

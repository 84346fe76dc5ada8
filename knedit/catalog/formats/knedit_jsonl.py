"""knedit's own format of facts: one JSON object a line, a relation with its facts or a single fact.

    {"relation": "capital", "label": "capital of a country", "templates": ["The capital of {subject} is {object}."],
     "facts": [["France", "Paris"], {"subject": "Japan", "object": "Tokyo", "status": "protected"}]}
    {"relation": "capital", "subject": "France", "object": "Paris", "prompts": ["The Louvre is in {object}."]}

(Each object on one line.) A fact may tell its `sources`, pairs of data set and key, and its `rewrites`, the new objects
that data sets ask it to be given: triples of data set, key and object. A fact of a relation that has no prompt at all
says so with an empty list, and so does a relation without facts. Knows nothing of the catalog that the records go to.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knedit.catalog.formats.shapes import Glimpse
from knedit.catalog.formats.streams import ONE_A_LINE, Fault, each, json_lines, reader
from knedit.catalog.formats.values import (
    SUBJECT,
    TEXT_LENGTH,
    BrokenError,
    choice,
    keys,
    listing,
    noun,
    parts,
    relation_key,
    text,
    together,
)
from knedit.records import BLANK, ROLES, STATUSES, Fact, FactSource, Prompt, Relation, RequestedRewrite

Record = Relation | Fact | Prompt | FactSource | RequestedRewrite


@dataclass(frozen=True, slots=True)
class _Wording:
    text: str
    role: str = "attribute"
    language: str = "en"
    answer: str | None = None
    status: str = "proposed"


@dataclass(frozen=True, slots=True)
class _Told:
    """A fact that was checked: itself, its own wordings, its sources and the rewrites that are asked of it."""

    fact: Fact
    wordings: Sequence[_Wording]
    sources: Sequence[FactSource]
    rewrites: Sequence[RequestedRewrite]


def fits(glimpse: Glimpse) -> bool:
    """Take lines of JSON of which nothing else is known: their faults are then told one by one."""
    return glimpse.kind == "lines" and not glimpse.keys & {"requested_rewrite", "predicate_id", "sub_label"}


@reader
def read(path: Path, fault: Fault) -> Iterator[Record]:
    """Yield each line's relation, facts, prompts, sources and rewrites, a line at a time, each before what hangs on it.

    A line's records come only if the whole line is right; a line that is not is a fault that names file, line and cure.
    """
    return each(json_lines(path, fault), _records, fault)


def _records(parsed: Any) -> Iterator[Record]:
    if not isinstance(parsed, dict):
        raise BrokenError("The line is not a JSON object", ONE_A_LINE)
    templates: list[_Wording] = []
    if "subject" in parsed or "object" in parsed:
        required = ("relation", "subject", "object", "prompts")
        keys(parsed, "The record", required=required, allowed=("status", "sources", "rewrites"))
        relation = Relation.make(relation_key(parsed["relation"]))
        told = [_fact(relation, {key: parsed[key] for key in parsed if key != "relation"}, single=True)]
    else:
        keys(parsed, "The record", required=("relation", "facts"), allowed=("label", "templates"))
        key = relation_key(parsed["relation"])
        relation = Relation.make(key, text(parsed.get("label", key), "The label"))
        templates = [_template(value) for value in listing(parsed.get("templates", []), "The templates")]
        told = [_fact(relation, value, templates=templates) for value in listing(parsed["facts"], "The facts")]
        if templates and not told:
            raise BrokenError("The relation has templates and no facts", 'Give it facts: [["France", "Paris"]].')
    _refuse_long(told, templates)
    return _told(relation, told, templates)


def _refuse_long(told: Sequence[_Told], templates: Sequence[_Wording]) -> None:
    longest = max((len(one.fact.subject) for one in told), default=0)
    for wording in (*templates, *(wording for one in told for wording in one.wordings)):
        length = len(wording.text) + wording.text.count(SUBJECT) * (longest - len(SUBJECT))
        if length > TEXT_LENGTH:
            raise BrokenError(f"A prompt with its subject is {length} characters long", f"Give at most {TEXT_LENGTH}.")


def _told(relation: Relation, told: Sequence[_Told], templates: Sequence[_Wording]) -> Iterator[Record]:
    yield relation
    for one in told:
        fact = one.fact
        yield fact
        for wording in (*templates, *one.wordings):
            answer = None if wording.role == "generate" else wording.answer or fact.object
            words, language = wording.text.replace(SUBJECT, fact.subject), wording.language
            yield Prompt.make(fact.id, wording.role, words, answer, language=language, status=wording.status)
        yield from one.sources
        yield from one.rewrites


def _fact(relation: Relation, value: Any, *, templates: Sequence[_Wording] = (), single: bool = False) -> _Told:
    if isinstance(value, list):
        if len(value) != 2:
            raise BrokenError(f"A fact has {len(value)} parts", 'Write it as ["SUBJECT", "OBJECT"].')
        value = {"subject": value[0], "object": value[1]}
    keys(value, "A fact", required=("subject", "object"), allowed=("status", "prompts", "sources", "rewrites"))
    subject, object = noun(value["subject"], "The subject"), noun(value["object"], "The object")
    status = choice(value.get("status", "proposed"), "status", STATUSES)
    fact = Fact.make(relation.id, subject, object, status)
    wordings = [_prompt(prompt) for prompt in listing(value.get("prompts", []), "The prompts")]
    if not (wordings or templates) and (single or "prompts" not in value):
        raise BrokenError(f'The fact of "{subject}" has no prompt', "Give it prompts, or its relation templates.")
    sources = [_source(fact, pair) for pair in listing(value.get("sources", []), "The sources")]
    rewrites = [_rewrite(fact, triple) for triple in listing(value.get("rewrites", []), "The rewrites")]
    return _Told(fact, wordings, sources, rewrites)


def _source(fact: Fact, value: Any) -> FactSource:
    dataset, key = parts(value, "The parts of a source", 2)
    found = noun(dataset, "The source's data set"), noun(key, "The source's key")
    return FactSource(fact.id, *together(found, "The source"))


def _rewrite(fact: Fact, value: Any) -> RequestedRewrite:
    dataset, key, new_object = parts(value, "The parts of a rewrite", 3)
    named = noun(dataset, "The rewrite's data set"), noun(key, "The rewrite's key"), noun(new_object, "The new object")
    return RequestedRewrite(fact.id, *together(named, "The rewrite"))


def _template(value: Any) -> _Wording:
    wording = _wording(value, "A template", ("role", "language"))
    if SUBJECT not in wording.text:
        raise BrokenError(
            f'The template "{wording.text}" lacks {SUBJECT}', f"Write {SUBJECT} where the subject stands."
        )
    return wording


def _prompt(value: Any) -> _Wording:
    return _wording(value, "A prompt", ("role", "language", "answer", "status"))


def _wording(value: Any, what: str, allowed: Sequence[str]) -> _Wording:
    if isinstance(value, str):
        value = {"text": value}
    keys(value, what, required=("text",), allowed=allowed)
    words, role = text(value["text"], f"{what}'s text"), choice(value.get("role", "attribute"), "role", ROLES)
    language, answer = text(value.get("language", "en"), f"{what}'s language"), value.get("answer")
    status = choice(value.get("status", "proposed"), "status", STATUSES)
    if role == "generate":
        if BLANK in words or answer is not None:
            raise BrokenError(
                f'{what} to generate from has an answer: "{words}"', f'Leave {BLANK} and "answer" out of it.'
            )
    elif words.count(BLANK) != 1:
        count = words.count(BLANK)
        raise BrokenError(
            f'{what} has {count} times {BLANK}: "{words}"', f"Write {BLANK} once, where the answer stands."
        )
    return _Wording(words, role, language, None if answer is None else noun(answer, "The answer"), status)

"""Facts written: as knedit's JSONL, which reads back equal, and as rows of a table, which many programs read.

Takes records in the order in which a reader yields them: a relation, its facts, each with its prompts and sources.
Knows nothing of where the records come from.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from knedit.catalog.formats.knedit_jsonl import Record
from knedit.catalog.formats.rows import COLUMNS
from knedit.catalog.formats.values import SUBJECT
from knedit.catalog.formats.writing import Row, replacing, write_table
from knedit.errors import FactsError
from knedit.records import Fact, FactSource, Prompt, Relation, RequestedRewrite

FACTS_A_LINE = 100


@dataclass(slots=True)
class _Whole:
    """A fact with its relation and all that hangs on it; or a relation of which there is no fact."""

    relation: Relation
    fact: Fact | None
    prompts: list[Prompt] = field(default_factory=list)
    sources: list[FactSource] = field(default_factory=list)
    rewrites: list[RequestedRewrite] = field(default_factory=list)


def write_jsonl(path: Path, records: Iterable[Record]) -> int:
    """Write knedit's JSONL; return how many facts there were."""
    count = 0
    with replacing(path) as file:
        for line in jsonl_lines(records):
            count += len(line["facts"])
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return count


def jsonl_lines(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Yield what the lines of knedit's JSONL hold."""
    for wholes in _by_line(_wholes(records)):
        relation = wholes[0].relation
        facts = [_told(whole, whole.fact) for whole in wholes if whole.fact]
        yield {"relation": relation.key, "label": relation.label, "facts": facts}


def write_rows(path: Path, records: Iterable[Record], format: str) -> int:
    """Write a row a prompt in one of WRITERS' formats; return how many there were.

    A relation's label, a prompt's status and requested rewrites have no column, a relation without facts no row.
    """
    return write_table(path, dict.fromkeys(COLUMNS, str), _rows(_wholes(records)), format)


def _wholes(records: Iterable[Record]) -> Iterator[_Whole]:
    whole = None
    for record in records:
        match record:
            case Relation():
                if whole is not None:
                    yield whole
                whole = _Whole(record, None)
            case Fact():
                assert whole is not None
                assert record.relation_id == whole.relation.id
                if whole.fact is not None:
                    yield whole
                whole = _Whole(whole.relation, record)
            case Prompt():
                assert whole is not None
                whole.prompts.append(record)
            case FactSource():
                assert whole is not None
                whole.sources.append(record)
            case RequestedRewrite():
                assert whole is not None
                whole.rewrites.append(record)
    if whole is not None:
        yield whole


def _by_line(wholes: Iterable[_Whole]) -> Iterator[list[_Whole]]:
    line: list[_Whole] = []
    for whole in wholes:
        if line and (line[0].relation != whole.relation or len(line) == FACTS_A_LINE):
            yield line
            line = []
        line.append(whole)
    if line:
        yield line


def _told(whole: _Whole, fact: Fact) -> dict[str, Any]:
    told: dict[str, Any] = {"subject": fact.subject, "object": fact.object}
    if fact.status != "proposed":
        told["status"] = fact.status
    told["prompts"] = [_prompt(fact, prompt) for prompt in whole.prompts]
    if whole.sources:
        told["sources"] = [[source.dataset, source.key] for source in whole.sources]
    if whole.rewrites:
        told["rewrites"] = [[wish.dataset, wish.key, wish.new_object] for wish in whole.rewrites]
    return told


def _prompt(fact: Fact, prompt: Prompt) -> Mapping[str, str] | str:
    if (prompt.answer is None) != (prompt.role == "generate"):
        cure = "Only prompts to generate from have none, and they never have one."
        raise FactsError(f'The answer of the prompt "{prompt.text}" cannot be told', fact.subject, cure)
    if SUBJECT in prompt.text:
        raise FactsError(f'The prompt "{prompt.text}" cannot be told', fact.subject, f"Take {SUBJECT} out of its text.")
    told = {"text": prompt.text}
    usual = {"role": "attribute", "language": "en", "status": "proposed", "answer": fact.object}
    for name, value in usual.items():
        if (given := getattr(prompt, name)) not in (value, None):
            told[name] = given
    return told if len(told) > 1 else prompt.text


def _rows(wholes: Iterable[_Whole]) -> Iterator[Row]:
    for whole in wholes:
        if whole.fact is None:
            continue
        first = [whole.relation.key, whole.fact.subject, whole.fact.object]
        pairs = list(zip_longest(whole.prompts, whole.sources)) or [(None, None)]
        for prompt, source in pairs:
            words = [prompt.text, prompt.role, prompt.language, prompt.answer] if prompt else [None] * 4
            yield [*first, *words, whole.fact.status, f"{source.dataset}:{source.key}" if source else None]

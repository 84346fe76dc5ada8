"""CounterFact: edits to be tested, each with its fact and prompts; a JSON list, or one object a line.

A fact is the true one; the object that the edit shall give it is told as a RequestedRewrite. Neighbourhood prompts ask
other subjects of which the true object holds as well; attribute prompts, which tell of the new object, are left out.
Source: Meng et al., "Locating and Editing Factual Associations in GPT", NeurIPS 2022.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knedit.catalog.formats.shapes import Glimpse
from knedit.catalog.formats.streams import Fault, each, elements, json_lines, opening, reader, unrepeated
from knedit.catalog.formats.values import (
    BrokenError,
    asked,
    filled,
    kind,
    listing,
    mapping,
    relation_key,
    statement,
    together,
    trimmed,
)
from knedit.records import Fact, FactSource, Prompt, Relation, RequestedRewrite

DATASET = "counterfact"

Record = Relation | Fact | Prompt | FactSource | RequestedRewrite


def fits(glimpse: Glimpse) -> bool:
    return "requested_rewrite" in glimpse.keys and glimpse.kind in ("lines", "list")


@reader
def read(path: Path, fault: Fault) -> Iterator[Record]:
    """Yield each record's relation, fact, prompts, case number and wish."""
    records = elements(path, fault) if opening(path) == "[" else json_lines(path, fault)
    return unrepeated(each(records, _records, fault))


def _records(value: Any) -> list[Record]:
    case = mapping(value, "The record", ("case_id", "requested_rewrite"))
    required = ("prompt", "relation_id", "target_true", "target_new", "subject")
    rewrite = mapping(case["requested_rewrite"], "The requested rewrite", required)
    relation = Relation.make(relation_key(rewrite["relation_id"]))
    subject, key = trimmed(rewrite["subject"], "The subject"), _case(case["case_id"])
    fact = Fact.make(relation.id, subject, _object(rewrite["target_true"], "The true object"))
    wish = (DATASET, key, _object(rewrite["target_new"], "The new object"))
    text = filled(rewrite["prompt"], subject, "The prompt")
    prompts = [Prompt.make(fact.id, "attribute", text, fact.object), *_prompts(case, fact)]
    return [
        relation,
        fact,
        *prompts,
        FactSource(fact.id, DATASET, key),
        RequestedRewrite(fact.id, *together(wish, "The wish")),
    ]


def _prompts(case: dict[str, Any], fact: Fact) -> Iterator[Prompt]:
    for key, role in (("paraphrase_prompts", "paraphrase"), ("neighborhood_prompts", "neighbour")):
        for words in listing(case.get(key, []), f"The {key}"):
            yield Prompt.make(fact.id, role, asked(words, "A prompt"), fact.object)
    for words in listing(case.get("generation_prompts", []), "The generation_prompts"):
        yield Prompt.make(fact.id, "generate", statement(words, "A prompt"), None)


def _object(value: Any, what: str) -> str:
    return trimmed(mapping(value, what, ("str",))["str"], what)


def _case(value: Any) -> str:
    if type(value) is not int or abs(value) > 2**63:
        raise BrokenError(f"The case_id is {kind(value)}", "Write a whole number.")
    return str(value)

"""ROME's known facts: a JSON list of facts that GPT-2 XL completes rightly, each with the prompt that it completed.

Knows nothing of the models that were tried. Source: Meng et al., NeurIPS 2022 (causal tracing).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knedit.catalog.formats.shapes import Glimpse
from knedit.catalog.formats.streams import Fault, each, elements, reader, unrepeated
from knedit.catalog.formats.values import BrokenError, asked, kind, mapping, relation_key, trimmed
from knedit.records import Fact, FactSource, Prompt, Relation

DATASET = "known-facts"

Record = Relation | Fact | Prompt | FactSource


def fits(glimpse: Glimpse) -> bool:
    return glimpse.kind == "list" and {"known_id", "attribute", "subject"} <= glimpse.keys


@reader
def read(path: Path, fault: Fault) -> Iterator[Record]:
    """Yield each record's relation, fact, prompt (with the words that the model put before the answer) and number."""
    return unrepeated(each(elements(path, fault), _records, fault))


def _records(value: Any) -> list[Record]:
    record = mapping(value, "The record", ("known_id", "subject", "attribute", "prompt", "relation_id"))
    if type(number := record["known_id"]) is not int or abs(number) > 2**63:
        raise BrokenError(f"The known_id is {kind(number)}", "Write a whole number.")
    relation = Relation.make(relation_key(record["relation_id"]))
    fact = Fact.make(relation.id, trimmed(record["subject"], "The subject"), trimmed(record["attribute"], "The object"))
    prompt = Prompt.make(fact.id, "attribute", asked(record["prompt"], "The prompt"), fact.object)
    return [relation, fact, prompt, FactSource(fact.id, DATASET, str(number))]

"""The list of facts of Dai et al.: query_pairs.json, {relation: [[subject, object], …]}, and patterns/ beside it.

A fact's key is its relation and its place in the list, from 0, as "P101#17": the published results are in that order.
relations.jsonl, where it is there, gives labels. Source: "Knowledge Neurons in Pretrained Transformers", ACL 2022.
"""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from knedit.catalog.formats.patterns import Told, patterns_in, relations_in, told
from knedit.catalog.formats.shapes import Glimpse
from knedit.catalog.formats.streams import Fault, each, entries, reader
from knedit.catalog.formats.values import listing, parts, relation_key
from knedit.records import Relation

DATASET = "kn-paper"
PAIRS = "query_pairs.json"
PATTERNS = "patterns"

logger = logging.getLogger(__name__)


def fits(glimpse: Glimpse) -> bool:
    return (glimpse.has(PAIRS) and glimpse.has(PATTERNS)) or (glimpse.path.name == PAIRS and glimpse.kind == "object")


def position_key(relation: str, position: int) -> str:
    """Return the key of the fact at a place, from 0, of its relation's list."""
    return f"{relation}#{position}"


@reader
def read(path: Path, fault: Fault) -> Iterator[Relation | Told]:
    """Yield each relation that has patterns, its facts, their prompts and their places in the list."""
    file = path / PAIRS if path.is_dir() else path
    labelled = relations_in(file.parent / "relations.jsonl", fault)
    for where, entry in entries(file, fault):
        for relation, pairs in each([(where, entry)], _list, fault):
            yield from _relation(labelled.get(relation.key, (relation, ""))[0], pairs, where, file=file, fault=fault)


def _list(entry: tuple[str, Any]) -> list[tuple[Relation, list[Any]]]:
    key, pairs = entry
    return [(Relation.make(relation_key(key)), listing(pairs, "The pairs"))]


def _relation(
    relation: Relation, pairs: list[Any], where: str, *, file: Path, fault: Fault
) -> Iterator[Relation | Told]:
    patterns = patterns_in(file.parent / PATTERNS / f"{relation.key}.jsonl", fault)
    if not patterns:
        logger.warning("%s has no patterns beside %s: its %d facts are left out", relation.key, file, len(pairs))
        return
    yield relation
    numbered = ((f"{where}, pair {number + 1}", (number, pair)) for number, pair in enumerate(pairs))
    yield from each(numbered, partial(_fact, relation, patterns), fault)


def _fact(relation: Relation, patterns: list[str], numbered: tuple[int, Any]) -> Iterator[Told]:
    number, pair = numbered
    subject, object = parts(pair, "The parts of a pair", 2)
    return told(relation, subject, object, patterns, (DATASET, position_key(relation.key, number)))

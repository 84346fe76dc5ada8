"""ParaRel: a folder with subjects and objects (trex_lms_vocab/) and patterns (pattern_data/graphs_json/), by relation.

One file of the vocabulary reads as one relation. Knows nothing of other data sets that use its uuids.
Source: Elazar et al., "Measuring and Improving Consistency in Pretrained Language Models", TACL 2021.
"""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from knedit.catalog.formats.patterns import Told, patterns_in, told
from knedit.catalog.formats.shapes import Glimpse
from knedit.catalog.formats.streams import Fault, each, json_lines, lines, reader
from knedit.catalog.formats.values import mapping, relation_key
from knedit.records import Relation

DATASET = "pararel"
VOCABULARY = "trex_lms_vocab"
PATTERNS = "pattern_data/graphs_json"

logger = logging.getLogger(__name__)


def fits(glimpse: Glimpse) -> bool:
    if glimpse.kind == "lines":
        return "sub_label" in glimpse.keys and "predicate_id" not in glimpse.keys
    return any(glimpse.has(f"{top}{VOCABULARY}") and glimpse.has(f"{top}{PATTERNS}") for top in ("", "data/"))


@reader
def read(path: Path, fault: Fault) -> Iterator[Relation | Told]:
    """Yield each relation that has patterns, its facts, their prompts and their uuids.

    A relation without patterns is left out and told in the log: there is nothing to ask its facts by.
    """
    top = path.parent.parent if path.is_file() else path
    if path.is_dir() and not (path / VOCABULARY).is_dir():
        top = path / "data"
    for vocabulary in [path] if path.is_file() else sorted((top / VOCABULARY).glob("*.jsonl")):
        yield from _relation(vocabulary, top / PATTERNS, fault)


def _relation(vocabulary: Path, folder: Path, fault: Fault) -> Iterator[Relation | Told]:
    relations = list(each([(str(vocabulary), vocabulary.stem)], lambda key: [Relation.make(relation_key(key))], fault))
    for relation in relations:
        if not (patterns := patterns_in(folder / vocabulary.name, fault)):
            count = sum(1 for _ in lines(vocabulary, fault))
            logger.warning("%s has no patterns in %s: its %d facts are left out", relation.key, folder, count)
            continue
        yield relation
        yield from each(json_lines(vocabulary, fault), partial(_fact, relation, patterns), fault)


def _fact(relation: Relation, patterns: list[str], line: Any) -> Iterator[Told]:
    record = mapping(line, "The record", ("sub_label", "obj_label", "uuid"))
    return told(relation, record["sub_label"], record["obj_label"], patterns, (DATASET, record["uuid"]))

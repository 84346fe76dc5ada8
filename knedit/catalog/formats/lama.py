"""LAMA's T-REx: JSON lines of facts, one file a relation, and relations.jsonl beside or above them with the templates.

The evidence sentences are left out: they often do not tell the object. Knows nothing of ParaRel, which shares uuids
but not all facts. Source: Petroni et al., "Language Models as Knowledge Bases?", EMNLP 2019.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from knedit.catalog.formats.patterns import Told, relations_in, told
from knedit.catalog.formats.shapes import Glimpse
from knedit.catalog.formats.streams import Fault, each, json_lines, reader, unrepeated
from knedit.catalog.formats.values import BrokenError, mapping, relation_key
from knedit.errors import FactsError
from knedit.records import Relation

DATASET = "lama-trex"
RELATIONS = "relations.jsonl"
FOLDER = "TREx"

Relations = dict[str, tuple[Relation, str]]


def fits(glimpse: Glimpse) -> bool:
    return (glimpse.has(FOLDER) and glimpse.has(RELATIONS)) or (
        glimpse.kind == "lines" and {"predicate_id", "sub_label"} <= glimpse.keys
    )


@reader
def read(path: Path, fault: Fault) -> Iterator[Relation | Told]:
    """Yield each file's relation, its facts, each with its relation's one prompt, and their uuids.

    Raise FactsError where there is no relations.jsonl. A fact of a relation that it lacks is a fault.
    """
    folder = path if path.is_dir() else path.parent
    listed = next((file for file in (folder / RELATIONS, folder.parent / RELATIONS) if file.is_file()), None)
    if listed is None:
        cure = f"Put LAMA's {RELATIONS} beside the facts or one folder above: it holds the templates."
        raise FactsError(f"There is no {RELATIONS}", str(folder), cure)
    relations = relations_in(listed, fault)
    for file in [path] if path.is_file() else sorted((folder / FOLDER).glob("*.jsonl")):
        yield from unrepeated(each(json_lines(file, fault), partial(_fact, relations), fault))


def _fact(relations: Relations, line: Any) -> Iterator[Relation | Told]:
    record = mapping(line, "The record", ("predicate_id", "sub_label", "obj_label", "uuid"))
    key = relation_key(record["predicate_id"])
    if key not in relations:
        raise BrokenError(f'The relation "{key}" is not in {RELATIONS}', "Add it there, with its template.")
    relation, template = relations[key]
    facts = told(relation, record["sub_label"], record["obj_label"], [template], (DATASET, record["uuid"]))
    return (record for part in ([relation], facts) for record in part)

"""The relations of LRE: a JSON object a file, with its templates (object last) and samples; or folders of them.

Templates with and without examples before them are all wordings to attribute by. Knows nothing of the relations'
types. Source: Hernandez et al., "Linearity of Relation Decoding in Transformer Language Models", ICLR 2024.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from knedit.catalog.formats.shapes import Glimpse, glimpse
from knedit.catalog.formats.streams import LONGEST, Fault, each, parse, reader, unrepeated
from knedit.catalog.formats.values import BrokenError, filled, listing, mapping, relation_key, trimmed
from knedit.errors import FactsError
from knedit.records import Fact, FactSource, Prompt, Relation

DATASET = "lre"

Record = Relation | Fact | Prompt | FactSource


def fits(seen: Glimpse) -> bool:
    if seen.kind == "object":
        return {"name", "prompt_templates"} <= seen.keys
    return seen.kind == "folder" and any(fits(glimpse(file)) for file in _files(seen.path)[:3])


@reader
def read(path: Path, fault: Fault) -> Iterator[Record]:
    """Yield each file's relation, its facts, their prompts, and their places in the file, from 0."""
    for file in [path] if path.is_file() else _files(path):
        yield from unrepeated(_file(file, fault))


def _files(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])


def _file(file: Path, fault: Fault) -> Iterator[Record]:
    if file.stat().st_size > LONGEST:
        fault(FactsError(f"The file is larger than {LONGEST:,} bytes", str(file), "Break it into several."))
        return
    for relation, templates, samples in each([(str(file), file)], _relation, fault):
        yield relation
        numbered = ((f"{file}, sample {number + 1}", (number, one)) for number, one in enumerate(samples))
        yield from each(numbered, partial(_fact, relation, templates, file.stem), fault)


def _relation(file: Path) -> list[tuple[Relation, list[str], list[Any]]]:
    with file.open("rb") as opened:
        value = parse(opened.read(LONGEST).removeprefix(b"\xef\xbb\xbf"))
    whole = mapping(value, "The file", ("name", "prompt_templates", "samples"))
    relation = Relation.make(relation_key(whole["name"]))
    names = ("prompt_templates", "prompt_templates_zs")
    given = [template for name in names for template in listing(whole.get(name, []), f"The {name}")]
    for template in given:
        filled(template, "", "A template")
    if not given:
        raise BrokenError("The relation has no template", "Give it one.")
    return [(relation, list(dict.fromkeys(given)), listing(whole["samples"], "The samples"))]


def _fact(relation: Relation, templates: list[str], name: str, numbered: tuple[int, Any]) -> Iterator[Record]:
    number, value = numbered
    sample = mapping(value, "The sample", ("subject", "object"))
    subject, object = trimmed(sample["subject"], "The subject"), trimmed(sample["object"], "The object")
    return _told(Fact.make(relation.id, subject, object), templates, f"{name}#{number}")


def _told(fact: Fact, templates: list[str], key: str) -> Iterator[Record]:
    yield fact
    for template in templates:
        yield Prompt.make(fact.id, "attribute", filled(template, fact.subject, "A template"), fact.object)
    yield FactSource(fact.id, DATASET, key)

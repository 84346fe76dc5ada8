"""Patterns with [X] for the subject and [Y] for the object, as ParaRel, LAMA and the paper write them, one JSON a line.

Knows nothing of the facts that are put into them. Source: Elazar et al., ParaRel, TACL 2021.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from knedit.catalog.formats.streams import Fault, each, json_lines
from knedit.catalog.formats.values import BrokenError, mapping, relation_key, statement, together, trimmed
from knedit.errors import FactsError
from knedit.records import BLANK, Fact, FactSource, Prompt, Relation

MANY = 10_000  # relations of a list, and patterns of a relation: far more than there are

Told = Fact | Prompt | FactSource


def pattern(value: Any) -> str:
    """Return a pattern without the blanks at its ends; raise BrokenError unless it has one [X] and one [Y]."""
    words = statement(value, "The pattern")
    for blank in ("[X]", "[Y]"):
        if (count := words.count(blank)) != 1:
            raise BrokenError(f'The pattern has {count} times {blank}: "{words}"', f"Write {blank} once.")
    return words


def patterns_in(path: Path, fault: Fault) -> list[str]:
    """Return a relation's patterns, without repeats, none where there is no such file."""
    if not path.is_file():
        return []
    found = each(
        json_lines(path, fault), lambda line: [pattern(mapping(line, "The record", ("pattern",))["pattern"])], fault
    )
    return list(dict.fromkeys(_few(found, path)))


def relations_in(path: Path, fault: Fault) -> dict[str, tuple[Relation, str]]:
    """Return LAMA's relations by key, each with its own pattern; none where there is no such file."""
    if not path.is_file():
        return {}
    return dict(_few(each(json_lines(path, fault), _relation, fault), path))


def told(
    relation: Relation, subject: Any, object: Any, patterns: Sequence[str], source: tuple[str, str]
) -> Iterator[Told]:
    """Return the fact, its prompts, one a pattern and all to attribute by, and where it was told."""
    fact = Fact.make(relation.id, trimmed(subject, "The subject"), trimmed(object, "The object"))
    dataset, key = source
    named = FactSource(fact.id, *together((dataset, trimmed(key, "The fact's key")), "The fact's source"))
    return _told(fact, patterns, named)


def _told(fact: Fact, patterns: Sequence[str], source: FactSource) -> Iterator[Told]:
    yield fact
    for words in patterns:
        text = words.replace("[Y]", BLANK).replace("[X]", fact.subject)
        yield Prompt.make(fact.id, "attribute", text, fact.object)
    yield source


def _relation(line: Any) -> list[tuple[str, tuple[Relation, str]]]:
    record = mapping(line, "The record", ("relation", "template"))
    key = relation_key(record["relation"])
    label = trimmed(record.get("label", key), "The label")
    return [(key, (Relation.make(key, label), pattern(record["template"])))]


def _few(things: Iterator[Any], path: Path) -> Iterator[Any]:
    for number, thing in enumerate(things):
        if number == MANY:
            raise FactsError(f"The file has more than {MANY:,} records", str(path), "Is it the right file?")
        yield thing

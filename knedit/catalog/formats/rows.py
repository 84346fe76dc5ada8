"""Facts as rows of a table: relation, subject and object, and where a row has them a prompt, a status and a source.

The same columns in CSV, Parquet and Arrow. A source is DATASET:KEY. Knows nothing of the files that hold the rows.
"""

from collections.abc import Collection, Mapping
from typing import Any

from knedit.catalog.formats.values import SUBJECT, BrokenError, choice, listed, near, noun, relation_key, text, together
from knedit.records import BLANK, ROLES, STATUSES, Fact, FactSource, Prompt, Relation

REQUIRED = ("relation", "subject", "object")
OPTIONAL = ("text", "role", "language", "answer", "status", "source")
COLUMNS = (*REQUIRED, *OPTIONAL)

_OTHER_NAMES = {"prompt": "text"}

Record = Relation | Fact | Prompt | FactSource


def columns(names: Collection[str]) -> list[str]:
    """Return the columns of a table's header; raise BrokenError where one is missing, unknown, or there twice."""
    found = [_OTHER_NAMES.get(name.strip(), name.strip()) for name in names]
    for name in found:
        if name not in COLUMNS:
            raise BrokenError(f'There is no column "{name[:80]}" of facts', near(name, COLUMNS))
        if found.count(name) > 1:
            raise BrokenError(f'The column "{name}" stands twice', "Keep one of the two.")
    for name in REQUIRED:
        if name not in found:
            raise BrokenError(f'The column "{name}" is missing', f"The first row names the columns: {listed(COLUMNS)}.")
    return found


def records_of(row: Mapping[str, Any]) -> list[Record]:
    """Return a row's relation and fact, and its prompt and source where it has them. Blanks at the ends are no part."""
    cells = {name: cell.strip() if isinstance(cell, str) else cell for name, cell in row.items()}
    given = {name: cell for name, cell in cells.items() if cell not in (None, "")}
    relation = Relation.make(relation_key(cells["relation"]))
    subject, object = noun(cells["subject"], "The subject"), noun(cells["object"], "The object")
    status = choice(given.get("status", "proposed"), "status", STATUSES)
    fact = Fact.make(relation.id, subject, object, status)
    return [relation, fact, *_prompts(given, fact), *_sources(given, fact)]


def _prompts(given: Mapping[str, Any], fact: Fact) -> list[Prompt]:
    if "text" not in given:
        if alone := [name for name in ("role", "language", "answer") if name in given]:
            raise BrokenError(f"The row has a prompt's {alone[0]} and no text", "Give it the prompt's text.")
        return []
    words = text(given["text"], "The prompt").replace(SUBJECT, fact.subject)
    role = choice(given.get("role", "attribute"), "role", ROLES)
    language = text(given.get("language", "en"), "The language")
    if role == "generate":
        if BLANK in words or "answer" in given:
            raise BrokenError(
                f'A prompt to generate from has an answer: "{words}"', f"Leave {BLANK} and the answer out."
            )
        return [Prompt.make(fact.id, role, words, None, language=language)]
    if (count := words.count(BLANK)) != 1:
        raise BrokenError(f'The prompt has {count} times {BLANK}: "{words}"', f"Write {BLANK} once.")
    return [Prompt.make(fact.id, role, words, noun(given.get("answer", fact.object), "The answer"), language=language)]


def _sources(given: Mapping[str, Any], fact: Fact) -> list[FactSource]:
    if "source" not in given:
        return []
    dataset, colon, key = noun(given["source"], "The source").partition(":")
    if not (dataset.strip() and colon and key.strip()):
        raise BrokenError(
            f'The source "{given["source"]}" is not DATASET:KEY', "Write both, with a colon between them."
        )
    return [FactSource(fact.id, *together((dataset.strip(), key.strip()), "The source"))]

"""Keys of the catalog's rows in words: the fact's subject and object, the checkpoint's name, in place of numbers.

Reads what it needs in one statement for each kind of thing that many keys refer to.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select

from knedit.catalog.rows import BATCH, batches
from knedit.catalog.schema import checkpoints, facts, prompts, relations
from knedit.records import show_id

_FACT = (
    select(facts.c.id, relations.c.key + "/" + facts.c.subject + "=" + facts.c.object)
    .select_from(facts)
    .join(relations, relations.c.id == facts.c.relation_id)
)
_WORDED = {
    "fact": (_FACT, facts.c.id),
    "prompt": (select(prompts.c.id, prompts.c.text), prompts.c.id),
    "checkpoint": (select(checkpoints.c.id, checkpoints.c.name), checkpoints.c.id),
    "relation": (select(relations.c.id, relations.c.key), relations.c.id),
}
_NOUNS = {
    "attribution_runs": "run",
    "degenerate_sets": "set",
    "status_changes": "change",
    "fact_notes": "note",
    "neuron_notes": "note",
}


def describe(connection: Connection, table: Table, keys: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each of the table's keys in words, as `fact capital/France=Paris, label doubtful`."""
    wanted: dict[str, set[int]] = {}
    for key in keys:
        for name, value in key.items():
            if (noun := _noun(table, name)) in _WORDED:
                wanted.setdefault(noun, set()).add(value)
    known = {noun: _words(connection, noun, ids) for noun, ids in wanted.items()}
    return [_in_words(table, key, known) for key in keys]


def _words(connection: Connection, noun: str, ids: set[int]) -> dict[int, str]:
    statement, own = _WORDED[noun]
    return {
        row[0]: row[1]
        for batch in batches(sorted(ids), BATCH)
        for row in connection.execute(statement.where(own.in_(batch)))
    }


def _in_words(table: Table, key: Mapping[str, Any], known: Mapping[str, Mapping[int, str]]) -> str:
    parts = []
    for name, value in key.items():
        noun = _noun(table, name)
        shown = show_id(value) if name == "id" or name.endswith("_id") else str(value)
        parts.append(f"{noun} {known.get(noun, {}).get(value, shown)}")
    return ", ".join(parts)


def _noun(table: Table, name: str) -> str:
    if name == "id":
        return _NOUNS.get(table.name, table.name.removesuffix("s"))
    return name.removesuffix("_id")

"""Damaged files: whatever is wrong, a reader gives correct records or a clear FactsError, and nothing else.

And an import takes all of the correct ones, or nothing.
"""

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from knedit.catalog.columns import SUBJECT_LENGTH
from knedit.catalog.formats.registry import FORMATS, NEURON_FORMATS, detect
from knedit.catalog.formats.streams import stop
from knedit.catalog.formats.values import TEXT_LENGTH
from knedit.catalog.schema import metadata
from knedit.catalog.store import Catalog
from knedit.errors import FactsError, KneditError
from knedit.flows.facts import import_file
from knedit.flows.published import import_neurons
from knedit.records import (
    ROLES,
    STATUSES,
    Fact,
    FactSource,
    Prompt,
    PublishedNeurons,
    PublishedScores,
    Relation,
    RequestedRewrite,
    show_id,
)
from tests.catalog.formats import making
from tests.catalog.formats.making import EVERY, Make

ROUNDS = int(os.environ.get("KNEDIT_MUTATIONS", "25"))  # a format
EVERYTHING = {**FORMATS, **NEURON_FORMATS}

BAD_WORDS = [
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"9" * 5000,
    b"NaN",
    b"[]",
    b"{}",
    b'""',
    b'"\\ud83d"',
    b'"\\u0000"',
    b"\0",
    b"\xff",
    b"\xed\xa0\xbd",
    b"\xef\xbb\xbf",
    b'"',
    b"\\",
    b"\r",
    b"\n",
    b",",
    b"\t",
    b"/",
    b"../../x",
    b"{object}",
    b"{subject}",
    b"[X]",
    b"'; DROP TABLE facts; --",
    b"<script>alert(1)</script>",
    b"[" * 3000,
    b'{"a":' * 3000,
    b"x" * 200_000,
]


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def insert(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.choice(BAD_WORDS) + content[at:]


def replace(content: bytes, chance: random.Random) -> bytes:
    start, length = chance.randrange(len(content)), chance.randint(1, 12)
    return content[:start] + chance.choice(BAD_WORDS) + content[start + length :]


def replace_part(content: bytes, chance: random.Random) -> bytes:
    """Put something else where a text, a number or a bracket stands."""
    parts = [part for part in (b'"', b"[", b"{", b":", b"1", b"France", b"Hill", b"P1", b"Ada") if part in content]
    return content.replace(chance.choice(parts), chance.choice(BAD_WORDS), chance.randint(1, 2)) if parts else content


def drop(content: bytes, chance: random.Random) -> bytes:
    start, length = chance.randrange(len(content)), chance.randint(1, 60)
    return content[:start] + content[start + length :]


def double(content: bytes, chance: random.Random) -> bytes:
    start, length = chance.randrange(len(content)), chance.randint(1, 80)
    return content[: start + length] + content[start:]


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    cut, flip, insert, replace, replace_part, replace_part, drop, double,
]  # fmt: skip


def check(record: object) -> None:
    """Hold what every reader promises of a record."""
    texts: list[str | None] = []
    match record:
        case Relation(key=key, label=label):
            texts = [key, label]
            assert "/" not in key
        case Fact(subject=subject, object=object, status=status):
            texts = [subject, object]
            assert status in STATUSES
            assert max(len(subject), len(object)) <= SUBJECT_LENGTH
        case Prompt(role=role, text=text, answer=answer, language=language):
            texts = [text, answer, language]
            assert role in ROLES
            assert (text.count("{object}"), answer is None) == ((0, True) if role == "generate" else (1, False))
        case FactSource(dataset=dataset, key=key):
            texts = [dataset, key]
        case PublishedNeurons(neurons=neurons):
            assert all(layer >= 0 and index >= 0 for layer, index in neurons)
    for one in texts:
        if one is not None:
            one.encode()
            assert one == one.strip() != ""
            assert "\0" not in one
            assert len(one) <= TEXT_LENGTH * SUBJECT_LENGTH


def read_all(name: str, path: Path, fault: Callable[[FactsError], None]) -> None:
    """Read a path and hold that a thing comes before what hangs on it."""
    seen: set[int] = set()
    for record in EVERYTHING[name].read(path, fault):
        check(record)
        if isinstance(record, Relation | Fact):
            seen.add(record.id)
        if isinstance(record, Fact):
            assert record.relation_id in seen
        if isinstance(record, Prompt | FactSource):
            assert record.fact_id in seen


def damaged(path: Path, chance: random.Random) -> Iterator[int]:
    """Damage a file of the path in one way after the other, each time beginning with the whole one."""
    files = sorted(file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    whole = {file: file.read_bytes() for file in files}
    for number in range(ROUNDS):
        file = chance.choice(files)
        content = whole[file]
        for _ in range(chance.randint(1, 2)):
            content = chance.choice(MUTATIONS)(content or b" ", chance)
        file.write_bytes(content)
        yield number
        file.write_bytes(whole[file])


@pytest.mark.parametrize(("name", "make"), EVERY, ids=[make.__name__ for _, make in EVERY])
def test_a_damaged_file_gives_correct_records_or_a_clear_error(tmp_path: Path, name: str, make: Make) -> None:
    path = make(tmp_path)
    alike = FORMATS if name in FORMATS else NEURON_FORMATS
    told = 0
    for number in damaged(path, random.Random(name + make.__name__)):
        faults: list[FactsError] = []
        for attempt in (partial(read_all, name, path, faults.append), partial(detect, path, alike)):
            try:
                attempt()
            except FactsError as error:
                faults.append(error)
        for fault in faults:
            told += 1
            assert fault.what, number
            str(fault).encode()
            assert "\0" not in str(fault)
    assert told > ROUNDS // 10


NOUNS: dict[type[Any], str] = {Relation: "relations", Fact: "facts", Prompt: "prompts"}
LISTS: dict[type[Any], str] = {FactSource: "fact_sources", RequestedRewrite: "requested_rewrites"}
PUBLISHED = ("attribution_runs", "prompt_attributions", "neuron_scores", "refinements", "refined_facts")
COUNTED = ("knowledge_neurons", "neuron_counts", "refined_relations")
FILLED = (*NOUNS.values(), *LISTS.values(), "checkpoints", *PUBLISHED, *COUNTED)


def held(catalog: Catalog) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of the tables that imports fill."""
    return {name: [tuple(row) for row in catalog.table_rows(name)[1]] for name in FILLED}


def empty(catalog: Catalog, kept: dict[str, list[tuple[object, ...]]]) -> None:
    """Take out what an import put in where the tables of `kept` have no rows."""
    with catalog._writing() as connection:
        for table in reversed(metadata.sorted_tables):
            if table.name in FILLED and not kept[table.name]:
                connection.execute(delete(table))


def read_whole(name: str, path: Path, fault: Callable[[FactsError], None]) -> list[Any]:
    return list(EVERYTHING[name].read(path, fault))


def assert_facts_taken(records: list[Any], after: dict[str, list[tuple[object, ...]]]) -> None:
    """Hold that the catalog has what was told, no more and no less."""
    for kind, table in NOUNS.items():
        told = {show_id(one.id) for one in records if type(one) is kind}
        assert {row[0] for row in after[table]} == told
    for kind, table in LISTS.items():
        assert set(after[table]) == {
            (show_id(one.fact_id), *(getattr(one, field) for field in one.__slots__[1:]))
            for one in records
            if type(one) is kind
        }


def assert_neurons_taken(records: list[Any], after: dict[str, list[tuple[object, ...]]]) -> None:
    """Hold that every known fact has the neurons that were told of it first, and every known prompt its scores."""
    sources = {(dataset, key): fact_id for fact_id, dataset, key in after["fact_sources"]}
    neurons: dict[tuple[object, str], set[tuple[int, int]]] = {}
    for one in records:
        if isinstance(one, PublishedNeurons) and (one.dataset, one.key) in sources:
            neurons.setdefault((sources[one.dataset, one.key], one.method), set(one.neurons))
    told = sorted((fact_id, *place) for (fact_id, _), places in neurons.items() for place in places)
    assert sorted(row[1:4] for row in after["knowledge_neurons"]) == told
    assert len(after["refined_facts"]) == len(neurons)
    scores = {score for one in records if isinstance(one, PublishedScores) for score in one.scores}
    assert {row[2:] for row in after["neuron_scores"]} <= scores
    assert len(after["prompt_attributions"]) <= len([one for one in records if isinstance(one, PublishedScores)])


@pytest.mark.parametrize(("name", "make"), EVERY, ids=[make.__name__ for _, make in EVERY])
def test_a_damaged_file_is_imported_rightly_or_not_at_all(
    tmp_path: Path, sqlite_catalog_url: str, name: str, make: Make
) -> None:
    (tmp_path / "damaged").mkdir()
    path, taken = make(tmp_path / "damaged"), 0
    with Catalog(sqlite_catalog_url) as catalog:
        if name in NEURON_FORMATS:
            for world in (making.pararel, making.kn_paper):
                import_file(catalog, world(tmp_path))
        before = held(catalog)
        for number in damaged(path, random.Random(make.__name__ + name)):
            fault = [stop, list[FactsError]().append][number % 2]
            try:
                if name in NEURON_FORMATS:
                    import_neurons(catalog, path, "bert", revision="main", format=name, fault=fault)
                else:
                    import_file(catalog, path, format=name, fault=fault)
            except KneditError:
                assert held(catalog) == before, number
                continue
            taken += 1
            check_taken = assert_neurons_taken if name in NEURON_FORMATS else assert_facts_taken
            check_taken(read_whole(name, path, fault), held(catalog))
            empty(catalog, before)
    assert 0 < taken < ROUNDS

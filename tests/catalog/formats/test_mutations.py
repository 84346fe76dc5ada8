"""Damaged files: whatever is wrong, a reader gives correct records or a clear FactsError, and nothing else."""

import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from knedit.catalog.columns import SUBJECT_LENGTH
from knedit.catalog.formats.registry import FORMATS, NEURON_FORMATS, detect
from knedit.catalog.formats.values import TEXT_LENGTH
from knedit.errors import FactsError
from knedit.records import ROLES, STATUSES, Fact, FactSource, Prompt, PublishedNeurons, Relation
from tests.catalog.formats.making import EVERY, Make

ROUNDS = int(os.environ.get("KNEDIT_MUTATIONS", "200"))  # a format
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


@pytest.mark.parametrize(("name", "make"), EVERY, ids=[make.__name__ for _, make in EVERY])
def test_a_damaged_file_gives_correct_records_or_a_clear_error(tmp_path: Path, name: str, make: Make) -> None:
    path = make(tmp_path)
    files = sorted(file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    whole = {file: file.read_bytes() for file in files}
    alike = FORMATS if name in FORMATS else NEURON_FORMATS
    chance, told = random.Random(name + make.__name__), 0
    for number in range(ROUNDS):
        file = chance.choice(files)
        content = whole[file]
        for _ in range(chance.randint(1, 2)):
            content = chance.choice(MUTATIONS)(content or b" ", chance)
        file.write_bytes(content)
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
        file.write_bytes(whole[file])
    assert told > ROUNDS // 10

"""Records of files that are too long, too deep, or of the wrong kind; and how little of a file is held at a time."""

import json
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from knedit.catalog.formats import streams
from knedit.catalog.formats.registry import FORMATS, NEURON_FORMATS
from knedit.catalog.formats.streams import elements, entries, json_lines
from knedit.errors import FactsError  # noqa: TC001
from tests.catalog.formats import making


def collected(read: Any, path: Path) -> tuple[list[Any], list[tuple[str, str]]]:
    """Return the values that a stream yields, and what and where its faults are."""
    faults: list[FactsError] = []
    values = [value for _, value in read(path, faults.append)]
    return values, [(fault.what, fault.where.removeprefix(f"{path}, ")) for fault in faults]


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "file.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 2**16])
def test_parts_are_the_same_for_every_size_of_chunk(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CHUNK", chunk)
    values: list[Any] = [{"é": [1, 2.5, "a\nb"]}, 17, -3, "ü", None, True, [], 12345678901234567890]
    path = write(tmp_path, b"\xef\xbb\xbf \n" + json.dumps(values, indent=2, ensure_ascii=False).encode() + b"\n ")
    places = [where.rpartition(" ")[2] for where, _ in elements(path, streams.stop)]
    assert (collected(elements, path), places[:3]) == ((values, []), ["3", "10", "11"])
    table = {f"k {number}": value for number, value in enumerate(values)}
    path = write(tmp_path, json.dumps(table, ensure_ascii=False))
    assert collected(entries, path) == (list(table.items()), [])


@pytest.mark.parametrize(
    ("text", "values", "fault"),
    [
        ("[]", [], None),
        ("[1, 2", [1, 2], ("The JSON breaks off", "line 1")),
        ("[1,\n2 3]", [1, 2], ("There is '3' where ']' is due", "line 2")),
        ("[1]\n\nx", [1], ("Something follows the end of the JSON", "line 3")),
        ("{}", [], ("There is '{' where '[' is due", "line 1")),
        ("", [], ("The JSON breaks off", "line 1")),
        ("[1,\n nul]", [1], ("This is not JSON: Expecting value", "line 2")),
        ("[1, NaN]", [1], ("This is not JSON that can be read", "line 1")),
        ("[" * 5000, [], ("This is not JSON that can be read", "line 1")),
        ('[1,\n{"a": 1, "a": 2}, 3]', [1, 3], ('The key "a" stands twice in one object', "line 2")),
        (b'[1, "\xff"]', [], ("The file is not UTF-8", "line 1")),
        (b'[1, "\xe2\x82', [1], ("The file is not UTF-8", "line 1")),
    ],
)
def test_reading_ends_where_a_list_is_no_longer_json(
    tmp_path: Path, text: str | bytes, values: list[Any], fault: tuple[str, str] | None
) -> None:
    assert collected(elements, write(tmp_path, text)) == (values, [fault] if fault else [])


def test_a_key_that_is_none_ends_an_object(tmp_path: Path) -> None:
    path = write(tmp_path, '{"a": 1, b: 2}')
    assert collected(entries, path) == ([("a", 1)], [("There is no key in quotes where one is due", "line 1")])


def test_a_line_that_is_too_long_is_passed_over_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LONGEST", 100)
    path = write(tmp_path, "1\n" + "x" * 1000 + "\n\n2\n" + "y" * 101)
    too_long = "The line is longer than 100 bytes"
    assert collected(json_lines, path) == ([1, 2], [(too_long, "line 2"), (too_long, "line 5")])


def test_an_element_that_is_too_long_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LONGEST", 100)
    monkeypatch.setattr(streams, "CHUNK", 10)
    path = write(tmp_path, '[1, "' + "x" * 1000 + '", 2]')
    assert collected(elements, path) == ([1], [("A record is longer than 100 characters", "line 1")])


def peak_of(records: Iterator[Any]) -> int:
    """Return the bytes that taking all records one by one needed at most, beyond what was held before."""
    tracemalloc.start()
    try:
        taken = sum(1 for _ in records)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken > 0
    return peak


def many(value: Any, count: int) -> list[Any]:
    return [value] * count


def rows(folder: Path, count: int) -> Path:
    path = folder / "facts.csv"
    path.write_text("relation,subject,object,text\n" + 'P1,Hill,Ada,"{subject} houses {object}"\n' * count)
    return path


def lama(folder: Path, count: int) -> Path:
    path = making.lama(folder)
    making.write_lines(path / "TREx/P1.jsonl", many(making.LAMA[0], count))
    return path


def jsonl(folder: Path, count: int) -> Path:
    return making.write_lines(folder / "facts.jsonl", many(making.KNEDIT[1], count))


def zsre(folder: Path, count: int) -> Path:
    return making.write_json(folder / "zsre.json", many(making.ZSRE[0], count))


def neurons(folder: Path, count: int) -> Path:
    table = {f"u-{number}": [[10, 188]] * 10 for number in range(count)}
    return making.write_json(folder / "x_neurons_0.json", table)


@pytest.mark.parametrize(
    ("name", "make", "count"),
    [
        ("csv", rows, 8000),
        ("lama", lama, 3000),
        ("knedit-jsonl", jsonl, 3000),
        ("zsre", zsre, 1600),
        ("eleuther", neurons, 2400),
    ],
)
def test_a_file_of_eight_times_the_length_needs_no_more_memory(
    tmp_path: Path, name: str, make: Any, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CHUNK", 4096)
    peaks = []
    for length in (count // 8, count):
        folder = tmp_path / str(length)
        folder.mkdir()
        path = make(folder, length)
        peaks.append(peak_of({**FORMATS, **NEURON_FORMATS}[name].read(path)))
        size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*.jsonl")))
    assert peaks[1] < 1.2 * peaks[0] + 20_000
    assert size > 1.5 * peaks[1]


def test_a_line_of_many_facts_and_templates_is_not_multiplied_in_memory(tmp_path: Path) -> None:
    templates = [f"{{subject}} {number} {{object}}" for number in range(2000)]
    line = {"relation": "P1", "templates": templates, "facts": [[str(number), "Ada"] for number in range(2000)]}
    path = making.write_lines(tmp_path / "facts.jsonl", [line])
    assert peak_of(islice(FORMATS["knedit-jsonl"].read(path), 20_000)) < 10_000_000

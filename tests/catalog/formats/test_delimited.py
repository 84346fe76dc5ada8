"""What is wrong with a CSV is told with its line, and the rows around it are read."""

from pathlib import Path

import pytest

from knedit.catalog.formats import delimited
from knedit.errors import FactsError
from knedit.records import Fact, Prompt, Relation

HEADER = "relation,subject,object,text,role,language,answer,status,source"
CAPITAL = Relation.make("capital")
LIMA, OSLO = (Fact.make(CAPITAL.id, *pair) for pair in (("Peru", "Lima"), ("Norway", "Oslo")))


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "facts.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


FAULTS: dict[str, tuple[bytes, str]] = {
    "too few cells": (b"capital,France", "The row has 2 cells, the header 9"),
    "too many cells": (b"capital,France,Paris,,,,,,,", "The row has 10 cells, the header 9"),
    "no subject": (b"capital,,Paris,,,,,,", "The subject is empty"),
    "NUL": (b"capital,Fra\0nce,Paris,,,,,,", "The subject holds a NUL or half a character"),
    "half a character": (b"capital,\xed\xa0\xbd,Paris,,,,,,", "Byte 9 of the line is not UTF-8"),
    "Latin-1": (b"capital,caf\xe9,Paris,,,,,,", "Byte 12 of the line is not UTF-8"),
    "role": (b"capital,France,Paris,{object},atribute,,,,", 'There is no role "atribute"'),
    "status": (b"capital,France,Paris,{object},,,,done,", 'There is no status "done"'),
    "no blank": (b"capital,France,Paris,It is,,,,,", 'The prompt has 0 times {object}: "It is"'),
    "generate": (b"capital,France,Paris,It is,generate,,Paris,,", "A prompt to generate from has an answer"),
    "no text": (b"capital,France,Paris,,paraphrase,,,,", "The row has a prompt's role and no text"),
    "source": (b"capital,France,Paris,,,,,,atlas", 'The source "atlas" is not DATASET:KEY'),
    "slash": (b"a/b,France,Paris,,,,,,", 'The relation\'s key "a/b" has a "/"'),
    "quote": (b'capital,"France"x,Paris,,,,,,', "The row is not as CSV should be: ',' expected after '\"'"),
    "huge field": (b"capital," + b"x" * 140_000 + b",Paris,,,,,,", "The row is not as CSV should be: field larger"),
    "huge row": (b"capital," + b"x" * 1_100_000 + b",Paris,,,,,,", "The row is longer than 1,048,576 bytes"),
}


@pytest.mark.parametrize(("row", "what"), FAULTS.values(), ids=FAULTS.keys())
def test_a_broken_row_is_told_with_its_line_and_the_next_is_read(tmp_path: Path, row: bytes, what: str) -> None:
    lines = [HEADER.encode(), b"capital,Peru,Lima,,,,,,", row, b"capital,Norway,Oslo,,,,,,", b""]
    path, faults = write(tmp_path, b"\n".join(lines)), list[FactsError]()
    assert list(delimited.read(path, faults.append)) == [CAPITAL, LIMA, OSLO]
    assert [fault.where for fault in faults] == [f"{path}, line 3"]
    assert faults[0].what.startswith(what)
    with pytest.raises(FactsError, match="line 3"):
        list(delimited.read(path))


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ("subject,object", 'The column "relation" is missing'),
        ("relation,subject,object,subject", 'The column "subject" stands twice'),
        ("relation,subject,object,text,prompt", 'The column "text" stands twice'),
        ("relation,subject,objekt", 'There is no column "objekt" of facts'),
        ("capital,France,Paris", 'There is no column "capital" of facts'),
        ("", 'The column "relation" is missing'),
    ],
)
def test_a_header_that_is_not_as_it_should_be_is_refused(tmp_path: Path, header: str, what: str) -> None:
    with pytest.raises(FactsError) as caught:
        list(delimited.read(write(tmp_path, f"{header}\ncapital,France,Paris\n"), list[FactsError]().append))
    assert (caught.value.what, caught.value.where) == (what, f"{tmp_path / 'facts.csv'}, line 1")


def test_a_byte_order_mark_blank_lines_and_any_order_of_columns_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path, '\ufeff object ,text,relation,subject\r\n\r\n Lima ,"{subject}, {object}",capital,Peru\r\n')
    prompt = Prompt.make(LIMA.id, "attribute", "Peru, {object}", "Lima")
    assert list(delimited.read(path)) == [CAPITAL, LIMA, prompt]


def test_an_open_quote_over_many_lines_is_not_read_whole(tmp_path: Path) -> None:
    endless = 'x\n","' * 220_000
    path, faults = write(tmp_path, f'relation,subject,object\ncapital,Peru,"{endless}'), list[FactsError]()
    assert list(delimited.read(path, faults.append)) == []
    assert "longer than" in faults[0].what

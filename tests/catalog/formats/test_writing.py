import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knedit.catalog.formats import delimited, eleuther, knedit_jsonl, writing_facts
from knedit.catalog.formats.writing import WRITERS, columns_of, row_of, write_table, writer_of
from knedit.errors import FactsError
from knedit.records import ROLES, STATUSES, AttributionRun, Fact, FactSource, Prompt, PublishedNeurons, Relation
from tests.catalog.formats import making

COLUMNS: dict[str, type] = {"name": str, "count": int, "share": float, "hub": bool, "at": datetime}
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ROWS: list[list[Any]] = [
    ['=1+1, "x"\ny', 2**62, 0.5, True, NOON],
    [None, None, None, None, None],
    ["é", -1, 1e300, False, NOON],
]


def test_a_table_is_written_as_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    assert write_table(path, COLUMNS, iter(ROWS), "jsonl") == 3
    moments = [[*row[:4], row[4] and row[4].isoformat()] for row in ROWS]
    assert [list(json.loads(line).values()) for line in path.read_text().splitlines()] == moments


@pytest.mark.parametrize(("format", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_a_table_is_written_with_every_cell_quoted_and_as_it_is(tmp_path: Path, format: str, delimiter: str) -> None:
    path = tmp_path / "t"
    assert write_table(path, COLUMNS, iter(ROWS), format) == 3
    cells = [
        ["" if value is None else value.isoformat() if value is NOON else str(value) for value in row] for row in ROWS
    ]
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file, delimiter=delimiter)) == [list(COLUMNS), *cells]
    assert path.read_text().startswith(f'"name"{delimiter}"count"')


def test_a_table_is_written_as_parquet_with_its_types(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    assert write_table(path, COLUMNS, iter(ROWS), "parquet") == 3
    table = pyarrow.parquet.read_table(path)
    assert [list(row.values()) for row in table.to_pylist()] == ROWS
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "double", "bool", "timestamp[us, tz=UTC]"]


def test_any_record_has_columns_and_a_row() -> None:
    run = AttributionRun(255, 16, {"rule": "left"}, "1", NOON)
    assert columns_of(AttributionRun) == {
        "id": str, "checkpoint_id": str, "config": str, "version": str, "started_at": datetime, "finished_at": datetime,
    }  # fmt: skip
    assert row_of(run) == ["00000000000000ff", "0000000000000010", '{"rule": "left"}', "1", NOON, None]


@pytest.mark.parametrize("format", list(WRITERS))
def test_what_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path: Path, format: str) -> None:
    def broken() -> Iterator[list[Any]]:
        yield ROWS[0]
        raise RuntimeError("power")

    path = tmp_path / "table"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="power"):
        write_table(path, COLUMNS, broken(), format)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("table", "old")]


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(FactsError, match="The file cannot be written: No such file"):
        write_table(tmp_path / "nowhere" / "t.csv", COLUMNS, [], "csv")
    with pytest.raises(FactsError, match='There is no format "xls" to write'):
        write_table(tmp_path / "t", COLUMNS, [], "xls")
    with pytest.raises(FactsError, match=r'No format is known by the ending of "t.xls"'):
        writer_of(tmp_path / "t.xls")


RELATION = Relation.make("capital", "capital of a country")
words = (
    st.text(st.characters(codec="utf-8", exclude_characters="\0{}"), min_size=1, max_size=8).map(str.strip).filter(bool)
)


@st.composite
def facts(draw: st.DrawFn) -> list[Any]:
    """Return a fact's records: itself, its prompts and its sources."""
    fact = Fact.make(RELATION.id, draw(words), draw(words), draw(st.sampled_from(STATUSES)))
    found: list[Any] = [fact]
    for role in draw(st.lists(st.sampled_from(ROLES), max_size=3)):
        text = draw(words) if role == "generate" else f"{draw(words)} {{object}}"
        answer = None if role == "generate" else draw(words | st.just(fact.object))
        status = draw(st.sampled_from(STATUSES))
        found.append(Prompt.make(fact.id, role, text, answer, language=draw(words), status=status))
    return found + [FactSource(fact.id, *pair) for pair in draw(st.lists(st.tuples(words, words), max_size=2))]


@given(st.lists(facts(), min_size=1, max_size=5))
def test_facts_written_as_knedits_jsonl_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, told: list[list[Any]]
) -> None:
    path = tmp_path_factory.mktemp("written") / "facts.jsonl"
    records = [RELATION, *(record for fact in told for record in fact)]
    assert writing_facts.write_jsonl(path, records) == len(told)
    assert list(knedit_jsonl.read(path)) == records


def test_many_facts_are_written_on_several_lines(tmp_path: Path) -> None:
    path, other = tmp_path / "facts.jsonl", Relation.make("colour")
    records: list[Any] = []
    for relation in (RELATION, other):
        records += [relation, *(Fact.make(relation.id, str(number), "x") for number in range(150))]
    assert writing_facts.write_jsonl(path, records) == 300
    assert [len(json.loads(line)["facts"]) for line in path.read_text().splitlines()] == [100, 50, 100, 50]
    assert [record for record in knedit_jsonl.read(path) if isinstance(record, Fact)] == [
        record for record in records if isinstance(record, Fact)
    ]


def test_a_prompt_that_the_format_cannot_tell_is_refused(tmp_path: Path) -> None:
    fact = Fact.make(RELATION.id, "Peru", "Lima")
    with pytest.raises(FactsError, match='The answer of the prompt "Peru" cannot be told'):
        writing_facts.write_jsonl(tmp_path / "x", [RELATION, fact, Prompt.make(fact.id, "generate", "Peru", "Lima")])
    assert list(tmp_path.iterdir()) == []


def test_facts_written_as_a_table_read_back_but_for_labels_and_prompts_states(tmp_path: Path) -> None:
    records = list(delimited.read(making.delimited(tmp_path)))
    path = tmp_path / "again.csv"
    assert writing_facts.write_rows(path, records, "csv") == 4
    assert set(delimited.read(path)) == set(records)


def test_neurons_are_written_as_they_were_published(tmp_path: Path) -> None:
    path = making.eleuther(tmp_path)
    published = list(eleuther.read(path))
    assert eleuther.write(tmp_path / "again.json", iter(published)) == 3
    assert json.loads((tmp_path / "again.json").read_text()) == making.NEURONS
    assert list(eleuther.read(tmp_path / "again.json")) == published
    assert eleuther.write(tmp_path / "none.json", list[PublishedNeurons]()) == 0
    assert json.loads((tmp_path / "none.json").read_text()) == {}

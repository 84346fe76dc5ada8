"""Tables and answers leave the catalog as files, and nothing that is asked can change it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest

from knedit.catalog.answers import Hub, NeuronUse
from knedit.catalog.schema import metadata
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError, FactsError
from knedit.flows.export import export_sql, export_table, write_answer
from knedit.records import show_id
from tests.catalog import making


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rows_of_csv(path: Path) -> int:
    with path.open(newline="", encoding="utf-8") as file:
        return len(list(csv.reader(file))) - 1


READ: dict[str, Callable[[Path], int]] = {
    "jsonl": lambda path: len(lines(path)),
    "csv": rows_of_csv,
    "parquet": lambda path: int(pyarrow.parquet.read_table(path).num_rows),
}


@pytest.mark.parametrize("ending", list(READ))
def test_every_table_is_written(tmp_path: Path, sqlite_catalog_url: str, ending: str) -> None:
    with Catalog(sqlite_catalog_url) as catalog:
        making.fill_edit(catalog)
        written = {table: export_table(catalog, table, tmp_path / f"{table}.{ending}") for table in metadata.tables}
    assert {table: READ[ending](tmp_path / f"{table}.{ending}") for table in written} == written
    assert (written["facts"], written["knowledge_neurons"], written["edits"]) == (3, 6, 1)


def test_a_table_is_written_by_key_with_ids_as_people_see_them(tmp_path: Path, catalog: Catalog) -> None:
    making.fill_refinement(catalog)
    output = tmp_path / "facts.jsonl"
    assert export_table(catalog, "facts", output) == 3
    facts = sorted((making.PARIS, making.TOKYO, making.YEN), key=lambda fact: fact.id)
    assert lines(output) == [
        {
            "id": show_id(fact.id),
            "relation_id": show_id(fact.relation_id),
            "subject": fact.subject,
            "object": fact.object,
            "status": fact.status,
        }
        for fact in facts
    ]
    export_table(catalog, "attribution_runs", tmp_path / "runs.parquet")
    (run,) = pyarrow.parquet.read_table(tmp_path / "runs.parquet").to_pylist()
    assert (json.loads(run["config"]), run["started_at"]) == (making.CONFIG, making.MORNING)
    with pytest.raises(FactsError, match="say --overwrite"):
        export_table(catalog, "facts", output)
    with pytest.raises(CatalogError, match=r'no table "fact" in a catalog\. Did you mean facts'):
        export_table(catalog, "fact", output, overwrite=True)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_answer_of_a_question_in_sql_is_written(tmp_path: Path, catalog: Catalog, ending: str) -> None:
    making.fill_refinement(catalog)
    output = tmp_path / f"out.{ending}"
    question = """-- how often
        SELECT subject, count(*) AS number, avg(score) AS mean, max(fact_id) AS fact_id, NULL AS none
        FROM facts JOIN knowledge_neurons ON fact_id = id WHERE subject LIKE '%a%' GROUP BY subject ORDER BY 1;"""
    assert export_sql(catalog, question, output) == 2
    found = lines(output) if ending == "jsonl" else pyarrow.parquet.read_table(output).to_pylist()
    japan = show_id(max(making.TOKYO.id, making.YEN.id))
    assert found == [
        {"subject": "France", "number": 3, "mean": 3.5 / 3, "fact_id": show_id(making.PARIS.id), "none": None},
        {"subject": "Japan", "number": 3, "mean": 2.75 / 3, "fact_id": japan, "none": None},
    ]


@pytest.mark.parametrize(
    "question",
    [
        "DELETE FROM facts",
        "UPDATE facts SET status = 'retired'",
        "PRAGMA query_only=OFF",
        "ATTACH DATABASE 'x.db' AS x",
        "COMMIT",
        "",
        "-- SELECT",
        "SELECT 1; DELETE FROM facts",
        "SELECT 1; COMMIT; DELETE FROM facts",
        "WITH one AS (SELECT 1) DELETE FROM facts",
        "WITH gone AS (DELETE FROM facts RETURNING id) SELECT * FROM gone",
        "SELECT nonsense FROM facts",
        "SELECT id, id FROM facts",
        "SELECT",
        "SELECT '\0'",
        "SELECT '\ud800'",
    ],
)
def test_what_is_no_question_or_would_write_is_refused(tmp_path: Path, catalog: Catalog, question: str) -> None:
    making.fill_refinement(catalog)
    with pytest.raises(CatalogError, match=r"(The SQL is no|The database refuses the SQL: |columns of the answer)"):
        export_sql(catalog, question, tmp_path / "out.csv")
    assert list(tmp_path.glob("*.csv*")) == []
    assert len(catalog.facts()) == 3
    assert catalog.set_fact_status([making.YEN.id], "retired") == 1


def test_a_column_of_several_types_is_told_where_a_file_cannot_hold_it(tmp_path: Path, sqlite_catalog_url: str) -> None:
    question = "SELECT 1 AS x UNION ALL SELECT 'a'"
    with Catalog(sqlite_catalog_url) as catalog:
        assert export_sql(catalog, question, tmp_path / "out.jsonl") == 2
        with pytest.raises(FactsError, match='The column "x" holds a value that is no string'):
            export_sql(catalog, question, tmp_path / "out.parquet")
        with pytest.raises(CatalogError, match='The column "x" holds inf'):
            export_sql(catalog, "SELECT 9e999 AS x", tmp_path / "inf.csv")


def test_records_of_an_answer_are_written_with_what_is_in_them(tmp_path: Path, catalog: Catalog) -> None:
    making.fill_refinement(catalog)
    output = tmp_path / "uses.jsonl"
    assert write_answer(output, catalog.users_of(making.REFINEMENT.id, 0, 3), NeuronUse) == 1
    (use,) = lines(output)
    assert (use["fact_id"], use["fact_subject"], use["neuron_role"]) == (show_id(making.PARIS.id), "France", "fact")
    assert write_answer(output, [], Hub, overwrite=True) == 0
    assert write_answer(tmp_path / "hubs.csv", catalog.hubs(making.REFINEMENT.id), Hub) == 3

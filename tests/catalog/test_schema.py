import dataclasses
import re

import pytest
from sqlalchemy import Text
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from knedit import experiments, records, remarks, solved
from knedit.catalog import schema
from knedit.catalog.connecting import open_engine, read_address
from knedit.catalog.store import Catalog

NOUNS = {
    "relations": records.Relation,
    "facts": records.Fact,
    "prompts": records.Prompt,
    "checkpoints": records.Checkpoint,
    "attribution_runs": records.AttributionRun,
    "prompt_attributions": records.PromptAttribution,
    "neuron_scores": records.NeuronScore,
    "refinements": records.Refinement,
    "refined_facts": records.RefinedFact,
    "knowledge_neurons": records.KnowledgeNeuron,
    "edits": records.Edit,
    "edit_targets": records.EditTarget,
    "edit_neurons": records.EditNeuron,
    "edit_values": solved.EditValue,
    "edit_outcomes": solved.EditOutcome,
    "edit_gates": solved.EditGate,
    "evaluations": records.Evaluation,
    "experiments": experiments.Experiment,
    "experiment_parts": experiments.ExperimentPart,
    "experiment_values": experiments.ExperimentValue,
    "fact_sources": records.FactSource,
    "requested_rewrites": records.RequestedRewrite,
    "neuron_counts": records.NeuronCount,
    "refined_relations": records.RefinedRelation,
    "degenerate_sets": records.DegenerateSet,
    "degenerate_neurons": records.DegenerateNeuron,
    "status_changes": remarks.StatusChange,
    "fact_notes": remarks.FactNote,
    "neuron_notes": remarks.NeuronNote,
    "fact_labels": remarks.FactLabel,
    "neuron_labels": remarks.NeuronLabel,
    "selections": remarks.Selection,
    "selected_facts": remarks.SelectedFact,
    "neuron_descriptions": remarks.NeuronDescription,
}


def test_every_table_is_a_record_and_its_columns_are_the_fields_in_their_order() -> None:
    fields = {name: [field.name for field in dataclasses.fields(noun)] for name, noun in NOUNS.items()}
    assert {name: [column.name for column in table.c] for name, table in schema.metadata.tables.items()} == fields


def lines(statement: str) -> set[str]:
    """Return a statement's lines, without the quotes that SQLite puts around the names of a table renamed."""
    statement = re.sub(r'"(\w+)"', r"\1", statement)
    return {re.sub(r"\s+", " ", line).strip().rstrip(",") for line in statement.splitlines() if line.strip()}


def test_the_migrated_sqlite_tables_say_the_same_as_the_schema_checks_and_all(sqlite_url: str) -> None:
    Catalog(sqlite_url).close()
    engine = open_engine(read_address(sqlite_url))
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'").all()
    engine.dispose()
    written = {name: lines(sql) for name, sql in found if name != "alembic_version" and "_search" not in name}
    meant = {
        name: lines(str(CreateTable(table).compile(dialect=sqlite.dialect())))
        for name, table in schema.metadata.tables.items()
    }
    assert written == meant


QUESTIONS = {
    "facts by relation": "SELECT * FROM facts WHERE relation_id = 1",
    "facts by subject": "SELECT * FROM facts WHERE subject = 'France'",
    "prompts by fact": "SELECT * FROM prompts WHERE fact_id = 1",
    "scores by prompt": "SELECT * FROM neuron_scores WHERE run_id = 1 AND prompt_id = 2",
    "scores by neuron": 'SELECT * FROM neuron_scores WHERE run_id = 1 AND layer = 2 AND "index" = 3',
    "neurons by place": 'SELECT * FROM knowledge_neurons WHERE refinement_id = 1 AND layer = 2 AND "index" = 3',
    "neurons by fact": "SELECT * FROM knowledge_neurons WHERE refinement_id = 1 AND fact_id = 1",
    "facts by source": "SELECT * FROM fact_sources WHERE dataset = 'pararel' AND key = 'a'",
    "facts of few neurons": "SELECT * FROM refined_facts WHERE refinement_id = 1 AND neurons < 2",
    "counts by neuron": 'SELECT * FROM neuron_counts WHERE refinement_id = 1 AND layer = 2 AND "index" = 3',
    "history by fact": "SELECT * FROM status_changes WHERE fact_id = 1",
    "facts by label": "SELECT * FROM fact_labels WHERE label = 'doubtful'",
    "experiments by checkpoint": "SELECT * FROM experiments WHERE checkpoint_id = 1 AND name = 'map'",
    "parts by fact": "SELECT * FROM experiment_parts WHERE fact_id = 1",
    "values by experiment": "SELECT * FROM experiment_values WHERE experiment_id = 1",
    "evaluations by edit": "SELECT * FROM evaluations WHERE edit_id = 1",
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_no_frequent_question_reads_a_whole_table(sqlite_url: str, question: str) -> None:
    Catalog(sqlite_url).close()
    engine = open_engine(read_address(sqlite_url))
    with engine.connect() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}")]
    engine.dispose()
    assert all(step.startswith("SEARCH") for step in plan), plan


def test_no_table_of_composite_keys_has_a_rowid_on_sqlite() -> None:
    composite = {name for name, table in schema.metadata.tables.items() if len(table.primary_key) > 1}
    without = {
        name
        for name, table in schema.metadata.tables.items()
        if "WITHOUT ROWID" in str(CreateTable(table).compile(dialect=sqlite.dialect()))
    }
    assert without == composite


@pytest.mark.postgres
def test_every_text_on_postgres_sorts_by_its_characters_numbers(postgres_url: str) -> None:
    Catalog(postgres_url).close()
    engine = open_engine(read_address(postgres_url))
    question = (
        "SELECT table_name, column_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type = 'text'"
    )
    with engine.connect() as connection:
        found = {(row[0], row[1]): row[2] for row in connection.exec_driver_sql(question)}
    engine.dispose()
    texts = {
        (table.name, column.name): "C"
        for table in schema.metadata.tables.values()
        for column in table.c
        if isinstance(column.type, Text)
    }
    assert found == texts
    assert ("facts", "subject") in texts

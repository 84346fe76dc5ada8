"""Every question is one statement, and neither database reads a whole large table for it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event

from knedit.catalog.store import Catalog
from tests.catalog.making import CAPITAL, EDIT, PARIS, REFINEMENT, RUN, fill_edit

OWN = REFINEMENT.id
SMALL = {"relations", "here", "there", "refined_relations", "size", "other_size", "refinements", "attribution_runs"}

QUESTIONS: dict[str, Callable[[Catalog], object]] = {
    "neurons of a fact": lambda catalog: catalog.fact_neurons(OWN, PARIS.id),
    "facts of a neuron": lambda catalog: catalog.users_of(OWN, 1, 7, limit=5, offset=1),
    "hubs": lambda catalog: catalog.hubs(OWN, role="generic", layer=1, min_share=0.1),
    "neurons of a relation": lambda catalog: catalog.relation_neurons(OWN, CAPITAL.id),
    "layers": lambda catalog: catalog.layer_counts(OWN),
    "facts of few neurons": lambda catalog: catalog.sparse_facts(OWN, at_most=1),
    "overlap": lambda catalog: catalog.overlap(OWN),
    "overlap of relations": lambda catalog: catalog.overlap_matrix(OWN),
    "consistency of facts": lambda catalog: catalog.consistency(RUN.id, [PARIS.id]),
    "the least consistent": lambda catalog: catalog.least_consistent(RUN.id),
    "the least consistent of a relation": lambda catalog: catalog.least_consistent(RUN.id, relation_id=CAPITAL.id),
    "sets of a fact": lambda catalog: catalog.degenerate_sets_of(OWN, PARIS.id),
    "sets with a neuron": lambda catalog: catalog.degenerate_sets_with(OWN, 1, 7),
    "impact of an edit": lambda catalog: catalog.edit_impact(EDIT.id),
    "impact of a fact": lambda catalog: catalog.fact_impact(OWN, PARIS.id),
    "search in facts": lambda catalog: catalog.search_facts('japan to* "france"', limit=5),
    "search in prompts": lambda catalog: catalog.search_prompts("japan", limit=5),
    "search in a relation's facts": lambda catalog: catalog.search_facts("japan", relation_id=CAPITAL.id),
    "search in a relation's prompts": lambda catalog: catalog.search_prompts("japan", relation_id=CAPITAL.id),
}
IN_TWO: dict[str, Callable[[Catalog], object]] = {
    "neurons of a fact, users named": lambda catalog: catalog.fact_neurons(OWN, PARIS.id, users=2),
    "two refinements": lambda catalog: catalog.refinement_difference(OWN, 5),
    "two runs": lambda catalog: catalog.run_difference(RUN.id, 5),
}
ASKED = QUESTIONS | IN_TWO


Statement = tuple[str, Any]


@contextmanager
def overheard(catalog: Catalog) -> Iterator[list[Statement]]:
    """Take down the statements that the catalog sends inside the block."""
    told: list[Statement] = []

    def hear(
        connection: Connection, cursor: object, statement: str, parameters: Any, context: object, many: bool
    ) -> None:
        told.append((statement, parameters))

    event.listen(catalog._engine, "before_cursor_execute", hear)
    try:
        yield told
    finally:
        event.remove(catalog._engine, "before_cursor_execute", hear)


def statements(catalog: Catalog, question: Callable[[Catalog], object]) -> list[Statement]:
    with overheard(catalog) as told:
        question(catalog)
    return [one for one in told if one[0].lstrip().startswith(("SELECT", "WITH"))]


@pytest.mark.parametrize("name", ASKED)
def test_a_question_is_one_statement_whose_plan_reads_no_large_table_whole(catalog: Catalog, name: str) -> None:
    fill_edit(catalog)
    asked = statements(catalog, ASKED[name])
    assert len(asked) == (1 if name in QUESTIONS else 2)
    whole = _whole_on_sqlite if catalog.address.startswith("sqlite") else _whole_on_postgres
    assert [found for statement in asked for found in whole(catalog, *statement)] == []


def test_a_table_read_whole_is_seen(catalog: Catalog) -> None:
    whole = _whole_on_sqlite if catalog.address.startswith("sqlite") else _whole_on_postgres
    statement = "SELECT f.subject FROM facts AS f WHERE f.object = 'Paris'"
    assert len(whole(catalog, statement, ())) == 1


def _whole_on_sqlite(catalog: Catalog, statement: str, parameters: Any) -> list[str]:
    """Return the steps that read a whole table, other than small ones and the statement's own."""
    own = set(re.findall(r"(\w+)(?:\([^)]*\))? AS (?:MATERIALIZED )?\n?\(", statement))
    own |= set(re.findall(r"\) AS (\w+)", statement))
    own |= {alias for name in own for alias in re.findall(rf"\b{name} AS (\w+)", statement)}
    with catalog._reading() as connection:
        steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    scans = [
        step for step in steps if step.startswith("SCAN") and not re.search(r"VIRTUAL TABLE INDEX|\(subquery", step)
    ]
    return [step for step in scans if step.split()[1] not in SMALL | own]


def _whole_on_postgres(catalog: Catalog, statement: str, parameters: Any) -> list[str]:
    """Return the large tables that are read whole, in themselves or by an index, even where that is to be avoided."""
    with catalog._reading() as connection:
        for choice in ("seqscan", "mergejoin", "hashjoin"):
            connection.exec_driver_sql(f"SET LOCAL enable_{choice} = off")
        (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    nodes = [node for node in _nodes(plan["Plan"]) if "Relation Name" in node and node["Relation Name"] not in SMALL]
    return [node["Relation Name"] for node in nodes if not {"Index Cond", "Recheck Cond"} & node.keys()]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", []):
        yield from _nodes(below)


def test_the_search_on_postgres_asks_its_index(catalog: Catalog) -> None:
    fill_edit(catalog)
    if catalog.address.startswith("sqlite"):
        plans = {"facts": "VIRTUAL TABLE INDEX", "prompts": "VIRTUAL TABLE INDEX"}
        explain = "EXPLAIN QUERY PLAN"
    else:
        plans = {"facts": "ix_facts_search", "prompts": "ix_prompts_search"}
        explain = "EXPLAIN"
    for place, sign in plans.items():
        ((statement, parameters),) = statements(catalog, QUESTIONS[f"search in {place}"])
        with catalog._reading() as connection:
            if explain == "EXPLAIN":
                connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = "\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters))
        assert sign in plan, place

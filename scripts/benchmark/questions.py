"""What a catalog is asked, how long each answer takes, and how the database goes about it.

To ask one more question, write a line in QUESTIONS. A question of a point is asked at random places and held to its
95th percentile; one of the whole is asked a few times. The plan is that of the statements the question really sent.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from sqlalchemy import Connection, event

from knedit.catalog.store import Catalog

from .synthetic import LAYERS, RELATIONS, WIDTH, Places, World

WHOLE = 3  # times that a question of the whole catalog is asked
WHOLE_REFINEMENT = ("(refinement_id=?)", "(run_id=?)")  # a search by no more than this reads nearly everything
LARGE = ("facts", "prompts", "refined_facts", "knowledge_neurons", "neuron_scores", "prompt_attributions")


@dataclass(frozen=True)
class Asking:
    """What a question may be asked about: a filled catalog, and where chance points."""

    catalog: Catalog
    world: World
    fact_ids: list[int]
    chance: random.Random

    @property
    def refinement(self) -> int:
        return self.world.refinement.id

    def fact(self) -> int:
        return self.chance.choice(self.fact_ids)

    def place(self) -> tuple[int, int]:
        return self.chance.randrange(LAYERS), self.chance.randrange(WIDTH)

    def hub(self) -> tuple[int, int]:
        return Places(self.world.seed).places[0]

    def subject(self) -> str:
        number = self.chance.randrange(self.world.facts)
        return f"R{number % RELATIONS}/Subject {number}"

    def relation(self) -> int:
        return self.chance.choice(self.world.relations()).id


@dataclass(frozen=True)
class Question:
    """Something to ask; `seconds` is what its answer may take, at the 95th percentile where it is about a point."""

    name: str
    ask: Callable[[Asking], object]
    seconds: float
    point: bool = True


def _users(asking: Asking, layer: int, index: int) -> object:
    return asking.catalog.users_of(asking.refinement, layer, index, limit=50)


QUESTIONS = (
    Question("neurons of a fact", lambda a: a.catalog.neurons_of(a.refinement, a.fact()), 0.1),
    Question("neurons of a fact and their users", lambda a: a.catalog.fact_neurons(a.refinement, a.fact()), 0.1),
    Question("facts of a neuron, a page", lambda a: _users(a, *a.place()), 0.1),
    Question("fact by subject", lambda a: a.catalog.find_fact(a.subject()), 0.1),
    Question("search for a subject", lambda a: a.catalog.search_facts(a.subject().partition("/")[2]), 0.1),
    Question("few neurons, a page", lambda a: a.catalog.sparse_facts(a.refinement, at_most=3, limit=50), 0.1),
    Question("hubs", lambda a: a.catalog.hubs(a.refinement), 10, point=False),
    Question(
        "neurons of a relation", lambda a: a.catalog.relation_neurons(a.refinement, a.relation()), 10, point=False
    ),
    Question("facts of the commonest neuron, a page", lambda a: _users(a, *a.hub()), 10, point=False),
    Question("layers", lambda a: a.catalog.layer_counts(a.refinement), 10, point=False),
    Question("overlap of relations", lambda a: a.catalog.overlap(a.refinement), 10, point=False),
)


@dataclass(frozen=True)
class Timing:
    """How long a question took, in seconds, and the steps of its statements' plans."""

    question: Question
    asked: int
    p50: float
    p95: float
    plan: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {"name": self.question.name, "asked": self.asked, "p50": self.p50, "p95": self.p95, "plan": self.plan}


def ask(question: Question, asking: Asking, points: int) -> Timing:
    """Ask once to warm up and to see the plan, then as often as the question's kind says."""
    with _sent(asking.catalog) as statements:
        question.ask(asking)
    times = [_seconds(question, asking) for _ in range(points if question.point else WHOLE)]
    cuts = quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    return Timing(question, len(times), cuts[49], cuts[94], tuple(plans(asking.catalog, statements)))


def _seconds(question: Question, asking: Asking) -> float:
    begun = time.perf_counter()
    question.ask(asking)
    return time.perf_counter() - begun


@contextmanager
def _sent(catalog: Catalog) -> Iterator[list[tuple[str, Any]]]:
    """Note the statements, with their values, that the catalog sends inside the block."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        if statement.startswith(("SELECT", "WITH")):
            sent.append((statement, values))

    event.listen(catalog._engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(catalog._engine, "before_cursor_execute", note)


def plans(catalog: Catalog, statements: list[tuple[str, Any]]) -> Iterator[str]:
    """Yield the steps in which tables are read, those that read all of a large table marked."""
    with catalog._engine.connect() as connection:
        steps = _sqlite_steps if connection.dialect.name == "sqlite" else _postgres_steps
        for statement, values in statements:
            for step, table, full in steps(connection, statement, values):
                yield f"{'FULL SCAN  ' if full and table in LARGE else ''}{step}"


def _sqlite_steps(connection: Connection, statement: str, values: Any) -> Iterator[tuple[str, str, bool]]:
    for *_, step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values):
        words = step.split()
        if words[0] in ("SCAN", "SEARCH"):
            yield step, words[1], words[0] == "SCAN" or step.endswith(WHOLE_REFINEMENT)


def _postgres_steps(connection: Connection, statement: str, values: Any) -> Iterator[tuple[str, str, bool]]:
    found: Any = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar()
    waiting = [(json.loads(found) if isinstance(found, str) else found)[0]["Plan"]]
    while waiting:
        node = waiting.pop()
        waiting += reversed(node.get("Plans", []))
        if "Relation Name" in node or "Index Name" in node:
            table, kind = node.get("Relation Name", ""), node["Node Type"]
            index = f" by {node['Index Name']}" if "Index Name" in node else ""
            yield f"{kind} {table}{index}", table, kind == "Seq Scan"

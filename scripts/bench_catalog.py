#!/usr/bin/env python3
"""How fast a catalog takes in a million facts with ten million neurons, and how fast it answers, on either database.

The records are made up, and come through the catalog's own verbs. Rows a second are told twice: with the time that
making the records takes by itself, and without it. CPU and peak
memory are this process's, without a server's.

The catalog must be empty, or hold what an earlier run of the same size put in; then only the questions are asked. What
was put in is left there.
"""

import json
import platform
import random
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import click
from benchmark.questions import QUESTIONS, Asking, Timing, ask
from benchmark.report import Section, Target
from benchmark.synthetic import World

from knedit.catalog.store import Catalog
from knedit.errors import CatalogError, KneditError

LEAST = {"sqlite": 80_000, "postgresql": 50_000}  # rows a second
QUICK = (2_000, 20_000)


@click.command()
@click.option("--database", required=True, metavar="URL", help="An empty SQLite file or Postgres database.")
@click.option("--facts", type=click.IntRange(1), default=1_000_000, show_default=True)
@click.option("--rows", type=click.IntRange(1), default=10_000_000, show_default=True, help="Neuron rows.")
@click.option("--points", type=click.IntRange(2), default=500, show_default=True, help="Places a question is asked at.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything measured to this file.")
@click.option("--quick", is_flag=True, help="A small catalog: shows that all runs; the figures mean nothing.")
def main(*, database: str, facts: int, rows: int, points: int, json_file: Path | None, quick: bool) -> None:
    """Measure how fast a catalog is loaded and answers."""
    if quick:
        (facts, rows), points = QUICK, 20
    world = World(facts, max(1, rows // facts))
    with Catalog(database) as catalog:
        found = {"circumstances": _circumstances(catalog, world)}
        click.echo("\n".join(f"{name}: {value}" for name, value in found["circumstances"].items()) + "\n")
        parts = {"load": partial(load, catalog, world), "questions": partial(questions, catalog, world, points)}
        for name, part in parts.items():
            section = part()
            click.echo(section.told())
            found[name] = section.as_json()
            if json_file:  # after each section: a run takes long, and may be ended
                json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def load(catalog: Catalog, world: World) -> Section:
    """Put the world in, unless it is there."""
    if any(one.id == world.refinement.id for one in catalog.refinements()):
        return Section("Load", {}, [("already loaded",)])
    if catalog.relations():
        raise CatalogError("The catalog holds something else", catalog.address, "Name an empty database.")
    parts = [
        _timed("facts", world.facts, world.told, catalog.import_facts),
    ]
    ids = world.fact_ids()
    catalog.add_checkpoint(world.checkpoint)
    catalog.open_run(world.run)
    put = lambda neurons: catalog.put_refinement(world.refinement, world.refined(ids), neurons)  # noqa: E731
    parts.append(_timed("neurons", world.facts * world.per_fact, lambda: world.neurons(ids), put))
    header = ("", "rows", "seconds", "rows/s", "making them", "rows/s without", "CPU s", "peak MiB")
    lines = [
        (
            part["name"],
            f"{part['rows']:,}",
            f"{part['seconds']:.1f}",
            f"{part['rate']:,.0f}",
            f"{part['making']:.1f}",
            f"{part['net_rate']:,.0f}",
            f"{part['cpu']:.1f}",
            f"{part['peak_mib']:,.0f}",
        )
        for part in parts
    ]
    least = LEAST["sqlite" if catalog.address.startswith("sqlite") else "postgresql"]
    targets = [Target("neuron rows a second, without making them", parts[1]["net_rate"], least)]
    return Section("Load", {"parts": parts}, [header, *lines], targets=targets)


def _timed(
    name: str, rows: int, make: Callable[[], Iterable[Any]], put: Callable[[Iterable[Any]], object]
) -> dict[str, Any]:
    begun = time.perf_counter()
    deque(make(), maxlen=0)
    made, cpu = time.perf_counter(), time.process_time()
    put(make())
    done = time.perf_counter()
    making, seconds = made - begun, done - made
    return {
        "name": name,
        "rows": rows,
        "seconds": seconds,
        "making": making,
        "cpu": time.process_time() - cpu,
        "rate": rows / seconds,
        "net_rate": rows / max(seconds - making, 1e-9),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def questions(catalog: Catalog, world: World, points: int) -> Section:
    """Ask every question, and hold each to what its answer may take."""
    asking = Asking(catalog, world, world.fact_ids().tolist(), random.Random(1))
    timings = [ask(question, asking, points) for question in QUESTIONS]
    lines = [(one.question.name, f"{one.asked}", f"{1000 * one.p50:.2f}", f"{1000 * one.p95:.2f}") for one in timings]
    targets = [
        Target(f"{one.question.name}, seconds", one.p95, one.question.seconds, at_least=False) for one in timings
    ]
    notes = ["", "Plans:", *[line for one in timings for line in _plan(one)], ""]
    figures = {"timings": [one.as_json() for one in timings]}
    return Section("Questions", figures, [("", "times", "p50 ms", "p95 ms"), *lines], notes, targets)


def _plan(timing: Timing) -> list[str]:
    return [f"  {timing.question.name}", *[f"    {step}" for step in timing.plan]]


def _circumstances(catalog: Catalog, world: World) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "database": catalog.address,
        "facts": world.facts,
        "neuron rows": world.facts * world.per_fact,
    }


if __name__ == "__main__":
    try:
        main()
    except KneditError as error:
        sys.exit(f"Error: {error}")

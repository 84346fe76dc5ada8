#!/usr/bin/env python3
"""Train a small BERT that knows given facts: a masked model for the experiments where none can be fetched.

The folder that it writes is a checkpoint for `knedit checkpoint add`. Beside the weights lie `facts.jsonl`, the facts
and wordings that were taught (held-out wordings as paraphrases) for `knedit facts import`; `training.json`, what the
model knows in taught and in held-out wordings; and `activations/`, sentences that were never taught, in the shape of
the paper's `distant_*.json`. The same seed gives the same weights on one platform and number of threads. A training
that was stopped goes on when it is called again.

Progress goes to stderr, what the model knows to stdout. Exit code 1: it knows less than 80 % of its facts in held-out
wordings; 2: it could not be trained.
"""

import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that the folder scripts/ is found as a package

from knedit.errors import FactsError, KneditError
from knedit.flows.facts import starter_file
from scripts.factbert.lessons import Choice, Lesson, choose, read_knedit, read_pararel
from scripts.factbert.measuring import Score
from scripts.factbert.recipe import FULL, QUICK
from scripts.factbert.teaching import check_output, default_device, teach
from scripts.factbert.training import Course

GOAL = 0.8
LIMIT = 150
SHARED = "../shared/data"


def lessons_of(source: str, seed: int) -> list[Lesson]:
    """Return the relations of knedit's own facts, of ParaRel, or of a file in knedit's format."""
    if source == "pararel":
        return read_pararel(Path(os.environ.get("KNEDIT_SHARED_DATA") or SHARED) / "pararel", seed=seed)
    return read_knedit(starter_file() if source == "starter" else Path(source))


def chosen(source: str, relations: tuple[str, ...], limit: int | None, seed: int) -> Choice:
    """Return the facts to teach. Raises FactsError where a relation is unknown, or none can be taught."""
    lessons = lessons_of(source, seed)
    known = [lesson.key for lesson in lessons]
    if unknown := sorted(set(relations) - set(known)):
        raise FactsError(f"There is no relation {unknown[0]} to teach", source, f"Choose from {', '.join(known)}.")
    wanted = [lesson for lesson in lessons if not relations or lesson.key in relations]
    most = LIMIT if limit is None and source == "pararel" else limit
    choice = choose(wanted, limit=most, seed=seed, strict=source == "pararel")
    if not choice.lessons:
        raise FactsError(
            "No fact can be taught",
            source,
            "Give relations wordings of both roles, attribute and paraphrase, and facts whose object is one word.",
        )
    return choice


def heard(number: int, course: Course, score: Score) -> None:
    """Tell of an epoch on stderr."""
    click.echo(
        f"epoch {number:3}  loss {course.losses[-1]:.3f}  held-out wordings {score.accuracy:4.0%} right, "
        f"probability {score.probability:.2f}  {course.seconds:5.0f} s",
        err=True,
    )


def table(record: dict[str, Any]) -> str:
    """Return what the model knows as a table."""
    rows = {**record["relations"], "all": record}
    lines = [f"{'relation':<16} {'facts':>6}  {'taught wordings':>17}  {'held-out wordings':>17}"]
    for name, row in rows.items():
        cells = [f"{row[kind]['accuracy']:8.1%} p {row[kind]['probability']:.2f}" for kind in ("taught", "held_out")]
        lines.append(f"{name:<16} {row['facts']:>6}  {cells[0]:>17}  {cells[1]:>17}")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--facts", "source", default="starter", show_default=True, help="starter, pararel, or a file of facts.")
@click.option("--recipe", type=click.Choice(["quick", "full"]), help="Default: quick for starter, full for others.")
@click.option("--relation", "relations", multiple=True, help="Teach this relation only; may be repeated.")
@click.option("--limit", type=click.IntRange(1), help=f"Facts a relation; default: {LIMIT} of ParaRel, all of others.")
@click.option("--epochs", type=click.IntRange(1), help="How often all facts are said.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", help="Default: cuda where there is one.")
@click.option("--json", "as_json", is_flag=True, help="Print training.json instead of a table.")
def main(
    *,
    output: Path,
    source: str,
    recipe: str | None,
    relations: tuple[str, ...],
    limit: int | None,
    epochs: int | None,
    seed: int,
    device: str | None,
    as_json: bool,
) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    base = {"quick": QUICK, "full": FULL}[recipe or ("quick" if source == "starter" else "full")]
    try:
        check_output(output)
        choice = chosen(source, relations, limit, seed)
        count = sum(len(lesson.facts) for lesson in choice.lessons)
        click.echo(f"Teaching {count} facts of {len(choice.lessons)} relations.", err=True)
        for reason, number in sorted(choice.left_out.items()):
            click.echo(f"{number} facts are left out: {reason}.", err=True)
        record = teach(
            output,
            choice,
            replace(base, epochs=epochs or base.epochs),
            seed=seed,
            source=source,
            device=device or default_device(),
            told=heard,
        )
    except KneditError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    click.echo(json.dumps(record, indent=1) if as_json else table(record))
    if record["held_out"]["accuracy"] < GOAL:
        click.echo(f"The model knows less than {GOAL:.0%} of its facts in held-out wordings.", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

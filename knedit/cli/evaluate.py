"""knedit evaluate: score an applied edit, a published set of rewrites, or a checkpoint on the harness's tasks."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.judged import show_judged
from knedit.cli.options import dtype_option, json_option, with_address
from knedit.cli.show import show_json
from knedit.cli.suite import run_suite

_COUNT = click.IntRange(min=0)


@click.command()
@click.argument("reference", metavar="EDIT|FILE|FOLDER")
@click.option("--stored", is_flag=True, help="Show what was measured of EDIT last, without loading a model.")
@click.option("--suite", metavar="NAME", help="Run the published set FILE: counterfact or zsre.")
@click.option("--checkpoint", metavar="CHECKPOINT", help="The set's model: a folder, or a name of the catalog.")
@click.option("--solver", metavar="S", default="closed-form", show_default=True, help="The set's solver.")
@click.option(
    "--columns",
    type=_COUNT,
    metavar="N",
    help="Value vectors to change, at most; closed-form: a fact and layer, 0 all.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="So many records; so many of a task's.")
@click.option("--relation", "relations", multiple=True, metavar="KEY", help="The set's records of this relation alone.")
@click.option("--known-only", is_flag=True, help="Only records whose true object the model says.")
@click.option("--offset", type=_COUNT, default=0, metavar="K", help="Leave the first K records out.")
@click.option(
    "--mode",
    type=click.Choice(["single", "plan", "sequence"]),
    default="single",
    show_default=True,
    help="Each record alone; all in one plan; plans of --plan-size in turn. The final weights are measured.",
)
@click.option("--plan-size", type=click.IntRange(min=1), default=10, show_default=True, metavar="M")
@click.option("--thorough", type=_COUNT, default=5, show_default=True, metavar="N", help="Records of all measures.")
@click.option("--controls", type=_COUNT, default=5, show_default=True, metavar="N", help="Records of the controls.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of texts that are drawn, and the controls.")
@click.option("--text", type=click.Path(path_type=Path), metavar="FILE", help="Held-out text, instead of knedit's own.")
@click.option(
    "--state", type=click.Path(path_type=Path), metavar="FILE", help="Keep finished records; go on from them."
)
@click.option("--harness", metavar="TASKS", help="Run lm-evaluation-harness tasks, parted by commas, on FOLDER.")
@dtype_option
@with_address
@json_option
def evaluate(address: str | None, *, reference: str, as_json: bool, dtype: str, **options: Any) -> None:
    """Ask parent and child of EDIT, from their files, the edited facts and others; show before and after.

    With --suite, run the published set FILE on --checkpoint in memory: edit, measure, give the weights back. With
    --harness, score the checkpoint FOLDER by lm-evaluation-harness.
    """
    stored, harness = options.pop("stored"), options.pop("harness")
    if options["suite"] is not None and harness is not None:
        raise click.UsageError("--suite and --harness are two commands: give one of them.")
    if harness is not None:
        _run_harness(reference, harness, dtype=dtype, limit=options["limit"])
    elif options["suite"] is not None:
        checkpoint = options.pop("checkpoint")
        if checkpoint is None:
            raise click.UsageError("--suite needs a model: --checkpoint FOLDER, or a name of the catalog.")
        run_suite(address, reference, checkpoint, as_json=as_json, dtype=dtype, **options)
    else:
        _refuse_suites(options)
        _evaluate_edit(address, reference, stored=stored, dtype=dtype, as_json=as_json)


def _evaluate_edit(address: str | None, reference: str, *, stored: bool, dtype: str, as_json: bool) -> None:
    from knedit.catalog.store import Catalog
    from knedit.flows.edit import read_edit
    from knedit.flows.evaluate import evaluate_edit, stored_evaluation

    with Catalog(address) as catalog:
        planned = read_edit(catalog, catalog.find_edit(reference))
        judged = stored_evaluation(catalog, planned) if stored else evaluate_edit(catalog, planned, dtype=dtype)
    show_judged(judged, as_json=as_json)


def _run_harness(folder: str, tasks: str, *, dtype: str, limit: int | None) -> None:
    from knedit.flows.harness import run_harness

    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if not names:
        raise click.UsageError("--harness needs the names of tasks, such as lambada_openai,piqa.")
    show_json(run_harness(folder, names, dtype=dtype, limit=limit))


def _refuse_suites(options: dict[str, Any]) -> None:
    """Refuse a set's options where an edit is scored, which would take no notice of them."""
    told = [name for name in ("checkpoint", "columns", "limit", "text", "state") if options[name] is not None]
    told += ["relation"] if options["relations"] else []
    told += ["known-only"] if options["known_only"] else []
    if told:
        raise click.UsageError(f"--{told[0]} belongs to --suite: name one, counterfact or zsre.")

"""knedit runs: which attribution runs there are, how one was made, and what went less than well in it."""

from typing import Any

import click

from knedit.cli.options import json_option, limit_option, with_catalog
from knedit.cli.show import show_json, show_rows
from knedit.records import show_id


@click.group()
def runs() -> None:
    """List attribution runs, show how one was made and how exact it is."""


@runs.command("list")
@click.argument("checkpoint", required=False)
@with_catalog
@json_option
def list_(catalog: Any, *, checkpoint: str | None, as_json: bool) -> None:
    """List the runs of a CHECKPOINT, or all, the newest first."""
    chosen = catalog.find_checkpoint(checkpoint).id if checkpoint else None
    found = catalog.run_summaries(chosen)
    if as_json:
        show_json(found)
        return
    rows = [
        [
            show_id(one.run.id),
            one.checkpoint,
            _told(one.run.config),
            one.facts,
            sum(one.prompts.values()),
            one.prompts.get("inexact", 0),
            one.prompts.get("unusable", 0),
            one.run.started_at,
            one.run.finished_at,
        ]
        for one in found
    ]
    columns = ["run", "checkpoint", "method", "facts", "prompts", "inexact", "unusable", "started", "finished"]
    show_rows(columns, rows, as_json=False)


@runs.command()
@click.argument("reference", metavar="RUN")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Prompts listed of each kind.")
@with_catalog
@json_option
def show(catalog: Any, *, reference: str, limit: int, as_json: bool) -> None:
    """Show a run: its configuration, its counts, and the prompts that missed the tolerance or could not be asked."""
    run = catalog.find_run(reference)
    (summary,) = (one for one in catalog.run_summaries(run.checkpoint_id) if one.run.id == run.id)
    inexact, unusable = (catalog.outcomes(run.id, status, limit=limit) for status in ("inexact", "unusable"))
    if as_json:
        show_json({"summary": summary, "inexact": inexact, "unusable": unusable})
        return
    counts = ", ".join(f"{count} {status}" for status, count in summary.prompts.items()) or "none"
    rows = [
        *(["checkpoint", summary.checkpoint], ["knedit", run.version]),
        *([name, value] for name, value in run.config.items() if value is not None),
        *(["facts", summary.facts], ["prompts", counts], ["started", run.started_at], ["finished", run.finished_at]),
    ]
    show_rows(["what", "value"], rows, as_json=False, title=f"Run {show_id(run.id)}")
    if inexact:
        missed = [[_fact(one), one.prompt.text, one.attribution.completeness_error] for one in inexact]
        show_rows(["fact", "prompt", "error"], missed, as_json=False, title="Missed the tolerance, worst first")
    if unusable:
        lost = [[_fact(one), one.prompt.text, one.attribution.reason] for one in unusable]
        show_rows(["fact", "prompt", "reason"], lost, as_json=False, title="Could not be asked")


_threshold = click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.2,
    show_default=True,
    help="A prompt's coarse neurons reach this part of its maximum.",
)


@runs.command()
@click.argument("reference", metavar="RUN")
@click.option("--fact", "facts", multiple=True, metavar="R/SUBJECT", help="Only this fact; may be given often.")
@click.option("--relation", metavar="R", help="Only the facts of one relation.")
@_threshold
@limit_option
@with_catalog
@json_option
def consistency(
    catalog: Any,
    *,
    reference: str,
    facts: tuple[str, ...],
    relation: str | None,
    threshold: float,
    limit: int,
    as_json: bool,
) -> None:
    """List the facts of a RUN whose wordings agree least on their neurons; an edit of a low one may not hold."""
    run = catalog.find_run(reference)
    if facts and relation:
        raise click.UsageError("Give --fact or --relation, not both.")
    if facts:
        found = catalog.consistency(run.id, [catalog.find_fact(one).id for one in facts], threshold=threshold)
    else:
        own = catalog.find_relation(relation).id if relation else None
        found = catalog.least_consistent(run.id, threshold=threshold, relation_id=own, limit=limit)
    rows = [[one.relation, one.fact.subject, one.fact.object, one.prompts, one.mean_jaccard, one.low] for one in found]
    show_rows(["relation", "subject", "object", "prompts", "mean Jaccard", "low"], rows, as_json=as_json)


@runs.command()
@click.argument("before")
@click.argument("after")
@_threshold
@limit_option
@with_catalog
@json_option
def diff(catalog: Any, *, before: str, after: str, threshold: float, limit: int, as_json: bool) -> None:
    """Compare two runs, prompt by prompt: probability, coarse neurons, status; what differs most comes first."""
    sides = [catalog.find_run(one) for one in (before, after)]
    found = catalog.run_difference(sides[0].id, sides[1].id, threshold=threshold, limit=limit)
    if as_json:
        show_json({"before": sides[0], "after": sides[1], "difference": found})
        return
    totals = [
        *([name, getattr(found, name.replace(" ", "_"))] for name in ("only before", "only after", "both")),
        *(["of another status", found.other_status], ["mean Jaccard", found.mean_jaccard]),
        *(["mean probability before", found.mean_probability_before], ["after", found.mean_probability_after]),
    ]
    show_rows(
        ["prompts", "number"], totals, as_json=False, title=f"Runs {show_id(sides[0].id)}, {show_id(sides[1].id)}"
    )
    rows = [
        [
            *(_fact(one), one.prompt.text, one.status_before, one.status_after),
            *(one.probability_before, one.probability_after, one.jaccard),
        ]
        for one in found.changes
    ]
    columns = ["fact", "prompt", "status", "then", "probability", "then", "Jaccard"]
    show_rows(columns, rows, as_json=False)


def _told(config: Any) -> str:
    """Return a run's method in a few words: what is beside the defaults."""
    origin = f"published {config['published']} of {config['dataset']}" if "published" in config else None
    words = [origin, config.get("method"), config.get("rule"), config.get("smoothing"), config.get("dtype")]
    return " ".join(str(word) for word in words if word)


def _fact(outcome: Any) -> str:
    return f"{outcome.relation}/{outcome.fact.subject}"

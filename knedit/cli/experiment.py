"""knedit experiment and knedit report: the paper's experiments, and one page that tells them all."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from knedit.cli.options import dtype_option, json_option, read_roles, select_option, with_catalog
from knedit.cli.show import show_json, show_rows, stderr
from knedit.records import NEURON_ROLES, ROLES, show_id

SILENCE = 30.0  # seconds between two lines of a log
_ROLES = [role for role in ROLES if role not in ("generate", "neighbour")]


@click.command()
@click.argument("name")
@click.argument("checkpoint")
@click.option("--relation", "relations", multiple=True, metavar="R", help="This relation's facts; may be repeated.")
@click.option("--fact", "facts", multiple=True, metavar="R/SUBJECT", help="Only this fact; may be repeated.")
@select_option
@click.option(
    "--limit", type=click.IntRange(min=0), help="Facts with neurons of each relation; 0: all. Else its usual."
)
@click.option("--wordings", type=click.IntRange(min=1), help="At most so many prompts of each fact.")
@click.option("--role", type=click.Choice(_ROLES), default="attribute", show_default=True, help="Prompts to ask.")
@click.option("--roles", default=",".join(NEURON_ROLES), show_default=True, help="Neurons to take.")
@click.option("--refinement", metavar="ID", help="Whose neurons; else the checkpoint's newest refinement.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of what is drawn by chance.")
@click.option(
    "--texts",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="activations, triggers, values: texts in UTF-8, or the paper's distant_P….json; else knedit's own.",
)
@click.option(
    "--synonyms",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="consistency: lines as `football = soccer`; else knedit's own.",
)
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Write CSV, SVG and PNG there.")
@click.option("--no-figures", is_flag=True, help="Write tables alone.")
@dtype_option
@with_catalog
@json_option
def experiment(
    catalog: Any,
    *,
    name: str,
    checkpoint: str,
    output: Path | None,
    no_figures: bool,
    dtype: str,
    roles: str,
    as_json: bool,
    **scope: Any,
) -> None:
    """Run the experiment NAME (or all) on a refined CHECKPOINT; what is done is stored, so run it again to go on."""
    from knedit.flows.checkpoint import load_checkpoint
    from knedit.flows.experiments.conduct import conduct
    from knedit.flows.experiments.lab import Lab, Scope

    found = catalog.find_checkpoint(checkpoint)
    wanted = Scope(roles=read_roles(roles), **scope)
    done = []
    with experiment_progress() as progress:
        lab = Lab(catalog, found, lambda one: load_checkpoint(one, dtype=dtype), wanted, dtype, progress)
        for one in conduct(lab, name, output=output, figures=not no_figures):
            done.append(one)
            if not as_json:
                show_findings(one)
    if as_json:
        show_json([{"experiment": one.experiment, "findings": one.findings, "files": one.named} for one in done])


def show_findings(one: Any) -> None:
    """Print an experiment's answer, its first table, and what could not be measured; the files tell the rest."""
    found = one.findings
    click.secho(f"\n{found.title} – experiment {show_id(one.experiment.id)[:8]}", bold=True)
    for sentence in found.answer:
        click.echo(sentence)
    for table in [one for number, one in enumerate(found.tables) if number == 0 or one.name == "left-out"]:
        rows = [_shown(table, row) for row in table.rows[:_ROWS]]
        show_rows(table.columns, rows, as_json=False, title=table.title)
        if len(table.rows) > _ROWS:
            click.echo(f"… and {len(table.rows) - _ROWS} more rows; --output DIR writes them all.")
    if one.files:
        click.echo(f"Written to {one.files[0].parent}: {', '.join(path.name for path in one.files)}")


_ROWS = 24


def _shown(table: Any, row: Any) -> list[Any]:
    from knedit.analysis.page import cell

    return [cell(value, percent_of=name in table.percent) for name, value in zip(table.columns, row, strict=True)]


@contextmanager
def experiment_progress() -> Iterator[Callable[[Any], None]]:
    """Yield the function that shows how far an experiment is: a bar on a terminal, a line now and then in a log."""
    if not stderr.is_terminal:
        yield _Lines().show
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )  # fmt: skip
    with Progress(*columns, console=stderr, speed_estimate_period=600) as bars:
        tasks: dict[str, Any] = {}

        def show(standing: Any) -> None:
            if standing.name not in tasks:
                tasks[standing.name] = bars.add_task(standing.name, completed=standing.done, total=standing.parts)
            bars.update(tasks[standing.name], completed=standing.done, total=standing.parts)

        yield show


class _Lines:
    """A line at an experiment's start, and at most one every 30 seconds after it."""

    def __init__(self) -> None:
        self._name = ""
        self._began = self._told = 0.0

    def show(self, standing: Any) -> None:
        now = time.monotonic()
        if standing.name != self._name:
            self._name, self._began, self._told = standing.name, now, now
            before = f", {standing.before} of them done before" if standing.before else ""
            click.echo(f"{standing.name}: {standing.parts} parts{before}", err=True)
        elif now - self._told >= SILENCE:
            self._told = now
            rate = (standing.done - standing.before) / (now - self._began)
            left = timedelta(seconds=round((standing.parts - standing.done) / rate)) if rate else "unknown"
            click.echo(f"{standing.name}: {standing.done} of {standing.parts} parts, {left} left", err=True)


@click.command()
@click.argument("reference", metavar="CHECKPOINT|EDIT")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The page.",
)
@with_catalog
def report(catalog: Any, *, reference: str, output: Path) -> None:
    """Tell all experiments on a checkpoint, or all of an edit, on one page that needs no network and no script."""
    from knedit.flows.experiments.output import write_page
    from knedit.flows.experiments.report import report_page

    write_page(output, report_page(catalog, reference))
    click.echo(f"Written to {output}")

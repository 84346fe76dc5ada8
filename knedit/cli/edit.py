"""knedit edit: plan an edit, look at it, try it in memory, write it as a checkpoint."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.edit_plan import plan, show_plan
from knedit.cli.judged import show_judged
from knedit.cli.options import dtype_option, json_option, limit_option, with_catalog
from knedit.cli.show import show_impact, show_json, show_rows
from knedit.records import show_id


@click.group()
def edit() -> None:
    """Plan an edit, look at it, try it in memory, write it as a patched checkpoint."""


edit.add_command(plan)


@edit.command("list")
@with_catalog
@json_option
def list_(catalog: Any, *, as_json: bool) -> None:
    """List the planned and the applied edits."""
    names = {one.id: one.name for one in catalog.checkpoints()}
    rows = [
        [show_id(one.id), names[one.checkpoint_id], names.get(one.result_id), one.created_at.isoformat()]
        for one in catalog.edits()
    ]
    show_rows(["id", "checkpoint", "result", "created at"], rows, as_json=as_json)


@edit.command()
@click.argument("reference", metavar="EDIT")
@with_catalog
@json_option
def show(catalog: Any, *, reference: str, as_json: bool) -> None:
    """Show a planned edit: steps, neurons, norms, and who else uses these neurons."""
    from knedit.flows.edit import read_edit

    show_plan(catalog, read_edit(catalog, catalog.find_edit(reference)), as_json=as_json)


@edit.command()
@click.argument("reference", metavar="EDIT")
@limit_option
@with_catalog
@json_option
def impact(catalog: Any, *, reference: str, limit: int, as_json: bool) -> None:
    """List which facts outside a planned edit hold its neurons, protected ones first, and how much of theirs."""
    show_impact(catalog.edit_impact(catalog.find_edit(reference).id, limit=limit), as_json=as_json)


@edit.command("try")
@click.argument("reference", metavar="EDIT")
@dtype_option
@with_catalog
@json_option
def try_(catalog: Any, *, reference: str, dtype: str, as_json: bool) -> None:
    """Measure the model with and without the edit in memory. No file is written, the model is left as it was."""
    from knedit.flows.checkpoint import load_checkpoint
    from knedit.flows.edit import read_edit, try_edit
    from knedit.flows.evaluate import judge_try

    planned = read_edit(catalog, catalog.find_edit(reference))
    model = load_checkpoint(planned.checkpoint, dtype=dtype)
    show_judged(judge_try(catalog, planned, lambda probes: try_edit(planned, model, probes)), as_json=as_json)


@edit.command("apply")
@click.argument("reference", metavar="EDIT")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The new folder; it must not exist.")
@click.option("--name", help="What the new checkpoint is called; else the folder's name.")
@click.option("--evaluate/--no-evaluate", default=True, help="Re-score parent and child from their files.")
@click.option("--link", is_flag=True, help="Hard links for shards that stay as they are, where that is possible.")
@click.option("--force", is_flag=True, help="Keep the checkpoint though it fails a gate of its plan; that is recorded.")
@with_catalog
@json_option
def apply_(catalog: Any, *, reference: str, output: Path, evaluate: bool, as_json: bool, **how: Any) -> None:
    """Write the edit to a new folder of patched safetensors, verify it and register it as the checkpoint's child."""
    from knedit.flows.checkpoint import load_checkpoint
    from knedit.flows.edit import apply_edit, read_edit
    from knedit.flows.evaluate import evaluate_edit

    planned = read_edit(catalog, catalog.find_edit(reference))
    model = load_checkpoint(planned.checkpoint)
    child = apply_edit(catalog, planned, model, output, **how)
    click.echo(f"Written and verified: {output} ({child.name}, {show_id(child.id)})", err=as_json)
    if evaluate:
        written = read_edit(catalog, catalog.find_edit(show_id(planned.edit.id)))
        show_judged(evaluate_edit(catalog, written), as_json=as_json)
    elif as_json:
        show_json({"checkpoint": child})

"""knedit edit: plan an edit, look at it, try it in memory, write it as a checkpoint."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.edit_plan import plan, show_plan
from knedit.cli.edit_sweep import sweep
from knedit.cli.judged import show_judged
from knedit.cli.options import dtype_option, json_option, limit_option, with_catalog
from knedit.cli.show import show_impact, show_json, show_rows
from knedit.records import show_id


@click.group()
def edit() -> None:
    """Plan an edit, look at it, try it in memory, write it as a patched checkpoint."""


edit.add_command(plan)
edit.add_command(sweep)


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
@click.argument("reference", metavar="EDIT", required=False)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The new folder; it must not exist.")
@click.option("--name", help="What the new checkpoint is called; else the folder's name.")
@click.option("--evaluate/--no-evaluate", default=True, help="Re-score parent and child from their files.")
@click.option("--link", is_flag=True, help="Hard links for shards that stay as they are, where that is possible.")
@click.option("--force", is_flag=True, help="Keep the checkpoint though it fails a gate of its plan; that is recorded.")
@click.option(
    "--reproduce", type=click.Path(path_type=Path), metavar="DIR", help="In place of EDIT: what a shipped DIR holds."
)
@click.option("--parent", type=click.Path(path_type=Path), help="DIR's parent; else the catalog is asked.")
@with_catalog
@json_option
def apply_(catalog: Any, *, reference: str | None, reproduce: Path | None, parent: Path | None, **how: Any) -> Any:
    """Write the edit to a new folder of patched safetensors, verify it and register it as the checkpoint's child.

    With --reproduce, write a shipped checkpoint again from its parent, and compare every file; exit code 1: not equal.
    """
    if (reference is None) == (reproduce is None):
        raise click.UsageError("Name an EDIT, or a shipped folder: --reproduce DIR.")
    if reproduce is not None:
        return _reproduce(catalog, reproduce, how["output"], parent, as_json=how["as_json"])
    return _apply(catalog, reference, **how)


def _apply(catalog: Any, reference: Any, *, output: Path, evaluate: bool, as_json: bool, **how: Any) -> None:
    from knedit.flows.checkpoint import load_checkpoint
    from knedit.flows.edit import Release, apply_edit, read_edit
    from knedit.flows.scores import WrittenScores

    planned = read_edit(catalog, catalog.find_edit(reference))
    model = load_checkpoint(planned.checkpoint)
    scores = WrittenScores(catalog, planned, model)
    release = Release(looks=[scores] if evaluate else [], registered=scores.store)
    child = apply_edit(catalog, planned, model, output, release=release, **how)
    click.echo(f"Written and verified: {output} ({child.name}, {show_id(child.id)})", err=as_json)
    if evaluate:
        show_judged(scores.judged, as_json=as_json)
    elif as_json:
        show_json({"checkpoint": child})


def _reproduce(catalog: Any, source: Path, output: Path, parent: Path | None, *, as_json: bool) -> int:
    from knedit.flows.reproduce import reproduce

    found = reproduce(catalog, source, output, parent=parent)
    if as_json:
        told = {"files": found.files, "differing": found.differing, "versions": found.versions}
        show_json({"folder": str(output), "equal": found.equal, **told})
        return int(not found.equal)
    for one in found.versions:
        click.echo(f"Other than when it was made: {one}", err=True)
    for one in found.differing:
        click.echo(f"Not equal: {one}")
    if found.equal:
        what = f"{found.files} files are" if found.files else "the weights' sha256 is"
        click.echo(f"Equal: {output}, {what} as recorded")
    return int(not found.equal)

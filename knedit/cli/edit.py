"""knedit edit: plan an edit, look at it, try it in memory, write it as a checkpoint."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.judged import show_judged
from knedit.cli.options import dtype_option, json_option, limit_option, read_roles, with_catalog
from knedit.cli.show import few, show_impact, show_json, show_rows
from knedit.records import NEURON_ROLES, show_id


@click.group()
def edit() -> None:
    """Plan an edit, look at it, try it in memory, write it as a patched checkpoint."""


@edit.command()
@click.argument("checkpoint")
@click.option("--update", "updates", multiple=True, metavar="R/SUBJECT=NEW", help="Give a fact a new object.")
@click.option("--erase", "erasures", multiple=True, metavar="R/SUBJECT", help="Make the model forget a fact.")
@click.option("--erase-relation", "relations", multiple=True, metavar="R", help="Make it forget a whole relation.")
@click.option("--erase-selection", "selections", multiple=True, metavar="NAME", help="Forget a selection's facts.")
@click.option("--rewrite-selection", "rewrites", multiple=True, metavar="NAME", help="Give them the requested objects.")
@click.option("--solver", "solvers", multiple=True, metavar="S", help="embedding for updates, zero for erasures.")
@click.option("--weights", type=(float, float), default=(1.0, 8.0), show_default=True, help="λ1 λ2 of embedding.")
@click.option(
    "--roles", default="fact", show_default=True, help=f"Neurons that may be touched: {','.join(NEURON_ROLES)}."
)
@click.option(
    "--relation-neurons",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many neurons erase a relation.",
)
@click.option("--refinement", metavar="ID", help="Whose neurons; else the checkpoint's newest refinement.")
@with_catalog
@json_option
def plan(
    catalog: Any,
    *,
    checkpoint: str,
    updates: tuple[str, ...],
    erasures: tuple[str, ...],
    relations: tuple[str, ...],
    selections: tuple[str, ...],
    rewrites: tuple[str, ...],
    refinement: str | None,
    as_json: bool,
    **choices: Any,
) -> None:
    """Choose the neurons of an edit of CHECKPOINT, store the plan and show it. Nothing is changed yet."""
    from knedit.flows.checkpoint import load_checkpoint
    from knedit.flows.edit import read_edit
    from knedit.flows.plan import Wishes, plan_edit

    found = catalog.find_checkpoint(checkpoint)
    wishes = Wishes(updates, erasures, relations, selections, rewrites)
    planned = plan_edit(catalog, found, load_checkpoint, wishes, _choices(**choices), refinement=refinement)
    show_plan(catalog, read_edit(catalog, planned), as_json=as_json)


def _choices(*, solvers: tuple[str, ...], weights: tuple[float, float], roles: str, relation_neurons: int) -> Any:
    from knedit.editing.solve import assign_solvers
    from knedit.flows.plan import Choices

    solver = assign_solvers(solvers)
    return Choices(solver["update"], solver["erase"], weights, read_roles(roles), relation_neurons)


def show_plan(catalog: Any, planned: Any, *, as_json: bool) -> None:
    """Print an edit: its steps, then its value vectors with their norms and other users."""
    from knedit.flows.describe import describe_edit

    neurons = describe_edit(catalog, planned)
    if as_json:
        show_json({"edit": planned.edit, "steps": planned.steps, "neurons": neurons})
        return
    steps = [[s.operation, s.target, s.old, s.new, len(s.neurons), _layers(s.neurons)] for s in planned.steps]
    title = f"Edit {show_id(planned.edit.id)} of {planned.checkpoint.name}"
    show_rows(["operation", "target", "old", "new", "neurons", "layers"], steps, as_json=False, title=title)
    rows = [[n.step.target, n.layer, n.index, n.norm, n.new_norm, len(n.others), few(n.others)] for n in neurons]
    columns = ["target", "layer", "index", "norm", "new norm", "other facts", "such as"]
    show_rows(columns, rows, as_json=False)


def _layers(neurons: Any) -> str:
    return " ".join(str(layer) for layer in sorted({layer for layer, _ in neurons}))


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
@with_catalog
@json_option
def apply_(
    catalog: Any, *, reference: str, output: Path, name: str | None, evaluate: bool, link: bool, as_json: bool
) -> None:
    """Write the edit to a new folder of patched safetensors, verify it and register it as the checkpoint's child."""
    from knedit.flows.checkpoint import load_checkpoint
    from knedit.flows.edit import apply_edit, read_edit
    from knedit.flows.evaluate import evaluate_edit

    planned = read_edit(catalog, catalog.find_edit(reference))
    model = load_checkpoint(planned.checkpoint)
    child = apply_edit(catalog, planned, model, output, name=name, link=link)
    click.echo(f"Written and verified: {output} ({child.name}, {show_id(child.id)})", err=as_json)
    if evaluate:
        written = read_edit(catalog, catalog.find_edit(show_id(planned.edit.id)))
        show_judged(evaluate_edit(catalog, written), as_json=as_json)
    elif as_json:
        show_json({"checkpoint": child})

"""knedit edit plan: wishes, choices and gates as options; and how a plan looks, what was chosen and why."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from knedit.cli.options import MOST, json_option, read_roles, with_catalog
from knedit.cli.progress import attribution_progress
from knedit.cli.show import few, show_json, show_rows
from knedit.records import NEURON_ROLES, show_id

_SHOWN = 40  # value vectors of solvers that choose their own neurons; JSON tells all


@click.command()
@click.argument("checkpoint")
@click.option("--update", "updates", multiple=True, metavar="R/SUBJECT=NEW", help="Give a fact a new object.")
@click.option("--erase", "erasures", multiple=True, metavar="R/SUBJECT", help="Make the model forget a fact.")
@click.option("--erase-relation", "relations", multiple=True, metavar="R", help="Make it forget a whole relation.")
@click.option("--erase-selection", "selections", multiple=True, metavar="NAME", help="Forget a selection's facts.")
@click.option("--rewrite-selection", "rewrites", multiple=True, metavar="NAME", help="Give them the requested objects.")
@click.option("--amplify", "amplified", multiple=True, metavar="R/SUBJECT", help="Scale a fact's value vectors.")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Wishes in JSONL or CSV: relation, subject, new_object or erase.",
)
@click.option(
    "--solver",
    "solvers",
    multiple=True,
    metavar="S",
    help="closed-form (default), optimised or embedding for updates; prior (default), zero or unk for erasures.",
)
@click.option(
    "--columns", type=click.IntRange(min=0), help="closed-form, prior: value vectors a fact and layer; 0: all."
)
@click.option("--layers", metavar="A-B,C", help="closed-form, prior: the layers that are changed.")
@click.option("--steps", type=click.IntRange(1, MOST), help="closed-form, prior: at most so many steps of the search.")
@click.option("--weights", type=(float, float), default=(1.0, 8.0), show_default=True, help="λ1 λ2 of embedding.")
@click.option("--scale", type=click.FloatRange(min=0), default=2.0, show_default=True, help="The factor of --amplify.")
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
@click.option(
    "--on-failure",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="At a fact that cannot be solved plan nothing, or leave it out and tell it.",
)
@click.option(
    "--gate",
    "gates",
    multiple=True,
    metavar="GATE=X",
    help="growth, perplexity (at most X); protected, earlier, success (at least X).",
)
@click.option("--force", is_flag=True, help="Keep the plan though a gate fails; that is recorded.")
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
    amplified: tuple[str, ...],
    files: tuple[Path, ...],
    refinement: str | None,
    as_json: bool,
    **choices: Any,
) -> None:
    """Choose the neurons of an edit of CHECKPOINT, solve it, store the plan and show it. Nothing is changed yet."""
    from knedit.flows.checkpoint import load_checkpoint
    from knedit.flows.edit import read_edit
    from knedit.flows.goals import Wishes
    from knedit.flows.plan import plan_edit
    from knedit.flows.plan_file import read_plan

    found = catalog.find_checkpoint(checkpoint)
    rows = [row for file in files for row in read_plan(file)]
    wishes = Wishes(updates, erasures, relations, selections, rewrites, rows, amplified)
    chosen = _choices(**choices)
    with attribution_progress(f"Planning an edit of {found.name}") as progress:
        planned = plan_edit(catalog, found, load_checkpoint, wishes, chosen, refinement=refinement, progress=progress)
    show_plan(catalog, read_edit(catalog, planned), as_json=as_json)


def _choices(
    *, solvers: tuple[str, ...], roles: str, layers: str | None, gates: tuple[str, ...], force: bool, **others: Any
) -> Any:
    from knedit.editing.solve import assign_solvers
    from knedit.flows.choices import Choices, Gating

    solver = assign_solvers(solvers)
    return Choices(
        update_solver=solver["update"],
        erase_solver=solver["erase"],
        amplify_solver=solver["amplify"],
        roles=read_roles(roles),
        layers=None if layers is None else read_layers(layers),
        gating=Gating(dict(map(read_gate, gates)), force),
        **others,
    )


def read_layers(layers: str) -> tuple[int, ...]:
    """Return the layers that a list such as "4-8,12" names, ascending, each once."""
    found: set[int] = set()
    for part in layers.split(","):
        first, _, last = part.partition("-")
        if not first.strip().isdecimal() or not (last.strip().isdecimal() or last == ""):
            raise click.BadParameter(f"{part!r} is no layer and no range as 4-8", param_hint="--layers")
        low, high = int(first), int(last or first)
        if low > high:
            raise click.BadParameter(f"{part!r} goes downwards", param_hint="--layers")
        found |= set(range(low, high + 1))
    return tuple(sorted(found))


def read_gate(told: str) -> tuple[str, float]:
    """Return the gate and the threshold that "NAME=NUMBER" tells."""
    name, _, value = told.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise click.BadParameter(f"{told!r} is not GATE=NUMBER", param_hint="--gate") from None


def show_plan(catalog: Any, planned: Any, *, as_json: bool) -> None:
    """Print an edit: steps, how solving went for each fact, gates, value vectors with norms and other users."""
    from knedit.flows.describe import describe_edit

    neurons = describe_edit(catalog, planned)
    if as_json:
        told = {"outcomes": planned.outcomes, "gates": planned.gates} if planned.outcomes or planned.gates else {}
        rows = [
            {
                "target": one.step.target,  # the steps themselves, with all of their neurons, stand above
                "layer": one.layer,
                "index": one.index,
                "norm": one.norm,
                "new_norm": one.new_norm,
                "others": one.others,
            }
            for one in neurons
        ]
        show_json({"edit": planned.edit, "steps": planned.steps, "neurons": rows, **told})
        return
    steps = [[s.operation, s.target, s.old, s.new, len(s.neurons), _layers(s.neurons)] for s in planned.steps]
    title = f"Edit {show_id(planned.edit.id)} of {planned.checkpoint.name}"
    show_rows(["operation", "target", "old", "new", "neurons", "layers"], steps, as_json=False, title=title)
    _show_outcomes(planned)
    shown = neurons[:_SHOWN] if planned.outcomes else neurons
    table = [[n.step.target, n.layer, n.index, n.norm, n.new_norm, len(n.others), few(n.others)] for n in shown]
    columns = ["target", "layer", "index", "norm", "new norm", "other facts", "such as"]
    show_rows(columns, table, as_json=False)
    if len(shown) < len(neurons):
        click.echo(f"… and {len(neurons) - len(shown)} more value vectors; --json tells all of them.")


def _show_outcomes(planned: Any) -> None:
    joint = planned.edit.config.get("joint")
    if joint and planned.outcomes:
        editions = ", ".join(joint["statistics"])
        rows = [[_named(planned, one), one.steps, one.remainder, one.worst, *_reach(one)] for one in planned.outcomes]
        show_rows(
            ["fact", "search steps", "left", "worst context", "columns", "least e", "largest e"],
            rows,
            as_json=False,
            title=f"Columns chosen by e, how far the fact's key stands out from statistics {editions}"
            + (f"; layers by {joint['layers_from']}" if "layers_from" in joint else ""),
        )
    for target, why in planned.edit.config.get("left_out", {}).items():
        click.echo(f"Left out: {target}: {why}")
    if planned.gates:
        show_gates(map(asdict, planned.gates))


def _named(planned: Any, outcome: Any) -> str:
    fact = planned.facts[outcome.fact_id]
    return f"{planned.relations[fact.relation_id]}/{fact.subject}"


def _reach(outcome: Any) -> tuple[str, float, float]:
    counts = " ".join(f"{layer}:{one['columns']}" for layer, one in outcome.layers.items())
    prices = [one["editability"] for one in outcome.layers.values()]
    return counts, min(prices), max(prices)


def show_gates(gates: Iterable[Mapping[str, Any]]) -> None:
    """Print the gates that an edit was put through, as tables."""
    rows = [[one["gate"], one["value"], one["threshold"], _verdict(one)] for one in gates]
    show_rows(["gate", "value", "threshold", ""], rows, as_json=False)


def _verdict(gate: Mapping[str, Any]) -> str:
    return "passed" if gate["passed"] else "failed, forced" if gate["forced"] else "failed"


def _layers(neurons: Any) -> str:
    return " ".join(str(layer) for layer in sorted({layer for layer, _ in neurons}))

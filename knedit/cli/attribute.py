"""knedit attribute and knedit refine: from prompts to scores, from scores to a fact's neurons."""

from typing import Any

import click

from knedit.cli.options import dtype_option, json_option, with_catalog
from knedit.cli.show import progress_bar, show_json
from knedit.records import show_id


@click.command()
@click.argument("checkpoint")
@click.option("--relation", "relations", multiple=True, metavar="R", help="This relation's facts; may be repeated.")
@click.option("--fact", "facts", multiple=True, metavar="R/SUBJECT", help="Only this fact; may be repeated.")
@click.option(
    "--rule",
    type=click.Choice(["adaptive", "gauss", "midpoint", "left", "right"]),
    default="adaptive",
    show_default=True,
    help="Quadrature; left is the authors' code, right the paper.",
)
@click.option("--steps", type=int, help="Points (of each interval, if adaptive).")
@click.option(
    "--tolerance",
    type=float,
    default=0.01,
    show_default=True,
    help="Adaptive: completeness error allowed, as a share of the largest |P(w) − P(0)|.",
)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many facts of each relation.")
@click.option("--wordings", type=click.IntRange(min=1), help="At most so many prompts of each fact.")
@click.option("--single-token", is_flag=True, help="Refuse facts whose answer is several tokens.")
@dtype_option
@with_catalog
@json_option
def attribute(
    catalog: Any,
    *,
    checkpoint: str,
    relations: tuple[str, ...],
    facts: tuple[str, ...],
    rule: str,
    steps: int | None,
    tolerance: float,
    limit: int | None,
    wordings: int | None,
    single_token: bool,
    dtype: str,
    as_json: bool,
) -> None:
    """Score every neuron of a CHECKPOINT for every fact; what is done stays done, so run it again to go on."""
    from knedit.attribution.method import Method
    from knedit.flows.attribute import Wish
    from knedit.flows.attribute import attribute as run
    from knedit.flows.checkpoint import load_checkpoint

    method = Method(rule=rule, steps=steps, tolerance=tolerance)
    found = catalog.find_checkpoint(checkpoint)
    model = load_checkpoint(found, dtype=dtype)
    with progress_bar("Attributing facts") as progress:
        report = run(
            catalog,
            found,
            model,
            method=method,
            wish=Wish(relations, facts, limit, wordings, single_token),
            progress=progress,
        )
    show_json(report) if as_json else click.echo(_told(report))


def _told(report: Any) -> str:
    lines = [
        f"Run {show_id(report.run.id)}: {report.attributed} facts attributed ({report.prompts} prompts), "
        f"{report.already} already done, {report.without_prompts} without a prompt for this kind of model."
    ]
    if report.inexact:
        lines.append(f"{report.inexact} prompts missed the tolerance; they are stored with their error.")
    if report.unusable:
        lines.append(f"{report.unusable} prompts could not be asked; the reasons stand above.")
    return "\n".join(lines)


@click.command()
@click.argument("checkpoint")
@click.option("--run", metavar="RUN", help="Which run to refine; else the newest.")
@click.option("--threshold", type=float, default=0.2, show_default=True, help="Coarse: part of the prompt's maximum.")
@click.option("--share", type=float, default=0.7, show_default=True, help="Part of a fact's prompts that must agree.")
@click.option("--min-prompts", type=int, default=3, show_default=True, help="Number of prompts that must agree.")
@click.option("--adjust", is_flag=True, help="Move --share by 0.05 per relation until 2 to 5 neurons a fact remain.")
@click.option(
    "--hub-share",
    type=float,
    default=0.1,
    show_default=True,
    help="A neuron of more than this part of a relation's facts is the relation's.",
)
@click.option(
    "--hub-relations",
    type=float,
    default=0.1,
    show_default=True,
    help="A neuron of more than this part of the relations (at least 3) is generic.",
)
@with_catalog
@json_option
def refine(catalog: Any, *, checkpoint: str, run: str | None, as_json: bool, **thresholds: Any) -> None:
    """Keep the neurons that a fact's prompts share, and set hubs aside. A query on stored scores: no model needed."""
    from knedit.attribution.refine import Thresholds
    from knedit.flows.refine import refine_checkpoint

    found = catalog.find_checkpoint(checkpoint)
    refinement, facts, neurons = refine_checkpoint(catalog, found, Thresholds(**thresholds), run=run)
    roles = {role: sum(one.role == role for one in neurons) for role in ("fact", "relation", "generic")}
    empty = sum(not one.neurons for one in facts)
    own = len({one.fact_id for one in neurons if one.role == "fact"})
    if as_json:
        show_json(
            {
                "refinement": refinement,
                "facts": len(facts),
                "facts_without_neurons": empty,
                "facts_with_own_neurons": own,
                "neurons": roles,
            }
        )
        return
    mean = len(neurons) / len(facts) if facts else 0.0
    click.echo(
        f"Refinement {show_id(refinement.id)}: {len(facts)} facts, {mean:.1f} neurons a fact: {roles['fact']} of the "
        f"fact, {roles['relation']} of its relation, {roles['generic']} generic.\n"
        f"{own} facts have neurons of their own, {empty} have none at all."
    )

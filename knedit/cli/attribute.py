"""knedit attribute and knedit refine: from prompts to scores, from scores to a fact's neurons."""

from typing import Any

import click

from knedit.cli.method_options import chosen_setting, method_options
from knedit.cli.options import MemorySize, json_option, select_option, with_catalog
from knedit.cli.progress import attribution_progress
from knedit.cli.show import show_json
from knedit.records import show_id

_PLACE = ("workers", "device", "device_map", "memory")


@click.command()
@click.argument("checkpoint")
@click.option("--relation", "relations", multiple=True, metavar="R", help="This relation's facts; may be repeated.")
@click.option("--fact", "facts", multiple=True, metavar="R/SUBJECT", help="Only this fact; may be repeated.")
@select_option
@click.option("--limit", type=click.IntRange(min=1), help="At most so many facts of each relation.")
@click.option("--wordings", type=click.IntRange(min=1), help="At most so many prompts of each fact.")
@click.option("--single-token", is_flag=True, help="Refuse facts whose answer is several tokens.")
@method_options
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Prompts of one transaction.")
@click.option("--memory", type=MemorySize(), default="2GiB", show_default=True, help="For activations, as 500MB.")
@click.option("--device", metavar="D", help="Where to compute: cpu, cuda, cuda:1; else CUDA where there is one.")
@click.option("--device-map", metavar="auto", help="Spread a model that is too large for one device (accelerate).")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Ray's, one a device.")
@click.option("--ray-address", metavar="HOST:PORT", help="Join this Ray cluster instead of working on this machine.")
@with_catalog
@json_option
def attribute(catalog: Any, *, checkpoint: str, as_json: bool, **arguments: Any) -> None:
    """Score every neuron of a CHECKPOINT for every fact; what is done stays done, so run it again to go on."""
    from knedit.flows.attribute import Wish
    from knedit.flows.attribute import attribute as run
    from knedit.flows.places import Place, opened

    found = catalog.find_checkpoint(checkpoint)
    setting = chosen_setting(catalog, arguments)
    batch = arguments.pop("batch")
    place = Place(address=arguments.pop("ray_address"), **{name: arguments.pop(name) for name in _PLACE})
    wish = Wish(**arguments)
    with (
        opened(found, setting.dtype, place) as (model, pool),
        attribution_progress("Attributing") as progress,
    ):
        report = run(
            catalog,
            found,
            model,
            method=setting.method,
            position=setting.position,
            wish=wish,
            batch=batch,
            pool=pool,
            progress=progress,
        )
    show_json(report) if as_json else click.echo(_told(report))


def _told(report: Any) -> str:
    lines = [
        f"Run {show_id(report.run.id)}: {report.attributed} facts attributed ({report.prompts} prompts), "
        f"{report.already} already done, {report.without_prompts} without a prompt for this kind of model."
    ]
    shown = f"See: knedit runs show {show_id(report.run.id)[:8]}"
    if report.inexact:
        lines.append(f"{report.inexact} prompts missed the tolerance; they are stored with their error. {shown}")
    if report.unusable:
        lines.append(f"{report.unusable} prompts could not be asked; their reasons are stored. {shown}")
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

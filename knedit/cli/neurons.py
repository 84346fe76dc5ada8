"""knedit neurons: which neurons a fact has, which facts a neuron has, which neurons serve everybody."""

from typing import Any

import click

from knedit.cli.neuron_remarks import describe, label, labels, note, show
from knedit.cli.options import json_option, with_catalog
from knedit.cli.show import show_rows


@click.group()
def neurons() -> None:
    """Ask for a fact's neurons, a neuron's facts, and hubs; read what neurons say, and remark on them."""


for command in (show, describe, note, label, labels):
    neurons.add_command(command)


checkpoint_option = click.option("--checkpoint", metavar="C", help="Which checkpoint's; else the only refined one.")


@neurons.command()
@click.argument("reference", metavar="FACT")
@checkpoint_option
@with_catalog
@json_option
def of(catalog: Any, *, reference: str, checkpoint: str | None, as_json: bool) -> None:
    """List the refined neurons of a FACT, by falling score, with the number of other facts that use them."""
    from knedit.flows.neurons import neurons_of_fact

    rows = [
        [one.layer, one.index, one.score, one.share, one.role, others]
        for one, others in neurons_of_fact(catalog, reference, checkpoint)
    ]
    show_rows(["layer", "index", "score", "share", "role", "other facts"], rows, as_json=as_json, title=reference)


@neurons.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@checkpoint_option
@with_catalog
@json_option
def hubs(catalog: Any, *, limit: int, checkpoint: str | None, as_json: bool) -> None:
    """List the neurons that the most facts share."""
    from knedit.flows.neurons import newest_refinement

    rows = [
        [one.layer, one.index, one.facts, one.share_of_facts, one.relations, one.share_of_relations]
        for one in catalog.hubs(newest_refinement(catalog, checkpoint).id, limit=limit)
    ]
    columns = ["layer", "index", "facts", "share of facts", "relations", "share of relations"]
    show_rows(columns, rows, as_json=as_json)


@neurons.command("facts")
@click.argument("layer", type=int)
@click.argument("index", type=int)
@checkpoint_option
@with_catalog
@json_option
def facts_(catalog: Any, *, layer: int, index: int, checkpoint: str | None, as_json: bool) -> None:
    """List the facts that hold the neuron (LAYER, INDEX), both counted from 0."""
    from knedit.flows.neurons import newest_refinement

    rows = [
        [use.relation, use.fact.subject, use.fact.object, use.neuron.score, use.neuron.share, use.neuron.role]
        for use in catalog.users_of(newest_refinement(catalog, checkpoint).id, layer, index)
    ]
    show_rows(["relation", "subject", "object", "score", "share", "role"], rows, as_json=as_json)

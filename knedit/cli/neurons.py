"""knedit neurons: a fact's neurons, a neuron's facts, hubs; neurons that others published, in and out."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.options import json_option, on_error_option, with_catalog
from knedit.cli.show import show_json, show_rows, show_skipped
from knedit.records import show_id


@click.group()
def neurons() -> None:
    """Ask for a fact's neurons, a neuron's facts, and hubs; import and export published neurons."""


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


@neurons.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--checkpoint", metavar="C", required=True, help="Whose neurons they are.")
@click.option("--revision", metavar="R", help="Its revision; one that is not known is registered with it.")
@click.option("--format", metavar="F", help="eleuther, kn-paper-neurons or kn-paper-scores; else found out.")
@on_error_option
@with_catalog
@json_option
def import_(
    catalog: Any,
    *,
    path: Path,
    checkpoint: str,
    revision: str | None,
    format: str | None,
    on_error: str,
    as_json: bool,
) -> None:
    """Import neurons, or scores, that others published, for facts that are there. Importing twice changes nothing.

    The facts come first (knedit facts import), for neurons are published by the keys of a data set's facts. Scores are
    refined afterwards: knedit refine C --run RUN.
    """
    from knedit.catalog.formats.streams import stop
    from knedit.flows.facts import Skipped
    from knedit.flows.published import import_neurons

    skipped = Skipped()
    fault = skipped if on_error == "skip" else stop
    counts = import_neurons(catalog, path, checkpoint, revision=revision, format=format, fault=fault)
    show_skipped(skipped.first, skipped.count)
    if as_json:
        show_json(counts)
        return
    rows = [
        [one.run.config["dataset"], one.run.config.get("method"), show_id(one.run.id), what, count.seen, count.added]
        for one in counts
        for what, count in _counted(one)
    ]
    show_rows(["data set", "method", "run", "what", "read", "new"], rows, as_json=False)


def _counted(one: Any) -> list[tuple[str, Any]]:
    things, neurons = ("prompts", "scores") if one.refinement_id is None else ("facts", "neurons")
    return [(things, one.records), (neurons, one.neurons)]


@neurons.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--format", type=click.Choice(["eleuther"]), default="eleuther", show_default=True)
@click.option("--dataset", metavar="D", default="pararel", show_default=True, help="Whose keys name the facts.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT where it exists.")
@checkpoint_option
@with_catalog
def export(catalog: Any, *, output: Path, format: str, dataset: str, overwrite: bool, checkpoint: str | None) -> None:
    """Write the newest refined neurons to OUTPUT by the keys of a data set's facts, as EleutherAI published them."""
    from knedit.flows.published import export_neurons

    count = export_neurons(catalog, output, checkpoint, format=format, dataset=dataset, overwrite=overwrite)
    click.echo(f"Wrote the neurons of {count} keys to {output}.")

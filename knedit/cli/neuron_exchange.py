"""knedit neurons import and export: neurons that others published, in and out."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.options import json_option, on_error_option, with_catalog
from knedit.cli.show import show_json, show_rows, show_skipped
from knedit.records import show_id


@click.command("import")
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


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--format", type=click.Choice(["eleuther"]), default="eleuther", show_default=True)
@click.option("--dataset", metavar="D", default="pararel", show_default=True, help="Whose keys name the facts.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT where it exists.")
@click.option("--checkpoint", metavar="C", help="Which checkpoint's; else the only refined one.")
@with_catalog
def export(catalog: Any, *, output: Path, format: str, dataset: str, overwrite: bool, checkpoint: str | None) -> None:
    """Write the newest refined neurons to OUTPUT by the keys of a data set's facts, as EleutherAI published them."""
    from knedit.flows.published import export_neurons

    count = export_neurons(catalog, output, checkpoint, format=format, dataset=dataset, overwrite=overwrite)
    click.echo(f"Wrote the neurons of {count} keys to {output}.")

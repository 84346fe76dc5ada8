"""knedit edit sweep: which layers to edit, tried on a few facts and stored with the checkpoint."""

from typing import Any

import click

from knedit.cli.options import json_option, with_catalog
from knedit.cli.progress import attribution_progress
from knedit.cli.show import show_json, show_rows
from knedit.records import show_id


@click.command()
@click.argument("checkpoint")
@click.option("--facts", type=click.IntRange(min=1), default=6, show_default=True, help="How many facts are tried.")
@click.option("--windows", metavar="A-B,C-D", help="Ranges of layers; else a fifth of all, up to three quarters.")
@click.option("--relation", "relations", multiple=True, metavar="R", help="Facts of this relation; may be repeated.")
@with_catalog
@json_option
def sweep(
    catalog: Any, *, checkpoint: str, facts: int, windows: str | None, relations: tuple[str, ...], as_json: bool
) -> None:
    """Try windows of layers on a few facts of CHECKPOINT in memory; edit plan then edits the best one's layers.

    The score is the mean of three shares (new answer as argmax of the own wording and of paraphrases, other facts'
    argmax kept), less the nats by which other facts moved. A sweep that is killed goes on.
    """
    from knedit.flows.checkpoint import load_checkpoint
    from knedit.flows.sweep import SweepWish, label, sweep_layers

    found = catalog.find_checkpoint(checkpoint)
    wish = SweepWish(facts, _windows(windows), relations)
    with attribution_progress(f"Sweep of {found.name}") as progress:
        swept, tried = sweep_layers(catalog, found, load_checkpoint, wish, progress=progress)
    if as_json:
        show_json({"layers": list(swept.layers), "experiment": show_id(swept.experiment.id), "windows": tried})
        return
    names = ("argmax", "generated", "paraphrase_argmax", "sibling_argmax_kept", "sibling_kl")
    rows = [
        [label(one.layers), one.score, *(one.figures.get(name) for name in names), one.failed or "", "*" * one.chosen]
        for one in tried
    ]
    columns = ["layers", "score", "argmax", "generated", "paraphrase argmax", "others kept", "others' KL", "failed", ""]
    show_rows(columns, rows, as_json=False, title=f"Layers of {found.name}, {swept.named}")
    click.echo(f"Plans of {found.name} edit the layers {label(swept.layers)}, unless --layers says otherwise.")


def _windows(told: str | None) -> tuple[tuple[int, ...], ...]:
    from knedit.cli.edit_plan import read_layers

    return () if told is None else tuple(read_layers(part) for part in told.split(","))

"""knedit statistics: count what a checkpoint's down projections take in, for solvers that choose their own neurons."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.edit_plan import read_layers
from knedit.cli.options import MOST, json_option, with_catalog
from knedit.cli.progress import attribution_progress
from knedit.cli.show import show_rows


@click.command()
@click.argument("checkpoint")
@click.option(
    "--text",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Running text, in UTF-8; else knedit's own.",
)
@click.option(
    "--dataset", "datasets", multiple=True, metavar="NAME", help="Subjects of the catalog's facts from there."
)
@click.option("--layers", metavar="A-B,C", help="Which layers; else those that are usually edited.")
@click.option(
    "--tokens", type=click.IntRange(2, MOST), default=20_000, show_default=True, help="Of running text, at most."
)
@with_catalog
@json_option
def statistics(
    catalog: Any,
    *,
    checkpoint: str,
    text: Path | None,
    datasets: tuple[str, ...],
    layers: str | None,
    tokens: int,
    as_json: bool,
) -> None:
    """Count second moments of CHECKPOINT's keys and keep them in the cache, in the place of earlier ones.

    Keys are counted where edits act (a causal model's subjects' last tokens, else where the answer is due) and over
    running text. A run that is killed goes on.
    """
    from knedit.flows.checkpoint import load_checkpoint
    from knedit.flows.solving import usual_layers
    from knedit.flows.sources import choose_source
    from knedit.flows.statistics import counted, take_statistics

    found = catalog.find_checkpoint(checkpoint)
    given = None if layers is None else read_layers(layers)
    source = choose_source(catalog, text=text, datasets=datasets, tokens=tokens)
    model = load_checkpoint(found)
    chosen = usual_layers(model.layout) if given is None else given
    with attribution_progress(f"Statistics of {found.name}") as progress:
        take_statistics(model, found.sha256, chosen, source, progress=progress)
    rows = [[one.layer, one.subjects, one.text, one.source, str(one.path)] for one in counted(found.sha256, chosen)]
    show_rows(["layer", "subjects", "tokens", "source", "file"], rows, as_json=as_json)

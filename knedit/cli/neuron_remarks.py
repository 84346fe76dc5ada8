"""knedit neurons show, describe, note, label and labels: what a neuron says, and what people add to it."""

from typing import Any

import click

from knedit.cli.options import MemorySize, by_option, dtype_option, json_option, with_catalog
from knedit.cli.show import show_json, show_remarks, show_rows

checkpoint_option = click.option("--checkpoint", metavar="C", help="Which checkpoint's; else the catalog's only one.")
layer_argument = click.argument("layer", type=int)
index_argument = click.argument("index", type=int)


@click.command()
@layer_argument
@index_argument
@checkpoint_option
@with_catalog
@json_option
def show(catalog: Any, *, layer: int, index: int, checkpoint: str | None, as_json: bool) -> None:
    """Show what is known of the neuron (LAYER, INDEX): its tokens, its facts by role, its labels and notes."""
    from knedit.flows.neuron_sheet import neuron_sheet, only_checkpoint

    sheet = neuron_sheet(catalog, only_checkpoint(catalog, checkpoint), layer, index)
    if as_json:
        show_json(sheet)
        return
    roles = ", ".join(f"{count} as {role} neuron" for role, count in sheet.roles.items())
    click.echo(f"Neuron ({layer}, {index}) of {sheet.checkpoint}. Facts that hold it: {roles or 'none'}.")
    if sheet.description is None:
        click.echo(f"Not read yet. Run: knedit neurons describe {sheet.checkpoint} --neuron {layer}:{index}")
    else:
        pairs = zip(sheet.description.reading["top"], sheet.description.reading["bottom"], strict=True)
        rows = [[repr(up[0]), up[1], repr(down[0]), down[1]] for up, down in pairs]
        show_rows(["promotes", "logit", "suppresses", "logit "], rows, as_json=False)
    show_remarks(sheet.labels, sheet.notes)


@click.command()
@click.argument("checkpoint")
@click.option("--neuron", "neurons", multiple=True, metavar="L:I", help="This neuron; may be repeated.")
@click.option("--refinement", metavar="ID", help="The neurons of one refinement, also another checkpoint's.")
@click.option("--top", type=click.IntRange(1, 1000), default=10, show_default=True, help="Tokens of each end.")
@click.option("--memory", type=MemorySize(), default="1GiB", show_default=True, help="For what is computed at once.")
@dtype_option
@with_catalog
@json_option
def describe(
    catalog: Any,
    *,
    checkpoint: str,
    neurons: tuple[str, ...],
    refinement: str | None,
    top: int,
    memory: int,
    dtype: str,
    as_json: bool,
) -> None:
    """Read the value vectors of CHECKPOINT's neurons, all refined ones unless named, in words.

    A token's logit is the product of the value vector with the token's output embedding, without the final norm.
    """
    from functools import partial

    from knedit.flows.checkpoint import load_checkpoint
    from knedit.flows.describe_neurons import choose_places, describe_neurons

    found = catalog.find_checkpoint(checkpoint)
    places = choose_places(catalog, found, neurons=neurons, refinement=refinement)
    load = partial(load_checkpoint, dtype=dtype)
    count = describe_neurons(catalog, found, load, places, top=top, memory=memory)
    if as_json:
        show_json({"checkpoint": found.name, "neurons": count, "top": top})
        return
    layer, index = places[0]
    click.echo(f"{count} neurons are read. See: knedit neurons show {layer} {index} --checkpoint {found.name}")


@click.command()
@layer_argument
@index_argument
@click.argument("text")
@checkpoint_option
@by_option
@with_catalog
def note(catalog: Any, *, layer: int, index: int, text: str, checkpoint: str | None, by: str | None) -> None:
    """Add a note to the neuron (LAYER, INDEX), for good."""
    from knedit.flows.neuron_sheet import only_checkpoint

    found = only_checkpoint(catalog, checkpoint)
    catalog.note_neuron(found.id, layer, index, text, by=by)
    click.echo(f"Noted. See: knedit neurons show {layer} {index} --checkpoint {found.name}")


@click.command()
@layer_argument
@index_argument
@click.argument("label")
@checkpoint_option
@click.option("--remove", is_flag=True, help="Take the label off.")
@by_option
@with_catalog
def label(
    catalog: Any, *, layer: int, index: int, label: str, checkpoint: str | None, remove: bool, by: str | None
) -> None:
    """Give the neuron (LAYER, INDEX) a LABEL, or take it off."""
    from knedit.flows.neuron_sheet import only_checkpoint

    found = only_checkpoint(catalog, checkpoint)
    if remove:
        had = catalog.unlabel_neurons(found.id, [(layer, index)], label)
        click.echo("The label is taken off." if had else "The neuron did not have the label.")
        return
    new = catalog.label_neurons(found.id, [(layer, index)], label, by=by)
    click.echo("The neuron is labelled." if new else "The neuron has the label already.")


@click.command()
@click.option("--label", metavar="L", help="Only the neurons that have this label.")
@checkpoint_option
@with_catalog
@json_option
def labels(catalog: Any, *, label: str | None, checkpoint: str | None, as_json: bool) -> None:
    """List a checkpoint's labelled neurons."""
    from knedit.flows.neuron_sheet import only_checkpoint

    found = catalog.neuron_labels(only_checkpoint(catalog, checkpoint).id, label=label)
    rows = [[one.layer, one.index, one.label, one.given_by, one.given_at] for one in found]
    if as_json:
        show_json(found)
        return
    show_rows(["layer", "index", "label", "given by", "given at"], rows, as_json=False)

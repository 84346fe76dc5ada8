"""knedit delta: an edit as one small file, that file put into effect, and an edit as a LoRA adapter."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.options import json_option, with_catalog
from knedit.cli.show import show_json, show_rows

output_option = click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="What is written; it must not exist."
)


@click.group()
def delta() -> None:
    """Make one small file of an edit's new values, or an adapter; put such files into effect."""


@delta.command()
@click.argument("reference", metavar="EDIT|CHILD")
@output_option
@click.option("--with-revert", is_flag=True, help="The old values too, in NAME.revert.safetensors: not to be shipped.")
@with_catalog
@json_option
def create(catalog: Any, *, reference: str, output: Path, with_revert: bool, as_json: bool) -> None:
    """Write the new values of an EDIT, or of an edited checkpoint CHILD, to one safetensors file."""
    from knedit.flows.delta import create_delta

    written = create_delta(catalog, reference, output, with_revert=with_revert)
    rows = [[str(one.path), one.kind, one.size, one.tensors, one.value_vectors] for one in written]
    show_rows(["file", "kind", "bytes", "tensors", "value vectors"], rows, as_json=as_json)
    if with_revert:
        click.echo(f"{written[1].path} gives back what the edit took out: do not ship it.", err=True)


@delta.command("apply")
@click.argument("base")
@click.argument("deltas", metavar="DELTA...", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_option
@click.option("--link", is_flag=True, help="Hard links for shards that stay as they are, where that is possible.")
@with_catalog
@json_option
def apply_(catalog: Any, *, base: str, deltas: tuple[Path, ...], output: Path, link: bool, as_json: bool) -> None:
    """Write the checkpoint BASE, a folder or a name, with one or more deltas to a new folder."""
    from knedit.flows.delta import apply_delta

    apply_delta(catalog, base, deltas, output, link=link)
    if as_json:
        show_json({"folder": str(output)})
    else:
        click.echo(f"Written: {output}")


@delta.command()
@click.argument("reference", metavar="EDIT|CHILD")
@output_option
@click.option("--rank", type=click.IntRange(1), metavar="R", help="At most this rank; else exact, to float32.")
@click.option("--base", metavar="NAME", help="What the adapter calls its base model; else the checkpoint's name.")
@with_catalog
@json_option
def lora(catalog: Any, *, reference: str, output: Path, rank: int | None, base: str | None, as_json: bool) -> None:
    """Write an EDIT, or an edited checkpoint CHILD, as a LoRA adapter for PEFT to a new folder."""
    from knedit.flows.adapter import export_adapter

    written = export_adapter(catalog, reference, output, rank=rank, base=base)
    rows = [[one.module, one.columns, one.rank, one.error, one.largest] for one in written]
    show_rows(["module", "value vectors", "rank", "relative error", "largest error"], rows, as_json=as_json)
    click.echo("The base model still knows what the edit took out: only a patched checkpoint does not.", err=True)

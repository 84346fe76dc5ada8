"""knedit checkpoint: register models' files, or names alone, list and compare them, take an edit back."""

import math
from pathlib import Path
from typing import Any

import click

from knedit.cli.options import json_option, limit_option, with_catalog
from knedit.cli.publish import push, sign, verify
from knedit.cli.show import show_json, show_rows
from knedit.records import show_id


@click.group()
def checkpoint() -> None:
    """Register models' files, or names alone, list, verify, sign, push and compare them, take an edit back."""


for command in (verify, sign, push):
    checkpoint.add_command(command)


@checkpoint.command()
@click.argument("path_or_id")
@click.option("--name", help="What to call it; else the folder's name.")
@click.option("--revision", help="Revision on the Hub.")
@with_catalog
@json_option
def add(catalog: Any, *, path_or_id: str, name: str | None, revision: str | None, as_json: bool) -> None:
    """Register a folder with safetensors, a GGUF file (converted once) or a Hub id."""
    from knedit.flows.checkpoint import add_checkpoint

    added = add_checkpoint(catalog, path_or_id, name=name, revision=revision)
    if as_json:
        show_json(added)
    else:
        click.echo(f"{added.name}  {show_id(added.id)}  {added.family}, {added.n_layers} × {added.ffn_width} neurons")


@checkpoint.command()
@click.argument("name")
@click.option("--revision", metavar="R", required=True, help="Which weights of that name.")
@click.option("--layers", type=click.IntRange(1, 2**31 - 1), metavar="N", help="How many layers it has.")
@click.option("--width", type=click.IntRange(1, 2**31 - 1), metavar="W", help="How many neurons a layer has.")
@with_catalog
@json_option
def register(catalog: Any, *, name: str, revision: str, layers: int | None, width: int | None, as_json: bool) -> None:
    """Register a checkpoint by name and revision alone, for neurons that others published of it."""
    from knedit.flows.published import named_checkpoint

    wanted = named_checkpoint(name, revision, n_layers=layers or 0, ffn_width=width or 0)
    added = catalog.register_checkpoint(wanted)
    if as_json:
        show_json(added)
    else:
        click.echo(f"{added.name}  {show_id(added.id)}  revision {added.revision}, without files")


@checkpoint.command("list")
@with_catalog
@json_option
def list_(catalog: Any, *, as_json: bool) -> None:
    """List the catalog's checkpoints by name."""
    known = catalog.checkpoints()
    names = {one.id: one.name for one in known}
    rows = [
        [
            one.name,
            show_id(one.id),
            one.family or None,
            one.n_layers or None,
            one.ffn_width or None,
            names.get(one.parent_id),
            one.path if one.sha256 else "no files",
        ]
        for one in known
    ]
    show_rows(["name", "id", "family", "layers", "neurons", "parent", "path"], rows, as_json=as_json)


@checkpoint.command()
@click.argument("reference", metavar="CHECKPOINT")
@with_catalog
@json_option
def show(catalog: Any, *, reference: str, as_json: bool) -> None:
    """Show one checkpoint: its files' hashes, its runs and refinements, the edits made of it."""
    one = catalog.find_checkpoint(reference)
    runs, refinements, edits = catalog.runs(one.id), catalog.refinements(one.id), catalog.edits(one.id)
    if as_json:
        show_json({"checkpoint": one, "runs": runs, "refinements": refinements, "edits": edits})
        return
    show_rows(["field", "value"], [[k, v] for k, v in _described(one)], as_json=False, title=one.name)
    records = [("run", runs), ("refinement", refinements), ("edit", edits)]
    rows = [[kind, show_id(record.id), str(dict(record.config))] for kind, group in records for record in group]
    show_rows(["record", "id", "configuration"], rows, as_json=False)


def _described(one: Any) -> list[tuple[str, Any]]:
    fields = ("id", "revision", "sha256", "family", "n_layers", "ffn_width", "path")
    values = [(name, show_id(one.id) if name == "id" else getattr(one, name) or None) for name in fields]
    values += [] if one.sha256 else [("files", "none: it is known by name and revision alone")]
    return [*values, *((f"sha256 of {name}", digest) for name, digest in one.files.items())]


@checkpoint.command()
@click.argument("before")
@click.argument("after")
@limit_option
@with_catalog
@json_option
def compare(catalog: Any, *, before: str, after: str, limit: int, as_json: bool) -> None:
    """Compare two checkpoints: the files that differ by sha256, and what their newest refinements found."""
    from knedit.cli.neurons import show_refinements

    sides = [catalog.find_checkpoint(one) for one in (before, after)]
    found = catalog.checkpoint_difference(sides[0], sides[1], limit=limit)
    if as_json:
        show_json(found)
        return
    groups = (("only before", found.only_before), ("only after", found.only_after), ("changed", found.changed))
    rows = [[name, how] for how, names in groups for name in names]
    title = f"Files of {found.before.name} and {found.after.name}"
    show_rows(["file", "how"], rows, as_json=False, title=title)
    if found.refinements is None:
        click.echo("Their neurons cannot be compared: not both were refined.")
    else:
        show_refinements(found.refinements, "Their newest refinements")


@checkpoint.command()
@click.argument("reference", metavar="CHILD")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The new folder; it must not exist.")
@click.option("--delta", type=click.Path(path_type=Path), help="The file of old values; else the parent is asked.")
@with_catalog
@json_option
def revert(catalog: Any, *, reference: str, output: Path, delta: Path | None, as_json: bool) -> None:
    """Write an edited checkpoint, a folder or a name, as it was before its edit: to the bit, by the parent's sha256."""
    from knedit.flows.delta import revert_checkpoint

    revert_checkpoint(catalog, reference, output, delta=delta)
    if as_json:
        show_json({"folder": str(output)})
    else:
        click.echo(f"Written, with the parent's sha256: {output}")


@checkpoint.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--limit", type=click.IntRange(min=1), default=40, show_default=True, help="Rows of the table.")
@with_catalog
@json_option
def diff(catalog: Any, *, first: str, second: str, limit: int, as_json: bool) -> None:
    """Tell what two checkpoints, folders or names, differ in: neurons, how much, which facts hold them; other files."""
    from knedit.flows.difference import compare_checkpoints

    found = compare_checkpoints(catalog, first, second)
    if as_json:
        plain = found.difference
        names = ("only_first", "only_second", "files", "tensors_only_first", "tensors_only_second", "reshaped")
        told = {name: getattr(plain, name) for name in (*names, "converted")}
        show_json({**told, "other_tensors": found.others, "neurons": found.neurons, "refinement": found.refinement})
        return
    for sentence in _differences(found):
        click.echo(sentence)
    ranked = sorted(found.neurons, key=_largest_first)
    if ranked:
        rows = [[one.layer, one.index, one.relative, ", ".join(one.facts[:3])] for one in ranked[:limit]]
        show_rows(["layer", "index", "relative change", "facts"], rows, as_json=False)


def _largest_first(one: Any) -> tuple[float, int, int]:
    return -math.inf if one.relative is None else -one.relative, one.layer, one.index


def _differences(found: Any) -> list[str]:
    plain = found.difference
    groups = {
        "Files only in A": plain.only_first,
        "Files only in B": plain.only_second,
        "Files that differ": plain.files,
        "Tensors only in A": plain.tensors_only_first,
        "Tensors only in B": plain.tensors_only_second,
        "Tensors of another shape or kind": plain.reshaped,
        "Other tensors that differ": list(found.others),
    }
    layers = len({one.layer for one in found.neurons})
    told = [f"{what}: {', '.join(names)}" for what, names in groups.items() if names]
    converted = [f"Tensors stored in another precision: {plain.converted}"] if plain.converted else []
    return [*told, *converted, f"Value vectors that differ: {len(found.neurons)}, in {layers} layers"]

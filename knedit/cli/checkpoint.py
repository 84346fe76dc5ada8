"""knedit checkpoint: register models' files, or names alone, list them, verify them."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.options import json_option, limit_option, with_catalog
from knedit.cli.show import show_json, show_rows
from knedit.errors import KneditError
from knedit.records import show_id


@click.group()
def checkpoint() -> None:
    """Register models' files, or names alone, list them, verify them."""


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
def diff(catalog: Any, *, before: str, after: str, limit: int, as_json: bool) -> None:
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
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--parent", type=click.Path(path_type=Path), help="The parent's folder; else the catalog is asked.")
@with_catalog
@json_option
def verify(catalog: Any, *, folder: Path, parent: Path | None, as_json: bool) -> None:
    """Check hashes, and that a patched folder differs from its parent in the listed columns only; else exit with 2."""
    from knedit.flows.checkpoint import verify_checkpoint

    report = verify_checkpoint(catalog, folder, parent=parent)
    if as_json:
        show_json(
            {
                "folder": str(folder),
                "ok": report.ok,
                "problems": report.problems,
                "files": report.files,
                "tensors": report.tensors,
                "value_vectors": report.slices,
            }
        )
    if not report.ok:
        raise KneditError("the folder does not verify: " + "; ".join(report.problems), str(folder), "Do not use it.")
    if not as_json:
        click.echo(f"Verified: {report.files} files, {report.slices} changed value vectors in {report.tensors} tensors")

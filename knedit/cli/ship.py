"""knedit ship: from a plan to a folder that was measured, passed its gates, and can prove what it is."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.edit_plan import read_gate, show_gates
from knedit.cli.judged import show_judged
from knedit.cli.options import json_option, with_catalog
from knedit.cli.publish import ask_password
from knedit.cli.show import show_json
from knedit.records import show_id

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("reference", metavar="EDIT")
@click.option("--output", type=_PATH, required=True, help="The new folder; it must not exist.")
@click.option("--name", help="What the new checkpoint is called; else the folder's name.")
@click.option("--key", type=_PATH, metavar="FILE", help="Sign it by this private key (PEM; KNEDIT_KEY_PASSWORD).")
@click.option("--private", is_flag=True, help="Tell erased facts by their number alone.")
@click.option("--gate", "gates", multiple=True, metavar="GATE=X", help="Move a threshold, as in edit plan.")
@click.option("--force", is_flag=True, help="Ship it though it fails a gate; that is recorded.")
@click.option("--link", is_flag=True, help="Hard links for shards that stay as they are, where that is possible.")
@click.option("--license", "licence", metavar="ID", help="The Hub's name of the licence; else the parent's.")
@click.option("--license-name", "licence_name", metavar="NAME", help="What a licence that is `other` is called.")
@click.option("--license-link", "licence_link", metavar="URL", help="Where that licence is.")
@click.option("--base-model", metavar="OWNER/NAME", help="The parent's name on the Hub, where it is not known.")
@click.option("--language", "languages", multiple=True, metavar="CODE", help="Its languages; else the parent's.")
@with_catalog
@json_option
def ship(catalog: Any, *, reference: str, output: Path, as_json: bool, **how: Any) -> None:
    """Write EDIT to a folder, measure it there, put it through all gates, add card, recipe, hashes and signature.

    One step that fails leaves nothing behind. The folder holds a model card (README.md), knedit.json, reproduce/,
    SHA256SUMS, and, with --key, model.sig.
    """
    from knedit.flows.checkpoint import load_checkpoint
    from knedit.flows.edit import read_edit
    from knedit.flows.ship import ship_edit

    planned = read_edit(catalog, catalog.find_edit(reference))
    _show(ship_edit(catalog, planned, load_checkpoint, output, _shipping(**how)), output, as_json=as_json)


def _shipping(
    *, gates: tuple[str, ...], name: str | None, key: Path | None, private: bool, force: bool, link: bool, **card: Any
) -> Any:
    from knedit.flows.card_facts import CardWishes
    from knedit.flows.ship import Shipping

    return Shipping(
        name=name,
        key=key,
        password=ask_password,
        private=private,
        thresholds=dict(map(read_gate, gates)),
        force=force,
        link=link,
        card=CardWishes(**card),
    )


def _show(shipped: Any, output: Path, *, as_json: bool) -> None:
    child, gates = shipped.checkpoint, shipped.gates
    if as_json:
        show_json({"checkpoint": child, "folder": str(output), "signed": shipped.signed, "gates": gates})
        return
    show_judged(shipped.judged, as_json=False)
    show_gates(gates)
    signed = ", signed" if shipped.signed else ""
    click.echo(f"Shipped and verified{signed}: {output} ({child.name}, {show_id(child.id)})")

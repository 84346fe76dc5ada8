"""knedit db: the catalog's revision."""

import click

from knedit.cli.options import json_option, with_address
from knedit.cli.show import show_json


@click.group()
def db() -> None:
    """Create, upgrade and inspect the catalog's database."""


@db.command()
@with_address
@json_option
def upgrade(address: str | None, *, as_json: bool) -> None:
    """Bring the catalog to the revision that this knedit needs; an empty database becomes a catalog."""
    from knedit.catalog.revisions import upgrade as run

    before, after = run(address)
    if as_json:
        show_json({"before": before, "after": after})
    else:
        was = before.revision or "empty"
        click.echo(f"Catalog at {after.address}: {was} → {after.revision}")


@db.command()
@with_address
@json_option
def current(address: str | None, *, as_json: bool) -> None:
    """Tell the catalog's revision and the one that this knedit needs; change nothing."""
    from knedit.catalog.revisions import standing

    found = standing(address)
    if as_json:
        show_json(found)
    else:
        click.echo(f"Catalog at {found.address}: {found.state}, revision {found.revision or 'none'} of {found.needed}")

"""knedit selections: facts saved under a name, for attribute, edit and export."""

from typing import Any

import click

from knedit.cli.options import by_option, json_option, with_catalog
from knedit.cli.show import show_json, show_rows
from knedit.records import show_id


@click.group()
def selections() -> None:
    """Save facts under a name, by what they have in common; use it with --select."""


@selections.command()
@click.argument("name")
@click.option("--relation", "relations", multiple=True, metavar="R", help="Facts of this relation, or another named.")
@click.option("--status", "statuses", multiple=True, metavar="S", help="Facts of this status, or another named.")
@click.option("--label", "labels", multiple=True, metavar="L", help="Facts that have this label, or another named.")
@click.option(
    "--dataset", "datasets", multiple=True, metavar="D", help="Facts told by this data set, or another named."
)
@click.option("--fact", "facts", multiple=True, metavar="R/SUBJECT", help="This fact besides.")
@click.option("--frozen", is_flag=True, help="Keep the facts that answer now, whatever changes.")
@click.option("--replace", is_flag=True, help="Replace the selection of this name.")
@by_option
@with_catalog
def save(
    catalog: Any, *, name: str, facts: tuple[str, ...], frozen: bool, replace: bool, by: str | None, **asked: Any
) -> None:
    """Save the facts that meet every criterion, by any of its values, under NAME. Without a criterion, all facts."""
    ids = [show_id(catalog.find_fact(reference).id) for reference in facts]
    criteria = asked | {"facts": ids}
    saved = catalog.save_selection(name, criteria, frozen=frozen, replace=replace, by=by)
    click.echo(f"Saved {saved.name}: {catalog.count_selected(saved.name)} facts{'' if frozen else ' at present'}.")


@selections.command("list")
@with_catalog
@json_option
def list_(catalog: Any, *, as_json: bool) -> None:
    """List the saved selections with their numbers of facts."""
    known = [(one, catalog.count_selected(one.name)) for one in catalog.selections()]
    if as_json:
        show_json([{"selection": one, "facts": count} for one, count in known])
        return
    rows = [[one.name, count, one.frozen, _told(one.criteria), one.saved_by, one.saved_at] for one, count in known]
    show_rows(["name", "facts", "frozen", "criteria", "saved by", "saved at"], rows, as_json=False)


@selections.command()
@click.argument("name")
@click.option("--count", is_flag=True, help="Print the number of facts alone.")
@with_catalog
@json_option
def show(catalog: Any, *, name: str, count: bool, as_json: bool) -> None:
    """Show the facts of a selection."""
    if count:
        number = catalog.count_selected(name)
        show_json({"facts": number}) if as_json else click.echo(number)
        return
    selection, facts = catalog.find_selection(name), catalog.selected(name)
    if as_json:
        show_json({"selection": selection, "facts": facts})
        return
    keys = {one.id: one.key for one in catalog.relations()}
    rows = [[show_id(one.id), keys[one.relation_id], one.subject, one.object, one.status] for one in facts]
    title = f"{name}: {_told(selection.criteria)}{', frozen' if selection.frozen else ''}"
    show_rows(["id", "relation", "subject", "object", "status"], rows, as_json=False, title=title)


@selections.command()
@click.argument("name")
@with_catalog
def remove(catalog: Any, *, name: str) -> None:
    """Forget a selection; its facts stay as they are."""
    catalog.remove_selection(name)
    click.echo(f"Removed {name}.")


def _told(criteria: Any) -> str:
    told = [f"{key} {' or '.join(values)}" for key, values in sorted(criteria.items()) if key != "facts"]
    if named := criteria.get("facts"):
        told.append(f"{len(named)} facts by name")
    return "; ".join(told) or "all facts"

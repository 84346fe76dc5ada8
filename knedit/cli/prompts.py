"""knedit prompts: the status of single wordings."""

from typing import Any

import click

from knedit.cli.options import by_option, json_option, with_catalog
from knedit.cli.show import show_changed
from knedit.records import ROLES


@click.group()
def prompts() -> None:
    """Approve, protect or retire wordings; knedit facts show lists them."""


@prompts.command()
@click.argument("references", metavar="[PROMPT]...", nargs=-1)
@click.argument("status", metavar="STATUS")
@click.option("--fact", "facts", multiple=True, metavar="R/SUBJECT", help="All prompts of this fact.")
@click.option("--role", "roles", multiple=True, type=click.Choice(ROLES), help="Of the facts' prompts only these.")
@click.option("--from", "before", metavar="STATUS", help="Only those that have this status now.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the fact's history.")
@by_option
@with_catalog
@json_option
def status(
    catalog: Any,
    *,
    references: tuple[str, ...],
    status: str,
    facts: tuple[str, ...],
    roles: tuple[str, ...],
    before: str | None,
    reason: str,
    by: str | None,
    as_json: bool,
) -> None:
    """Give prompts, by the beginnings of their ids, a STATUS; a retired one is asked no more."""
    from knedit.flows.curate import meant_prompts

    ids = [one.id for one in meant_prompts(catalog, references, facts=facts, roles=roles)]
    changed = catalog.set_prompt_status(ids, status, before=before, by=by, reason=reason)
    show_changed("prompts", status, meant=len(ids), changed=changed, as_json=as_json)

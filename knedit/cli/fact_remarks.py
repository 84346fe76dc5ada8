"""knedit facts status, history, note, label and labels: what people add to facts."""

from typing import Any

import click

from knedit.cli.options import by_option, json_option, select_option, with_catalog
from knedit.cli.show import show_changed, show_json, show_rows
from knedit.records import show_id

relation_option = click.option(
    "--relation", "relations", multiple=True, metavar="R", help="All facts of this relation."
)


@click.command()
@click.argument("references", metavar="[FACT]...", nargs=-1)
@click.argument("status", metavar="STATUS")
@relation_option
@select_option
@click.option("--from", "before", metavar="STATUS", help="Only those, or else all, that have this status now.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the history.")
@by_option
@with_catalog
@json_option
def status(
    catalog: Any,
    *,
    references: tuple[str, ...],
    status: str,
    relations: tuple[str, ...],
    selections: tuple[str, ...],
    before: str | None,
    reason: str,
    by: str | None,
    as_json: bool,
) -> None:
    """Give facts a STATUS: proposed, approved, protected or retired."""
    from knedit.flows.curate import meant_facts

    ids = meant_facts(catalog, references, relations=relations, selections=selections, before=before)
    changed = catalog.set_fact_status(ids, status, before=before, by=by, reason=reason)
    show_changed("facts", status, meant=len(ids), changed=changed, as_json=as_json)


@click.command()
@click.argument("reference", metavar="FACT")
@with_catalog
@json_option
def history(catalog: Any, *, reference: str, as_json: bool) -> None:
    """Show who gave a FACT and its prompts which status, when and why."""
    fact = catalog.find_fact(reference)
    changes = catalog.history(fact.id)
    if as_json:
        show_json({"fact": fact, "history": changes})
        return
    texts = {one.id: one.text for one in catalog.prompts([fact.id])}
    rows = [
        [one.changed_at, texts.get(one.prompt_id, "the fact"), one.before, one.after, one.changed_by, one.reason]
        for one in changes
    ]
    title = f"{fact.subject} – {fact.object} ({fact.status})"
    show_rows(["changed at", "what", "before", "after", "by", "reason"], rows, as_json=False, title=title)


@click.command()
@click.argument("reference", metavar="FACT")
@click.argument("text")
@by_option
@with_catalog
def note(catalog: Any, *, reference: str, text: str, by: str | None) -> None:
    """Add a note to a FACT, for good."""
    fact = catalog.find_fact(reference)
    catalog.note_fact(fact.id, text, by=by)
    click.echo(f"Noted. See: knedit facts show {show_id(fact.id)[:8]}")


@click.command()
@click.argument("references", metavar="[FACT]...", nargs=-1)
@click.argument("label", metavar="LABEL")
@relation_option
@select_option
@click.option("--remove", is_flag=True, help="Take the label off.")
@by_option
@with_catalog
def label(
    catalog: Any,
    *,
    references: tuple[str, ...],
    label: str,
    relations: tuple[str, ...],
    selections: tuple[str, ...],
    remove: bool,
    by: str | None,
) -> None:
    """Give facts a LABEL, or take it off. List them with: knedit facts list --label LABEL."""
    from knedit.flows.curate import meant_facts

    ids = meant_facts(catalog, references, relations=relations, selections=selections)
    if remove:
        click.echo(f"{catalog.unlabel_facts(ids, label)} of {len(ids)} facts had the label.")
        return
    click.echo(f"{catalog.label_facts(ids, label, by=by)} of {len(ids)} facts are newly labelled.")


@click.command()
@with_catalog
@json_option
def labels(catalog: Any, *, as_json: bool) -> None:
    """List the labels with their numbers of facts and neurons."""
    rows = [[one.label, one.facts, one.neurons] for one in catalog.labels()]
    show_rows(["label", "facts", "neurons"], rows, as_json=as_json)

"""knedit facts: bring facts in and out, list them, show one; what people add to them is in fact_remarks."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.fact_remarks import history, label, labels, note, status
from knedit.cli.options import json_option, on_error_option, with_catalog
from knedit.cli.show import show_json, show_remarks, show_rows, show_skipped
from knedit.records import ROLES, show_id


@click.group()
def facts() -> None:
    """Bring facts and their wordings in, list and curate them."""


for command in (status, history, note, label, labels):
    facts.add_command(command)


@facts.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--format", metavar="F", help="Its format, as csv or pararel; else found out from the path.")
@on_error_option
@with_catalog
@json_option
def import_(catalog: Any, *, path: Path, format: str | None, on_error: str, as_json: bool) -> None:
    """Import a file or folder of facts; `starter` is the set that comes with knedit. Importing twice changes nothing.

    Formats: knedit-jsonl, csv (also TSV), parquet, datasets, pararel, lama, kn-paper, counterfact, zsre,
    known-facts, lre.
    """
    from knedit.catalog.formats.streams import stop
    from knedit.flows.facts import Skipped, import_file

    skipped = Skipped()
    count = import_file(catalog, path, format=format, fault=skipped if on_error == "skip" else stop)
    show_skipped(skipped.first, skipped.count)
    if as_json:
        show_json(count)
        return
    nouns = ("relations", "facts", "prompts", "sources", "rewrites")
    rows = [[noun, getattr(count, noun).seen, getattr(count, noun).added] for noun in nouns]
    show_rows(["what", "read", "new"], rows, as_json=False)


@facts.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--format", metavar="F", help="jsonl (knedit's own), csv, tsv or parquet; else what OUTPUT ends in.")
@click.option("--relation", metavar="R", help="Only the facts of one relation.")
@click.option("--select", "selection", metavar="NAME", help="Only the facts of a saved selection.")
@click.option("--retired", is_flag=True, help="Retired facts and prompts too.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT where it exists.")
@with_catalog
def export(catalog: Any, *, output: Path, format: str | None, **chosen: Any) -> None:
    """Write facts and their prompts to OUTPUT. JSONL reads back equal; a table has a row a prompt."""
    from knedit.flows.facts import export_facts

    count = export_facts(catalog, output, format=format, **chosen)
    click.echo(f"Wrote {count} {'facts' if (format or output.suffix) in ('jsonl', '.jsonl') else 'rows'} to {output}.")


@facts.command("list")
@click.option("--relation", "relations", multiple=True, metavar="R", help="The facts of this relation.")
@click.option("--status", "statuses", multiple=True, metavar="S", help="The facts of this status.")
@click.option("--label", "labels", multiple=True, metavar="L", help="The facts that have this label.")
@click.option("--select", "selection", metavar="NAME", help="The facts of a saved selection.")
@with_catalog
@json_option
def list_(catalog: Any, *, selection: str | None, as_json: bool, **criteria: tuple[str, ...]) -> None:
    """List the relations with their numbers of facts and prompts, or the facts that are asked for."""
    if selection is None and not any(criteria.values()):
        rows = [
            [one.relation.key, one.relation.label, one.facts, *(one.prompts.get(role, 0) for role in ROLES)]
            for one in catalog.fact_summary()
        ]
        show_rows(["relation", "label", "facts", *ROLES], rows, as_json=as_json)
        return
    for key in criteria["relations"]:
        catalog.find_relation(key)
    keys = {one.id: one.key for one in catalog.relations()}
    among = None if selection is None else {one.id for one in catalog.selected(selection)}
    found = [one for one in catalog.facts_of(criteria) if among is None or one.id in among]
    rows = [[show_id(one.id), keys[one.relation_id], one.subject, one.object, one.status] for one in found]
    show_rows(["id", "relation", "subject", "object", "status"], rows, as_json=as_json)


@facts.command()
@click.argument("reference", metavar="FACT")
@with_catalog
@json_option
def show(catalog: Any, *, reference: str, as_json: bool) -> None:
    """Show one fact (RELATION/SUBJECT, or the beginning of its id) with its prompts, labels and notes."""
    fact = catalog.find_fact(reference)
    prompts, labels, notes = catalog.prompts([fact.id]), catalog.fact_labels([fact.id]), catalog.fact_notes(fact.id)
    if as_json:
        show_json({"fact": fact, "prompts": prompts, "labels": labels, "notes": notes})
        return
    rows = [[show_id(one.id)[:8], one.role, one.text, one.answer, one.language, one.status] for one in prompts]
    title = f"{show_id(fact.id)[:8]} {fact.subject} – {fact.object} ({fact.status})"
    show_rows(["id", "role", "text", "answer", "language", "status"], rows, as_json=False, title=title)
    show_remarks(labels, notes)

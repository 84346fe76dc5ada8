"""knedit facts: bring facts in, list them, show one."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.options import json_option, with_catalog
from knedit.cli.show import show_json, show_rows
from knedit.records import ROLES, show_id


@click.group()
def facts() -> None:
    """Bring facts and their wordings in, list them, show one."""


@facts.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@with_catalog
@json_option
def import_(catalog: Any, *, file: Path, as_json: bool) -> None:
    """Import knedit's JSONL; `starter` is the set that comes with knedit. Importing twice changes nothing."""
    from knedit.flows.facts import import_file

    count = import_file(catalog, file)
    if as_json:
        show_json(count)
        return
    rows = [[noun, getattr(count, noun).seen, getattr(count, noun).added] for noun in ("relations", "facts", "prompts")]
    show_rows(["what", "read", "new"], rows, as_json=False)


@facts.command("list")
@click.option("--relation", metavar="R", help="List the facts of one relation instead of the relations.")
@with_catalog
@json_option
def list_(catalog: Any, *, relation: str | None, as_json: bool) -> None:
    """List the relations with their numbers of facts and prompts, or the facts of one relation."""
    if relation:
        rows = [[show_id(one.id), one.subject, one.object, one.status] for one in catalog.facts(relation=relation)]
        show_rows(["id", "subject", "object", "status"], rows, as_json=as_json)
        return
    rows = [
        [one.relation.key, one.relation.label, one.facts, *(one.prompts.get(role, 0) for role in ROLES)]
        for one in catalog.fact_summary()
    ]
    show_rows(["relation", "label", "facts", *ROLES], rows, as_json=as_json)


@facts.command()
@click.argument("reference", metavar="FACT")
@with_catalog
@json_option
def show(catalog: Any, *, reference: str, as_json: bool) -> None:
    """Show one fact (RELATION/SUBJECT, or the beginning of its id) with its prompts."""
    fact = catalog.find_fact(reference)
    prompts = catalog.prompts([fact.id])
    if as_json:
        show_json({"fact": fact, "prompts": prompts})
        return
    rows = [[one.role, one.text, one.answer, one.language, one.status] for one in prompts]
    title = f"{fact.subject} – {fact.object} ({fact.status})"
    show_rows(["role", "text", "answer", "language", "status"], rows, as_json=False, title=title)

"""knedit search: full-text search over the catalog's facts and prompts."""

from typing import Any

import click

from knedit.cli.options import json_option, limit_option, with_catalog
from knedit.cli.show import show_json, show_rows


@click.command()
@click.argument("words", nargs=-1, required=True)
@click.option("--in", "place", type=click.Choice(["facts", "prompts"]), help="Search only these; else both.")
@click.option("--relation", metavar="R", help="Only in one relation.")
@limit_option
@with_catalog
@json_option
def search(
    catalog: Any, *, words: tuple[str, ...], place: str | None, relation: str | None, limit: int, as_json: bool
) -> None:
    """Find the facts and prompts that hold all WORDS: word, beginn*, or '"some words"' together, best match first."""
    typed, own = " ".join(words), catalog.find_relation(relation).id if relation else None
    asked = {"facts": catalog.search_facts, "prompts": catalog.search_prompts}
    found = {name: ask(typed, relation_id=own, limit=limit) for name, ask in asked.items() if place in (None, name)}
    if as_json:
        show_json(found)
        return
    for name, hits in found.items():
        rows = [[one.relation, one.fact.subject, one.fact.object, one.fact.status, *_text(one, name)] for one in hits]
        columns = ["relation", "subject", "object", "status", *(["prompt"] if name == "prompts" else [])]
        show_rows(columns, rows, as_json=False, title=f"Among {name}")


def _text(hit: Any, name: str) -> list[str]:
    return [hit.prompt.text] if name == "prompts" else []

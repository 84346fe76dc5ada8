"""knedit export: any table of the catalog, or the answer to a question in SQL, to a file."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.options import with_catalog


@click.command()
@click.argument("places", metavar="[TABLE] OUTPUT", nargs=-1, required=True)
@click.option("--sql", metavar="SELECT", help="Write what this one question answers, instead of a table.")
@click.option("--format", metavar="F", help="jsonl, csv, tsv or parquet; else what OUTPUT ends in.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT where it exists.")
@with_catalog
def export(catalog: Any, *, places: tuple[str, ...], sql: str | None, format: str | None, overwrite: bool) -> None:
    """Write a TABLE of the catalog to OUTPUT, or what --sql "SELECT …" answers.

    The question is asked read-only: what would change anything is refused. Tables are facts, prompts, fact_sources,
    knowledge_neurons and the others; a name that is not there is answered by those near it.
    """
    from knedit.flows.export import export_sql, export_table

    if len(places) != (1 if sql else 2):
        raise click.UsageError("Name a TABLE and an OUTPUT, or ask by --sql and name an OUTPUT alone.")
    output = Path(places[-1])
    if sql:
        count = export_sql(catalog, sql, output, format=format, overwrite=overwrite)
    else:
        count = export_table(catalog, places[0], output, format=format, overwrite=overwrite)
    click.echo(f"Wrote {count} rows to {output}.")

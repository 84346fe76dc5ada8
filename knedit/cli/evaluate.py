"""knedit evaluate: score an applied edit from the written files."""

from typing import Any

import click

from knedit.cli.judged import show_judged
from knedit.cli.options import dtype_option, json_option, with_catalog


@click.command()
@click.argument("reference", metavar="EDIT")
@click.option("--stored", is_flag=True, help="Show what was measured last, without loading a model.")
@dtype_option
@with_catalog
@json_option
def evaluate(catalog: Any, *, reference: str, stored: bool, dtype: str, as_json: bool) -> None:
    """Ask parent and child, loaded from their files, the edited facts and others; show before and after."""
    from knedit.flows.edit import read_edit
    from knedit.flows.evaluate import evaluate_edit, stored_evaluation

    planned = read_edit(catalog, catalog.find_edit(reference))
    judged = stored_evaluation(catalog, planned) if stored else evaluate_edit(catalog, planned, dtype=dtype)
    show_judged(judged, as_json=as_json)

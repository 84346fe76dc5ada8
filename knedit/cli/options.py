"""Options that many commands share: which catalog, and JSON instead of a table."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

Command = Callable[..., Any]


def with_address(command: Command) -> Command:
    """Give a command `--database` and hand it the address as its first argument."""

    @click.option("--database", metavar="URL", help="The catalog: an SQLite file or a Postgres URL [KNEDIT_DATABASE].")
    @click.pass_context
    @wraps(command)
    def run(context: click.Context, /, database: str | None, **arguments: Any) -> Any:
        return command(database or context.find_root().obj, **arguments)

    return run


def with_catalog(command: Command) -> Command:
    """Give a command `--database` and hand it the open catalog as its first argument."""

    @with_address
    @wraps(command)
    def run(address: str | None, **arguments: Any) -> Any:
        from knedit.catalog.store import Catalog

        with Catalog(address) as catalog:
            return command(catalog, **arguments)

    return run


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
dtype_option = click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16", "auto"]),
    default="float32",
    show_default=True,
    help="Precision of the computation.",
)

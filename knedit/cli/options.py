"""Options that many commands share: which catalog, JSON instead of a table, sizes of memory."""

import re
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
on_error_option = click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="At a broken record import nothing, or leave it out and tell it.",
)
dtype_option = click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16", "auto"]),
    default="float32",
    show_default=True,
    help="Precision of the computation.",
)

_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class MemorySize(click.ParamType[int]):
    """A number of bytes as people write it: 2GiB, 500MB, 1.5 G or 800000000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", value, re.IGNORECASE)
        size = 0
        if found and not (found[3] and not found[2]):
            size = int(float(found[1]) * (1024 if found[3] else 1000) ** _UNITS[found[2].lower()])
        if size < 1:
            self.fail(f"{value!r} is no size of memory. Write it like 2GiB or 500MB.", param, ctx)
        return size

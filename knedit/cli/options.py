"""Options that many commands share: which catalog, JSON instead of a table, sizes of memory."""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from knedit.records import NEURON_ROLES

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
by_option = click.option("--by", metavar="NAME", help="Who does this; else KNEDIT_USER, else the login name.")
select_option = click.option("--select", "selections", multiple=True, metavar="NAME", help="A saved selection's facts.")
MOST = 2**31 - 1  # what both databases keep as a whole number
whole = click.IntRange(0, MOST)
limit_option = click.option(
    "--limit", type=click.IntRange(1, MOST), default=20, show_default=True, help="List so many."
)
offset_option = click.option("--offset", type=whole, default=0, help="Leave out so many at first.")
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


def read_roles(roles: str) -> tuple[str, ...]:
    """Return the neuron roles that a list with commas names."""
    wanted = tuple(role.strip() for role in roles.split(","))
    if unknown := [role for role in wanted if role not in NEURON_ROLES]:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(NEURON_ROLES)}", param_hint="--roles")
    return wanted


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

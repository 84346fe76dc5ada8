"""How results look: tables for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from knedit.records import show_id

stderr = Console(stderr=True)


def show_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, as_json: bool, title: str = "") -> None:
    """Print rows as a table, or as a JSON list of objects keyed by the columns' names."""
    if as_json:
        keys = [column.replace(" ", "_") for column in columns]
        show_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    console = Console()
    if not console.is_terminal:
        console.width = 160
    table = Table(title=title or None, title_justify="left", header_style="bold")
    numeric = [all(isinstance(row[place], int | float) for row in rows) and bool(rows) for place in range(len(columns))]
    for column, is_number in zip(columns, numeric, strict=True):
        table.add_column(column, justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console.print(table)


def show_skipped(first: Sequence[Exception], count: int) -> None:
    """Tell on stderr what an import left out: the first faults, and how many there were in all."""
    for fault in first:
        click.echo(f"Skipped: {fault}", err=True)
    if count > len(first):
        click.echo(f"Skipped: {count - len(first)} more records.", err=True)


def show_json(value: Any) -> None:
    """Print any value as JSON; records become objects, ids hexadecimal digits, times ISO 8601."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any, name: str = "") -> Any:
    """Return a value as JSON knows it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name), field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(part, str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(part) for part in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, int) and (name == "id" or name.endswith("_id")):
        return show_id(value)
    return value


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value)

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


def show_remarks(labels: Sequence[Any], notes: Sequence[Any]) -> None:
    """Print labels on one line and notes in a table; nothing where there are none."""
    if labels:
        click.echo(f"Labels: {', '.join(one.label for one in labels)}")
    if notes:
        rows = [[one.written_at, one.written_by, one.text] for one in notes]
        show_rows(["written at", "by", "note"], rows, as_json=False)


def show_changed(noun: str, status: str, *, meant: int, changed: int, as_json: bool) -> None:
    """Print how many of the facts or prompts that were meant are newly of a status."""
    rest = " The others were so already, or are not what --from says." if changed < meant else ""
    told = f"{changed} of {meant} {noun} are newly {status}.{rest}"
    show_json({noun: meant, "changed": changed}) if as_json else click.echo(told)


def few(names: Sequence[str], number: int = 3) -> str:
    """Return the first names in a line, and a sign where there are more."""
    return ", ".join(names[:number]) + (" …" if len(names) > number else "")


def show_impact(found: Any, *, as_json: bool) -> None:
    """Print which facts outside an edit hold its neurons, protected ones first."""
    if as_json:
        show_json(found)
        return
    rows = [
        [f"{one.relation}/{one.fact.subject}", one.fact.status, one.used, one.neurons, one.share] for one in found.facts
    ]
    title = f"{found.protected} protected and {found.others} other facts hold neurons of the edit"
    show_rows(["fact", "status", "of the edit", "of its neurons", "share"], rows, as_json=False, title=title)


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
    if isinstance(value, set | frozenset):
        return [plain(part) for part in sorted(value)]
    if isinstance(value, list | tuple):
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

"""One page that tells everything: figures, tables, configuration, published numbers beside ours. Nothing is fetched.

The page holds its style and its pictures, no script, and forbids itself to load anything. Every text is escaped. Knows
no files and no catalog.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from knedit.analysis.findings import HUGE, Cell, Findings, MarkedText, Picture, Table, huge, percent

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_LONG = 14  # rows of a table that is folded
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "Helvetica Neue", Arial, sans-serif; color: #222; background: #fff;
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { font-size: 1.3rem; margin-top: 3rem; border-top: 1px solid #ccc;
     padding-top: 1rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
figure { margin: 1.5rem 0; } figure svg { width: 100%; height: auto; } figcaption { color: #555; font-size: .85rem; }
td:not(.number) { min-width: 6rem; } td:not(.number):first-child { min-width: 8.5rem; }
.about td { min-width: 0 !important; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .85rem; margin: .3rem 0 1rem; }
th, td { padding: .2rem .7rem .2rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #888; } td { border-bottom: 1px solid #eee; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.scroll { overflow-x: auto; } details { margin: .5rem 0 1rem; } summary { cursor: pointer; color: #0072b2; }
.note, .about { color: #555; font-size: .85rem; } ul.answer { font-size: 1.05rem; }
nav a { margin-right: 1rem; } a { color: #0072b2; }
.text { font-family: ui-monospace, Consolas, monospace; font-size: .85rem; margin: .25rem 0; }
.text b { font-weight: normal; color: #555; } mark { background: none; border-radius: 2px; }
@media print {
  nav { display: none; } body { margin: 0; max-width: none; } h2, h3 { break-after: avoid; }
  section + section { break-before: page; } figure, tr { break-inside: avoid; } .scroll { overflow: visible; }
  table { font-size: .65rem; } td, th { min-width: 0 !important; padding-right: .4rem; }
  td.number, th.number { white-space: normal; }
}
"""

Draw = Callable[[Picture], str]


@dataclass(frozen=True, slots=True)
class Section:
    """One experiment on the page; `about` is its configuration and what is told beside, a row each."""

    findings: Findings
    about: Mapping[str, str]


def build_page(
    title: str, about: Mapping[str, str], sections: Sequence[Section], draw: Draw, *, beside: Table | None = None
) -> str:
    """Return the page as HTML; `draw` returns a picture as SVG."""
    body = [f"<h1>{escape(title)}</h1>", _rows_of(about), _contents(sections)]
    if beside is not None:
        body += [
            "<section>",
            f'<h2 id="published">{escape(beside.title)}</h2>',
            _table(beside, folded=False, named=False),
            "</section>",
        ]
    for number, section in enumerate(sections):
        body += _section(section, number, draw)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _contents(sections: Sequence[Section]) -> str:
    links = [
        f'<a href="#{escape(one.findings.name)}">{escape(one.findings.title)}</a>'
        for one in sections
        if one.findings.title
    ]
    return f"<nav>{' '.join(links)}</nav>"


def _section(section: Section, number: int, draw: Draw) -> list[str]:
    found = section.findings
    told = [f'<section>\n<h2 id="{escape(found.name)}">{escape(found.title)}</h2>']
    if found.answer:
        told.append('<ul class="answer">' + "".join(f"<li>{escape(one)}</li>" for one in found.answer) + "</ul>")
    for place, picture in enumerate(found.pictures):
        svg = scoped(draw(picture), f"p{number}-{place}-")
        label = escape(picture.title)
        svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
        told.append(f"<figure>{svg}<figcaption>{escape(picture.caption)}</figcaption></figure>")
    told += [_table(table, folded=len(table.rows) > _LONG) for table in found.tables]
    if found.texts:
        told += ["<details open><summary>Texts</summary>", *map(_marked, found.texts), "</details>"]
    told += [f'<p class="note">{escape(note)}</p>' for note in found.notes if note]
    told.append(f"<details><summary>How it was asked</summary>{_rows_of(section.about)}</details>\n</section>")
    return told


def scoped(svg: str, prefix: str) -> str:
    """Return an SVG whose ids have a prefix, so that several can stand on one page."""
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', svg)
    svg = re.sub(r'((?:xlink:)?href)="#([^"]+)"', rf'\1="#{prefix}\2"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", svg)


def _rows_of(about: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in about.items())
    return f'<div class="scroll"><table class="about">{rows}</table></div>'


def _table(table: Table, *, folded: bool, named: bool = True) -> str:
    numeric = [any(isinstance(row[place], int | float) for row in table.rows) for place in range(len(table.columns))]
    head = "".join(
        f'<th class="number">{escape(name)}</th>' if number else f"<th>{escape(name)}</th>"
        for name, number in zip(table.columns, numeric, strict=True)
    )
    rows = "".join(f"<tr>{_cells(table, row, numeric)}</tr>" for row in table.rows)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    whole = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{note}'
    title = escape(table.title)
    if not named:
        return whole
    if folded:
        return f"<details><summary>{title} ({len(table.rows)} rows)</summary>{whole}</details>"
    return f"<h3>{title}</h3>{whole}"


def _cells(table: Table, row: Sequence[Cell], numeric: Sequence[bool]) -> str:
    return "".join(
        f"<td{' class=number' if number else ''}>{escape(cell(value, percent_of=name in table.percent))}</td>"
        for name, value, number in zip(table.columns, row, numeric, strict=True)
    )


def cell(value: Cell, *, percent_of: bool = False) -> str:
    """Return a table's value as people read it."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if percent_of:
        return percent(value).replace("+", "")
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{int(value):,}".replace("-", "−")
    if abs(value) >= HUGE:
        return huge(value)
    return (f"{value:.3g}" if abs(value) < 1000 else f"{value:,.1f}").replace("-", "−")


def _marked(text: MarkedText) -> str:
    words = "".join(_token(token, strength) for token, strength in text.tokens)
    return f'<p class="text"><b>{escape(text.head)}</b> {words}</p>'


def _token(token: str, strength: float) -> str:
    if abs(strength) < 0.05:
        return escape(token)
    shade = "0, 114, 178" if strength > 0 else "213, 94, 0"
    return f'<mark style="background: rgba({shade}, {min(abs(strength), 1):.2f})">{escape(token)}</mark>'

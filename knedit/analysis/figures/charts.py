"""The charts: upright bars, rows of dots, lines, and a table of shades. Each function returns a matplotlib figure.

A legend is a line of words in the colours of what they name, above the picture; lines are named at their ends.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

from knedit.analysis.figures.style import FAINT, INK, WIDTH, colour, format_axis, hatch, head, marker, told, widen
from knedit.analysis.findings import Bars, Dots, Heat, Lines, Series

_CROWDED = 16  # bars of a picture that each tell their value
_LINE = 96  # letters under all groups of bars
_MARK = "published"


def _figure(height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def draw_bars(picture: Bars) -> Any:
    figure, axes = _figure(3.1)
    count, groups = max(len(picture.series), 1), len(picture.groups)
    width = 0.8 / count
    handles = []
    named = picture.named and count * groups <= _CROWDED
    ends = [end for series in picture.series for end in _ends(series)]
    every = [0.0, *ends, *[mark for row in picture.marks for mark in row if mark is not None]]
    room = 0.09 * (max(every) - min(every))
    for number, series in enumerate(picture.series):
        at = [group + (number - (count - 1) / 2) * width for group in range(groups)]
        heights = [value or 0.0 for value in series.values]
        handles.append(
            axes.bar(
                at, heights, width * 0.92, color=colour(number), hatch=hatch(number), edgecolor="white", linewidth=0
            )
        )
        _spans(axes, at, series, upright=True)
        if named:
            _name_bars(axes, at, series, _marks(picture, number), percent=picture.percent, room=room)
        _mark(axes, at, picture, number, width)
    axes.set_xticks(range(groups), [_wrapped(label, _LINE // max(groups, 1)) for label in picture.groups])
    if groups > 24:
        for place, label in enumerate(axes.get_xticklabels()):
            label.set_visible(place % 5 == 0)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_ylabel(picture.axis)
    axes.set_xlabel(picture.across)
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.14 if named else 0.05)
    widen(axes.yaxis, axes.set_yscale, axes.set_ylim, ends)
    if all(end >= 0 for end in ends):
        axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=FAINT, linewidth=0.4)
    if all(float(value or 0).is_integer() for series in picture.series for value in series.values):
        axes.yaxis.get_major_locator().set_params(integer=True)
    format_axis(axes.yaxis, percent=picture.percent)
    labels = [series.label for series in picture.series]
    if any(value is not None for row in picture.marks for value in row):
        handles += axes.plot([], [], color="black", linewidth=1.6)
        labels.append(_MARK)
    head(figure, picture.title, handles, labels)
    return figure


def _wrapped(label: str, letters: int) -> str:
    """Return a label whose lines are broken where they are longer than so many letters."""
    lines = [textwrap.wrap(line, max(letters, 4), break_long_words=False) for line in label.split("\n")]
    return "\n".join(part for line in lines for part in line)


def _marks(picture: Bars, number: int) -> Sequence[float | None]:
    return picture.marks[number] if number < len(picture.marks) else [None] * len(picture.groups)


def _name_bars(
    axes: Any, at: Sequence[float], series: Series, marks: Sequence[float | None], *, percent: bool, room: float
) -> None:
    """Write each bar's value beyond its end, its interval's, and a published value's that is less than `room` away.

    `room` is the height of a label, in the units of the axis.
    """
    for place, (x, value) in enumerate(zip(at, series.values, strict=True)):
        if value is None:
            axes.annotate("–", (x, 0), (0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=7.5)
            continue
        span = series.spans[place] if series.spans else None
        up = value >= 0
        ends = [value, *([] if span is None else span)]
        end, mark = max(ends) if up else min(ends), marks[place]
        if mark is not None and 0 <= (mark - end if up else end - mark) < room:  # else it would hide the mark
            end = mark
        axes.annotate(
            told(value, percent=percent), (x, end), (0, 2 if up else -2), textcoords="offset points", ha="center",
            va="bottom" if up else "top", fontsize=7.5,
        )  # fmt: skip


def _ends(series: Series) -> list[float]:
    """Return all values of a series and the ends of their intervals."""
    known = [value for value in series.values if value is not None]
    return [*known, *[end for span in series.spans if span is not None for end in span]]


def _mark(axes: Any, at: Sequence[float], picture: Bars, number: int, width: float) -> None:
    """Draw published values over the bars of one series."""
    for x, value in zip(at, _marks(picture, number), strict=True):
        if value is not None:
            axes.plot([x - width * 0.5, x + width * 0.5], [value, value], color="black", linewidth=1.6)


def _spans(axes: Any, at: Sequence[float], series: Series, *, upright: bool) -> None:
    for place, span in enumerate(series.spans):
        if span is not None and series.values[place] is not None:
            ends = ([at[place]] * 2, list(span))
            axes.plot(*(ends if upright else ends[::-1]), color=INK, linewidth=1, solid_capstyle="butt", zorder=2.5)


def draw_dots(picture: Dots) -> Any:
    rows = len(picture.rows)
    figure, axes = _figure(1.25 + 0.235 * rows)
    handles = []
    count = len(picture.series)
    for number, series in enumerate(picture.series):
        at = [row + (number - (count - 1) / 2) * 0.16 for row in range(rows)]
        _spans(axes, at, series, upright=False)
        pairs = [(value, y) for value, y in zip(series.values, at, strict=True) if value is not None]
        handles += axes.plot(
            [value for value, _ in pairs], [y for _, y in pairs], linestyle="none", marker=marker(number),
            color=colour(number), markersize=4.6, markeredgecolor="white", markeredgewidth=0.4, zorder=3,
        )  # fmt: skip
    axes.set_yticks(range(rows), picture.rows)
    for label in axes.get_yticklabels()[: picture.heads]:
        label.set_fontweight("bold")
    if picture.heads:
        axes.axhspan(-0.5, picture.heads - 0.5, color="#EEEEEE", zorder=0, linewidth=0)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlabel(picture.axis)
    widen(axes.xaxis, axes.set_xscale, axes.set_xlim, [end for series in picture.series for end in _ends(series)])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="both", color=FAINT, linewidth=0.4)
    format_axis(axes.xaxis, percent=picture.percent)
    head(figure, picture.title, handles, [series.label for series in picture.series])
    return figure


def draw_lines(picture: Lines) -> Any:
    figure, axes = _figure(3.4)
    ends = []
    for number, series in enumerate(picture.series):
        points = [(x, y) for x, y in zip(picture.at, series.values, strict=True) if y is not None]
        if not points:
            continue
        axes.plot(
            [x for x, _ in points], [y for _, y in points], color=colour(number), marker=marker(number), markersize=4.5,
            linewidth=1.5, linestyle=("-", "--", "-.", ":")[number % 4], markeredgecolor="white", markeredgewidth=0.4,
        )  # fmt: skip
        bands = [(x, *span) for x, span in zip(picture.at, series.spans, strict=False) if span is not None]
        if bands:
            axes.fill_between(*zip(*bands, strict=True), color=colour(number), alpha=0.13, linewidth=0)
        ends.append((points[-1], series.label, colour(number)))
    _name_lines(axes, ends)
    axes.set_xlabel(picture.across)
    axes.set_ylabel(picture.axis)
    axes.set_xticks(picture.at, picture.words or None)
    axes.grid(axis="y", color=FAINT, linewidth=0.4)
    format_axis(axes.yaxis, percent=picture.percent)
    head(figure, picture.title)
    return figure


def _name_lines(axes: Any, ends: Sequence[tuple[tuple[float, float], str, str]]) -> None:
    """Write each line's name at its right end, moved up where two would touch."""
    if not ends:
        return
    low, high = axes.get_ylim()
    step = (high - low) * 0.058
    taken = -float("inf")
    for (_, y), label, shade in sorted(ends, key=lambda end: end[0][1]):
        place = max(y, taken + step)
        taken = place
        axes.text(
            1.012, (place - low) / (high - low), label, color=shade, transform=axes.transAxes, va="center", ha="left"
        )  # fmt: skip


def draw_heat(picture: Heat) -> Any:
    rows, columns = len(picture.rows), len(picture.columns)
    figure, axes = _figure(1.3 + 0.26 * rows)
    values = [[float("nan") if value is None else value for value in row] for row in picture.values]
    edges = [[number - 0.5 for number in range(count + 1)] for count in (columns, rows)]
    image = axes.pcolormesh(*edges, values, cmap="cividis", shading="flat", edgecolors="white", linewidth=0.3)
    axes.invert_yaxis()
    turned = {"rotation": 45, "ha": "right"} if columns > 8 else {}
    axes.set_xticks(range(columns), picture.columns, **turned)
    axes.set_yticks(range(rows), picture.rows)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, label=picture.shade, fraction=0.04)
    bar.outline.set_visible(False)
    bar.solids.set_rasterized(False)
    bar.solids.set_edgecolor("face")  # else viewers show seams
    head(figure, picture.title)
    return figure

"""What an experiment says in the end: plain sentences, tables, and pictures told as records, not yet drawn.

Knows no experiment and no plotting library. Shares and ratios are fractions, which pictures and tables show as
percentages where they are told to be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Cell = str | float | int | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table: `name` is its file's, `percent` the columns whose fractions are percentages."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    percent: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one kind along a picture's axis; None where there is none. `spans` are their 95 % intervals."""

    label: str
    values: tuple[float | None, ...]
    spans: tuple[tuple[float, float] | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """What all pictures have: their file's name, a title, and a caption that says what is to be seen."""

    name: str
    title: str
    caption: str


@dataclass(frozen=True, slots=True)
class Bars(Picture):
    """Groups of upright bars, one a series. `marks` are published values, one a group and series, drawn as lines."""

    groups: tuple[str, ...] = ()
    series: tuple[Series, ...] = ()
    axis: str = ""
    percent: bool = False
    across: str = ""
    marks: tuple[tuple[float | None, ...], ...] = ()
    named: bool = True  # whether each bar tells its value


@dataclass(frozen=True, slots=True)
class Dots(Picture):
    """Rows of points on one level axis, one a series; the first `heads` rows are set apart, as means are."""

    rows: tuple[str, ...] = ()
    series: tuple[Series, ...] = ()
    axis: str = ""
    percent: bool = False
    heads: int = 0


@dataclass(frozen=True, slots=True)
class Lines(Picture):
    """Curves over numbers `at`, labelled at their ends; `words` names the numbers where they need it."""

    at: tuple[float, ...] = ()
    series: tuple[Series, ...] = ()
    axis: str = ""
    across: str = ""
    words: tuple[str, ...] = ()
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Heat(Picture):
    """A table of shades, `values` row by row."""

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    values: tuple[tuple[float | None, ...], ...] = ()
    shade: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a layered picture; `words` stand beside it, `weight` is its size from 0 to 1."""

    name: str
    layer: int
    words: str
    weight: float


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge; `weight` is signed, from −1 to 1. `sure`: whether a check agreed with its sign."""

    source: str
    target: str
    weight: float
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Graph(Picture):
    """Nodes by layer, the lowest at the bottom, and edges upward."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    top: str = ""


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A text in tokens, each with how strongly it is marked, from −1 to 1; `head` says what the text is."""

    head: str
    tokens: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """An experiment's results: `answer` in plain sentences, then what they rest on."""

    name: str
    title: str
    answer: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    texts: tuple[MarkedText, ...] = ()
    notes: tuple[str, ...] = ()
    figures: Mapping[str, float | None] = field(default_factory=dict)  # by the keys of `published`


def share(part: float, whole: float) -> float | None:
    """Return part / whole, None where there is nothing to divide by."""
    return part / whole if whole else None


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of those values that there are, None where there are none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
HUGE = 1e6  # numbers that are told by their power of ten


def huge(value: float) -> str:
    """Return a number of many digits as two of them and a power of ten."""
    digits, _, power = f"{value:.1e}".partition("e")
    raised = f"10{str(int(power)).translate(_RAISED)}"
    return raised if digits == "1.0" else f"{digits} · {raised}".replace("-", "−")


def rate(value: float, digits: int = 0) -> str:
    """Return a share in words, without a sign."""
    return f"{100 * value:.{digits}f} %"


def percent(value: float | None, digits: int = 1) -> str:
    """Return a signed percentage in words."""
    return "–" if value is None else f"{100 * value:+.{digits}f} %".replace("-", "−")

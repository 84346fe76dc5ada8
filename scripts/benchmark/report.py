"""What a section found, and how it is shown: lines for people, figures for --json, curves for --plot.

Knows nothing of how anything is measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """What a figure shall be: at least its bound, or at most."""

    name: str
    value: float
    bound: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def told(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{'met   ' if self.met else 'MISSED'}  {self.name}: {self.value:.3g} ({sign} {self.bound:g})"

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value, "bound": self.bound, "at_least": self.at_least, "met": self.met}


@dataclass(frozen=True)
class Curve:
    """Measured points and the straight line of least squares through them."""

    title: str
    x_label: str
    sizes: Sequence[float]
    seconds: Sequence[float]
    offset: float
    slope: float


@dataclass(frozen=True)
class Section:
    """One part of the benchmark: `figures` holds everything measured, `rows` what is shown of it, a header first."""

    title: str
    figures: Mapping[str, Any]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    targets: Sequence[Target] = ()
    curves: Sequence[Curve] = field(default=(), repr=False)

    def told(self) -> str:
        lines = [self.title, "-" * len(self.title), *table(self.rows), *self.notes]
        return "\n".join([*lines, *(target.told() for target in self.targets), ""])

    def as_json(self) -> dict[str, Any]:
        return {**self.figures, "targets": [target.as_json() for target in self.targets]}


def table(rows: Sequence[Row]) -> list[str]:
    """Return the rows as lines, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def plot(curves: Sequence[Curve], file: Path) -> None:
    """Draw the curves side by side, in the format of the file's ending."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(curves), 4), layout="constrained")
    for place, curve in enumerate(curves, start=1):
        axes = figure.add_subplot(1, len(curves), place)
        axes.plot(curve.sizes, curve.seconds, "o", label="measured")
        ends = [0.0, max(curve.sizes)]
        axes.plot(ends, [curve.offset + curve.slope * x for x in ends], label=f"{curve.slope:.3g} s each")
        axes.set(title=curve.title, xlabel=curve.x_label, ylabel="seconds", xlim=(0, None), ylim=(0, None))
        axes.legend()
    figure.savefig(file)

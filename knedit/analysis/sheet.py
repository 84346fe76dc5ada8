"""What the parts of an experiment noted, put in and taken out by series, key and metric.

Knows no experiment and no catalog.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from knedit.experiments import ExperimentPart, ExperimentValue

ABOUT = "about"  # the series in which each part says what it is about


@dataclass(frozen=True, slots=True)
class Noted:
    """One number, or a text, that an engine found for a part; the part and its experiment are added later."""

    series: str
    key: str
    metric: str
    value: float | None
    text: str | None = None


@dataclass(slots=True)
class Notes:
    """Collects what a part finds."""

    found: list[Noted] = field(default_factory=list)

    def add(self, series: str, key: str, **metrics: float | None) -> None:
        """Note several metrics of one key; underscores in their names stand for spaces."""
        self.found += [Noted(series, key, name.replace("_", " "), value) for name, value in metrics.items()]

    def say(self, series: str, key: str, metric: str, text: str) -> None:
        """Note a text."""
        self.found.append(Noted(series, key, metric, None, text))


@dataclass(frozen=True, slots=True)
class Row:
    """All metrics of one key in one series of one part."""

    part: str
    key: str
    numbers: dict[str, float | None]
    texts: dict[str, str]

    def __getitem__(self, metric: str) -> float:
        """Return a number that must be there."""
        value = self.numbers[metric]
        assert value is not None
        return value


class Sheet:
    """An experiment's parts and values, as a report reads them."""

    def __init__(self, parts: Sequence[ExperimentPart], values: Sequence[ExperimentValue]) -> None:
        self.parts = tuple(parts)
        self._found: dict[str, dict[str, dict[str, Row]]] = {}  # by series, part and key
        for one in values:
            rows = self._found.setdefault(one.series, {}).setdefault(one.part, {})
            row = rows.setdefault(one.key, Row(one.part, one.key, {}, {}))
            if one.text is None:
                row.numbers[one.metric] = one.value
            else:
                row.texts[one.metric] = one.text

    @property
    def done(self) -> tuple[ExperimentPart, ...]:
        """The parts that found something."""
        return tuple(part for part in self.parts if part.status == "ok")

    @property
    def left_out(self) -> tuple[ExperimentPart, ...]:
        """The parts that could not be measured, each with its reason."""
        return tuple(part for part in self.parts if part.status != "ok")

    def rows(self, series: str, part: str | None = None) -> Iterator[Row]:
        """Yield a series' rows, of one part or of all, in the order of parts and keys."""
        found = self._found.get(series, {})
        for own in found if part is None else [part]:
            yield from found.get(own, {}).values()

    def row(self, series: str, part: str, key: str) -> Row | None:
        """Return one row, None where it is not there."""
        return self._found.get(series, {}).get(part, {}).get(key)

    def series(self) -> list[str]:
        """Return the names of all series, in the order in which they were read."""
        return list(self._found)

    def about(self, part: str, metric: str) -> str:
        """Return what a part says of itself, such as its `relation` or its name; "" where it says nothing."""
        row = self.row(ABOUT, part, "")
        return "" if row is None else row.texts.get(metric, "")

    def relations(self) -> list[str]:
        """Return the relations of the parts that found something, sorted."""
        return sorted({found for part in self.done if (found := self.about(part.part, "relation"))})

"""Write an experiment's sheet by hand."""

from collections.abc import Mapping
from datetime import UTC, datetime

from knedit.analysis.sheet import ABOUT, Sheet
from knedit.experiments import ExperimentPart, ExperimentValue

Metrics = Mapping[str, float | str | None]


def sheet(parts: Mapping[str, tuple[str, Mapping[tuple[str, str], Metrics]]]) -> Sheet:
    """Return a sheet of parts by name: each with its relation, and metrics by series and key."""
    made, values = [], []
    for name, (relation, rows) in parts.items():
        made.append(ExperimentPart(1, name, None, None, "ok", None, 0.5, datetime(2024, 5, 17, tzinfo=UTC)))
        for metric, text in (("relation", relation), ("named", name)):
            values.append(ExperimentValue(1, name, ABOUT, "", metric, None, text))
        for (series, key), metrics in rows.items():
            for metric, value in metrics.items():
                told = (None, value) if isinstance(value, str) else (value, None)
                values.append(ExperimentValue(1, name, series, key, metric, *told))
    return Sheet(made, values)


def cells(table: object, row: int) -> dict[str, object]:
    """Return one row of a table by its columns' names."""
    return dict(zip(table.columns, table.rows[row], strict=True))  # type: ignore[attr-defined]

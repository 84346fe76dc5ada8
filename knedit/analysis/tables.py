"""A table as CSV: numbers as they are, not as people read them. Knows no files."""

import csv
from io import StringIO

from knedit.analysis.findings import Table


def as_csv(table: Table) -> str:
    """Return the table with its columns' names, lines ended by a line feed; what is not defined is empty."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(["" if value is None else value for value in row] for row in table.rows)
    return text.getvalue()

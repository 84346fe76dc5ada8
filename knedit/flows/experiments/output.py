"""Write what an experiment found: a CSV a table, an SVG and a PNG a picture, in one folder an experiment.

Knows no experiment.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from knedit.analysis.figures.draw import draw
from knedit.analysis.findings import Findings
from knedit.analysis.tables import as_csv
from knedit.errors import KneditError


def check_folders(folder: Path, names: Sequence[str]) -> None:
    """Make a folder with one a name, or raise KneditError where nothing can be written; called before any computing."""
    for own in (folder, *[folder / name for name in names]):
        try:
            own.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(own, error) from None
        if not os.access(own, os.W_OK | os.X_OK):
            raise KneditError("the folder cannot be written", str(own), "Choose another one with --output.")


def write_findings(folder: Path, found: Findings, *, figures: bool = True) -> list[Path]:
    """Write tables and, with `figures`, pictures; return the files. Raises KneditError where one cannot be written."""
    own = folder / found.name
    written: list[Path] = []
    try:
        own.mkdir(parents=True, exist_ok=True)
        for table in found.tables:
            written.append(own / f"{table.name}.csv")
            written[-1].write_text(as_csv(table), encoding="utf-8")
        for picture in found.pictures if figures else ():
            drawn = draw(picture)
            written += [own / f"{picture.name}.svg", own / f"{picture.name}.png"]
            written[-2].write_text(_OPENING + drawn.svg, encoding="utf-8")
            written[-1].write_bytes(drawn.png)
    except OSError as error:
        raise _refused(own, error) from None
    return written


def write_page(path: Path, page: str) -> None:
    """Write a page whole. Raises KneditError where it cannot be written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        partial.unlink(missing_ok=True)


_OPENING = '<?xml version="1.0" encoding="utf-8"?>\n'


def _refused(where: Path, error: OSError) -> KneditError:
    return KneditError(
        f"the output cannot be written: {error.strerror or error}", str(where), "Choose another --output."
    )

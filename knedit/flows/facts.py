"""Bring a file of facts into the catalog."""

from pathlib import Path

import knedit.starter
from knedit.catalog.answers import ImportCount
from knedit.catalog.formats.knedit_jsonl import read
from knedit.catalog.store import Catalog

STARTER = "starter"


def starter_file() -> Path:
    """Return the file of facts that comes with knedit."""
    return Path(knedit.starter.__path__[0]) / "facts.jsonl"


def import_file(catalog: Catalog, file: Path | str) -> ImportCount:
    """Import a file of knedit's JSONL, or the starter set by its name; all of it or nothing.

    Raises FactsError with file and line for a record that is not as the format says.
    """
    return catalog.import_facts(read(starter_file() if str(file) == STARTER else Path(file)))

"""The formats of facts and of published neurons by name, and which of them a path looks like.

Knows nothing of the formats but their readers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knedit.catalog.formats import (
    arrow,
    counterfact,
    delimited,
    eleuther,
    kn_paper,
    kn_results,
    knedit_jsonl,
    known_facts,
    lama,
    lre,
    pararel,
    zsre,
)
from knedit.catalog.formats.shapes import Glimpse, glimpse
from knedit.catalog.formats.streams import Reader
from knedit.catalog.formats.values import listed, near
from knedit.errors import FactsError


@dataclass(frozen=True, slots=True)
class Format:
    """`read` yields the records of a path; `fits` tells whether a path looks like the format."""

    read: Reader[Any]
    fits: Callable[[Glimpse], bool]


FORMATS: Mapping[str, Format] = {
    "knedit-jsonl": Format(knedit_jsonl.read, knedit_jsonl.fits),
    "csv": Format(delimited.read, delimited.fits),
    "parquet": Format(arrow.read_parquet, arrow.fits_parquet),
    "datasets": Format(arrow.read_folder, arrow.fits_folder),
    "pararel": Format(pararel.read, pararel.fits),
    "lama": Format(lama.read, lama.fits),
    "kn-paper": Format(kn_paper.read, kn_paper.fits),
    "counterfact": Format(counterfact.read, counterfact.fits),
    "zsre": Format(zsre.read, zsre.fits),
    "known-facts": Format(known_facts.read, known_facts.fits),
    "lre": Format(lre.read, lre.fits),
}
NEURON_FORMATS: Mapping[str, Format] = {
    "eleuther": Format(eleuther.read, eleuther.fits),
    "kn-paper-neurons": Format(kn_results.read_neurons, kn_results.fits_neurons),
    "kn-paper-scores": Format(kn_results.read_scores, kn_results.fits_scores),
}


def find_format(name: str, formats: Mapping[str, Format] = FORMATS) -> Format:
    """Return the format of this name; raise FactsError, naming near ones, where there is none."""
    if name not in formats:
        raise FactsError(f'There is no format "{name}"', cure=near(name, list(formats)))
    return formats[name]


def detect(path: Path, formats: Mapping[str, Format] = FORMATS) -> str:
    """Return the name of the one format that the path looks like; raise FactsError where none or several fit."""
    try:
        seen = glimpse(path)
        found = [name for name, one in formats.items() if one.fits(seen)]
    except OSError as error:
        what = f"The file cannot be read: {error.strerror or error}"
        raise FactsError(what, str(path), "Check its name and rights.") from None
    if len(found) != 1:
        what = f"The path looks like {listed(found)}" if found else "The path looks like no known format"
        raise FactsError(what, str(path), f"Say which it is with --format: {listed(found or list(formats))}.")
    return found[0]

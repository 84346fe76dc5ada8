"""How people name a thing in the catalog: by a unique beginning of its shown id, and what to say when they miss.

Knows nothing of tables.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

SHORTEST = 4
_SHOWN = 12  # candidates that an error lists


def id_range(reference: str) -> tuple[int, int] | None:
    """Return the first and last id whose shown form begins with `reference`; None where it is no such beginning."""
    if not re.fullmatch(rf"[0-9a-fA-F]{{{SHORTEST},16}}", reference):
        return None
    first, last = int(reference.ljust(16, "0"), 16), int(reference.ljust(16, "f"), 16)
    return (first, min(last, 2**63 - 1)) if first < 2**63 else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a cure that names the nearest known words, or the known words where they are few; else nothing."""
    words = list(known)
    if near := get_close_matches(word, words, n=3, cutoff=0.6):
        return f"Did you mean {_listed(near)}?"
    return f"There is {_listed(words)}." if 0 < len(words) <= _SHOWN else ""


def say_which(candidates: list[str]) -> str:
    """Return a cure that lists what an ambiguous reference might have meant."""
    more = f" and {len(candidates) - _SHOWN} more" if len(candidates) > _SHOWN else ""
    return f"Name one of {_listed(candidates[:_SHOWN])}{more}."


def _listed(words: list[str]) -> str:
    return ", ".join(words)

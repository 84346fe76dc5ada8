"""A few words that mean the same as objects of the starter facts, for probes of edits. Knows no model."""

from importlib.resources import files


def synonyms_text() -> str:
    """Return the list, a word and its synonyms a line: `football = soccer`."""
    return files("knedit.starter").joinpath("synonyms.txt").read_text(encoding="utf-8")

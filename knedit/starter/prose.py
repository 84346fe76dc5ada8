"""Plain English prose on many things, for statistics of running text. None of it is in the held-out text.

Knows no model.
"""

from importlib.resources import files


def prose() -> tuple[str, ...]:
    """Return the text, one paragraph an item, in the file's order."""
    return tuple(files("knedit.starter").joinpath("prose.txt").read_text(encoding="utf-8").splitlines())

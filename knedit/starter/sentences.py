"""The small reference text that comes with knedit: plain English, some of it everyday facts.

Knows no model; `baselines` averages activations over it.
"""

import hashlib
from importlib.resources import files


def sentences() -> tuple[str, ...]:
    """Return the text, one sentence an item, in the file's order."""
    return tuple(files("knedit.starter").joinpath("sentences.txt").read_text(encoding="utf-8").splitlines())


def edition() -> str:
    """Return the text's name with the beginning of its sha256, which changes when a letter of it does."""
    digest = hashlib.sha256("\n".join(sentences()).encode()).hexdigest()
    return f"starter:{digest[:12]}"

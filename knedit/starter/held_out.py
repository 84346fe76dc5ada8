"""The held-out text that comes with knedit: plain English prose on many things, for perplexity before and after.

Nothing is fitted to it: statistics and baselines use other texts. Knows no model.
"""

import hashlib
from importlib.resources import files


def held_out_text() -> str:
    """Return the text, paragraphs parted by empty lines."""
    return files("knedit.starter").joinpath("held_out.txt").read_text(encoding="utf-8")


def text_name(text: str) -> str:
    """Return the beginning of a text's sha256, by which reports name it."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:12]}"

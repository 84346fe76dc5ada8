"""How often what is done at random is done: a few times by default, as often as was promised with KNEDIT_THOROUGH=1.

A number in the variable that a test names goes before either.
"""

import os


def rounds(variable: str, few: int, all: int) -> int:
    """Return how many rounds the variable asks for, or else KNEDIT_THOROUGH."""
    return int(os.environ.get(variable) or (all if os.environ.get("KNEDIT_THOROUGH") else few))

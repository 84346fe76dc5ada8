"""Give memory that was freed back to the system, which C's library keeps for later use.

Matrices of some megabytes, made and dropped by turns with what stays, leave holes that only such a call empties:
measured on SmolLM2-135M, they are half of what a large plan holds beside the weights. Knows nothing of what memory is
used for.
"""

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Give freed memory back, in some milliseconds, where the C library can be asked to (GNU's); else do nothing."""
    if trim := _trim():
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # not GNU's, or no library can be opened by no name
        return None
    return found

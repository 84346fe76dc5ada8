"""How sure a mean is: a 95 % interval from the values themselves, drawn again and again with replacement.

The draws are the same for the same values. Knows no experiment.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

DRAWS = 2_000
FEWEST = 2  # values that an interval needs


def interval(values: Sequence[float | None]) -> tuple[float, float] | None:
    """Return the 2.5 and 97.5 percentiles of the means of `DRAWS` draws; None below two values."""
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if len(known) < FEWEST:
        return None
    seed = int.from_bytes(hashlib.sha256(known.tobytes()).digest()[:8], "big")
    chosen = np.random.default_rng(seed).integers(0, len(known), (DRAWS, len(known)))
    low, high = np.percentile(known[chosen].mean(1), [2.5, 97.5])
    return float(low), float(high)

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
    return _ends(_means(known[:, None])[:, 0]) if len(known) >= FEWEST else None


def rise_interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float] | None:
    """Return the same of exp(mean after) − exp(mean before), pairs drawn together: a perplexity's rise."""
    if len(before) < FEWEST:
        return None
    means = np.exp(_means(np.array([before, after], dtype=np.float64).T))
    return _ends(means[:, 1] - means[:, 0])


def _means(rows: np.ndarray) -> np.ndarray:
    """Return the means [draws, k] of rows [n, k] drawn with replacement."""
    seed = int.from_bytes(hashlib.sha256(rows.tobytes()).digest()[:8], "big")
    chosen = np.random.default_rng(seed).integers(0, len(rows), (DRAWS, len(rows)))
    return np.stack([column[chosen].mean(1) for column in rows.T], 1)


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)

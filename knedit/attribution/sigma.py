"""How much noise a network bears: σ at which its answers lose a small share of their probability.

Knows queries and noise; no attribution.
"""

import math
from collections.abc import Sequence

from knedit.attribution.base_pass import base_pass, grouped
from knedit.attribution.smoothing import SMOOTHINGS, derive_seed
from knedit.errors import KneditError
from knedit.models.model import Model
from knedit.models.prompting import Query

LEAST, MOST = 1e-4, 1.0
_CUTS = 12
_CLOSE = 0.1
_TOGETHER = 16


def choose_sigma(
    model: Model, queries: Sequence[Query], kind: str, *, drop: float = 0.05, seeds: int = 4, seed: int = 0
) -> float:
    """Return σ, to two digits, at which the queries' mean answer probability is about `drop` lower than without noise.

    `kind` is a key of SMOOTHINGS. σ is found by bisection of its logarithm between 0.0001 and 1, always with the same
    `seeds` draws of noise, and taken once the drop is within a tenth of what was asked. Raises KneditError if no σ
    there lowers the probability so much: the queries' answers are then no better known than chance.
    """
    without = mean_probability(model, queries)

    def lost(sigma: float) -> float:
        found = 0.0
        for number in range(seeds):
            with SMOOTHINGS[kind](model, sigma, derive_seed(seed, "sigma", number)):
                found += mean_probability(model, queries)
        return 1 - found / seeds / without

    low, high = math.log(LEAST), math.log(MOST)
    if not without or lost(MOST) < drop:
        raise KneditError(
            f"noise of no strength lowers the answers' probability by {drop:.0%}",
            f"{len(queries)} prompts",
            "Use prompts whose answers the model knows, or give sigma yourself.",
        )
    for _ in range(_CUTS):
        middle = (low + high) / 2
        found = lost(math.exp(middle))
        if abs(found - drop) <= _CLOSE * drop:
            break
        low, high = (middle, high) if found < drop else (low, middle)
    return float(f"{math.exp(middle):.2g}")


def mean_probability(model: Model, queries: Sequence[Query]) -> float:
    """Return the mean over queries of the whole answer's probability, the product over its tokens."""
    total = 0.0
    for numbers in grouped(model, queries, largest=_TOGETHER):
        members = [queries[number] for number in numbers]
        chances = [base_pass(model, members, place).probability for place in range(len(members[0].answers))]
        total += sum(math.prod(chance[n].item() for chance in chances) for n in range(len(members)))
    return total / len(queries)

"""Rules for the integral over the path from the baseline (0) to the activation (1): nodes and weights.

`left` is the sum of Dai et al.'s published code, `right` the one of their paper (equation 5), `ends` the one of
EleutherAI's library knowledge-neurons; `midpoint` and `gauss` (Gauss–Legendre) are the textbook rules, `lobatto`
(Gauss–Lobatto) the one with both ends. Knows nothing of networks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Nodes:
    """Points in [0, 1] and their weights, which add up to 1."""

    points: tuple[float, ...]
    weights: tuple[float, ...]


def left(steps: int) -> Nodes:
    """Return 0, 1/m … (m − 1)/m, each of weight 1/m."""
    return Nodes(tuple(k / steps for k in range(steps)), (1 / steps,) * steps)


def right(steps: int) -> Nodes:
    """Return 1/m … 1, each of weight 1/m."""
    return Nodes(tuple(k / steps for k in range(1, steps + 1)), (1 / steps,) * steps)


def ends(steps: int) -> Nodes:
    """Return m equally spaced points from 0 to 1, both included, each of weight 1/m; 0 alone for m = 1."""
    return Nodes(tuple(k / max(steps - 1, 1) for k in range(steps)), (1 / steps,) * steps)


def midpoint(steps: int) -> Nodes:
    """Return the middles of m equal intervals, each of weight 1/m."""
    return Nodes(tuple((k + 0.5) / steps for k in range(steps)), (1 / steps,) * steps)


def gauss(steps: int) -> Nodes:
    """Return the m-point Gauss–Legendre rule on [0, 1], exact for polynomials up to degree 2m − 1."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    return Nodes(tuple((points + 1).tolist()[k] / 2 for k in range(steps)), tuple((weights / 2).tolist()))


def lobatto(steps: int) -> Nodes:
    """Return the m-point Gauss–Lobatto rule on [0, 1], m ≥ 3: both ends are points, exact up to degree 2m − 3."""
    assert steps >= 3, "two points are the trapezium, one has no ends"
    legendre = np.polynomial.legendre.Legendre.basis(steps - 1)
    points = np.concatenate([[-1.0], np.sort(legendre.deriv().roots().real), [1.0]])
    weights = 2 / (steps * (steps - 1) * legendre(points) ** 2)
    return Nodes(tuple(((points + 1) / 2).tolist()), tuple((weights / 2).tolist()))


def panels(points: Sequence[float]) -> list[list[float]]:
    """Return, for each of the S − 1 stretches between neighbouring points, S weights of the values at the points.

    They integrate the polynomial through all points over that stretch alone.
    """
    powers = np.vander(points, increasing=True)
    degrees = np.arange(1, len(points) + 1)
    antiderivatives = np.asarray(points)[:, None] ** degrees / degrees
    weights: list[list[float]] = np.linalg.solve(powers.T, np.diff(antiderivatives, axis=0).T).T.tolist()
    return weights


RULES: Mapping[str, Callable[[int], Nodes]] = {
    "left": left,
    "right": right,
    "ends": ends,
    "midpoint": midpoint,
    "gauss": gauss,
}

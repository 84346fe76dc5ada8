"""Solve one layer's value vectors for wished changes of its output, in closed form, on chosen columns alone.

Of all D with ΔW = D Sᵀ on the columns J, the one that says least to the noise M: with tolerance 0 the answers are met
exactly (EMMET; for one fact ROME), otherwise a residual is weighed against the noise (MEMIT): by the tolerance, for
other facts alone, by the ridge for the fact's own answer too. J may be all columns.
Knows no model. Sources: Meng et al., NeurIPS 2022 and ICLR 2023; Gupta et al., 2024 (equality in batches); here with
M_JJ in place of C.

Shapes: u facts (or contexts), q columns, D hidden; all float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from knedit.editing.statistics import Noise
from knedit.errors import EditError

_JITTER, _LEAST = 1e-6, 1e-300  # so that keys that are the same, or nothing, have a solution


@dataclass(frozen=True, slots=True, eq=False)
class Selector:
    """Weights [u, q] on columns, one row a fact: D = Rᵀ · selector for wished changes R [u, D]."""

    columns: tuple[int, ...]
    weights: Tensor

    def response(self, keys: Tensor) -> Tensor:
        """Return how much of each fact's change other keys [n, F] are given: [n, u]."""
        return keys.double()[:, list(self.columns)] @ self.weights.T


def factor_of(noise: Noise, columns: Sequence[int]) -> Tensor:
    """Return the Cholesky factor [q, q] of M on the columns: what several solves on them share.

    Raises EditError where M is not positive definite there, as where a column never moves.
    """
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(noise.block(columns))
    if int(failed):
        raise EditError(
            "the noise says nothing of some columns", "the closed form", "Take the statistics from a longer text."
        )
    return factor


def selector(
    factor: Tensor, keys: Tensor, columns: Sequence[int], *, tolerance: float = 0.0, ridge: float = 0.0
) -> Selector:
    """Return S = (K M⁻¹ Kᵀ + α G + β m)⁻¹ K M⁻¹ on the columns, for keys K [u, F]; G is its first term's diagonal.

    `factor` is that of M. With the tolerance α each fact is scaled to be given its own change in full; what it is given
    of others' is not 0 then. With the ridge β, in units of G's median m, facts are given less of their own change the
    more it costs. Raises EditError where that has no solution: more facts than columns, or facts with one key, at
    tolerance 0.
    """
    own = keys.double()[:, list(columns)]  # [u, q]
    whitened = torch.cholesky_solve(own.T, factor)  # [q, u]
    gram = own @ whitened
    usual = float(gram.diagonal().median())
    gram.diagonal().mul_(1 + tolerance)
    weights, failed = torch.linalg.solve_ex(gram, whitened.T)  # [u, q]
    if int(failed) or _lost(gram, weights):
        raise EditError(
            f"{len(keys)} facts cannot be told apart on {len(columns)} columns",
            "the closed form",
            "Allow more columns or layers, or a tolerance.",
        )
    scale = 1 / (own * weights).sum(1, keepdim=True) if tolerance else 1.0
    if ridge:
        gram.diagonal().add_(ridge * usual)
        weights = torch.linalg.solve(gram, whitened.T)
    weights = weights * scale
    return Selector(tuple(columns), weights)


def editability_beside(factor: Tensor, keys: Tensor, others: Tensor, columns: Sequence[int]) -> Tensor:
    """Return e of each key [n, F] on the columns where other keys [u, F] are to be given nothing: [n] float64.

    That is what the Schur complement leaves of k M⁻¹ kᵀ; without others it is e itself, and of one of them next to 0.
    """
    own, rest = (some.double()[:, list(columns)] for some in (keys, others))
    whitened = torch.cholesky_solve(own.T, factor)
    alone: Tensor = (own * whitened.T).sum(1)
    if not len(rest):
        return alone
    gram = rest @ torch.cholesky_solve(rest.T, factor)
    gram.diagonal().mul_(1 + _JITTER).add_(_LEAST)
    shared = rest @ whitened
    taken: Tensor = (shared * torch.linalg.solve(gram, shared)).sum(0)
    return (alone - taken).clamp(min=0)


def _lost(gram: Tensor, weights: Tensor) -> bool:
    """Tell whether the first term is as good as singular: facts that cannot be told apart, or too many of them."""
    extremes = torch.linalg.eigvalsh(gram)[[0, -1]]
    return not bool(torch.isfinite(weights).all()) or float(extremes[0]) <= 1e-12 * float(extremes[1])

"""Choose the columns of one layer that an edit may change: greedy forward selection on e(J).

e(J) = k_Jᵀ M_JJ⁻¹ k_J is how far the key k stands out, on the columns J, from what M says of other keys: the damage of
the smallest update on J that answers k with r is ‖r‖² / e(J), whatever r is. Knows no model and no facts. Source: the
least-squares update of Meng et al. (ROME, NeurIPS 2022, section 3.1) restricted to columns; forward selection with
a Cholesky factor that grows by a row.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from knedit.editing.statistics import Noise

_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns in the order of their choice, and e of the first, the first two, … of them."""

    indices: tuple[int, ...]
    editability: tuple[float, ...]


def choose_columns(noise: Noise, keys: Tensor, *, limit: int, barred: Collection[int] = ()) -> Columns:
    """Return up to `limit` columns that together raise e most, each step's best.

    `keys` are one k [F] or several [u, F], whose e is summed; float64. `barred` columns are left out. Columns that add
    nothing end the choice: a key that is 0 on all columns has none. Takes O(F q (q + u)) for q columns.
    """
    rest = keys.clone().reshape(-1, keys.shape[-1])  # what the chosen columns do not explain of the keys
    width = rest.shape[-1]
    spread = noise.diagonal()  # and of the noise
    floor = _LEAST * spread.clamp(min=0)
    factor = keys.new_zeros(min(limit, width), width)
    free = torch.ones(width, dtype=torch.bool, device=keys.device)
    free[list(barred)] = False
    chosen: list[int] = []
    gains: list[float] = []
    for step in range(len(factor)):
        usable = free & (spread > floor)
        gain = torch.where(usable, rest.square().sum(0) / spread.clamp(min=1e-300), -1.0)
        best = int(gain.argmax())
        if float(gain[best]) <= 0:
            break
        row = (noise.row(best) - factor[:step, best] @ factor[:step]) / spread[best].sqrt()
        rest = rest - row * (rest[:, best, None] / row[best])
        spread = spread - row.square()
        factor[step], free[best] = row, False
        chosen.append(best)
        gains.append(float(gain[best]))
    return Columns(tuple(chosen), tuple(torch.tensor(gains, dtype=torch.float64).cumsum(0).tolist()))


def editability(noise: Noise, keys: Tensor, columns: Sequence[int]) -> float:
    """Return e(J) of some columns, for one key [F] or for several [u, F] that are to be given the same answer: float64.

    That is 1 / (1ᵀ (K_J M_JJ⁻¹ K_Jᵀ)⁻¹ 1); 0 where the keys cannot be told from nothing.
    """
    own = keys.reshape(-1, keys.shape[-1])[:, list(columns)]
    gram = own @ torch.linalg.solve(noise.block(columns), own.T)
    ones = gram.new_ones(len(gram), 1)
    answers, failed = torch.linalg.solve_ex(gram, ones)
    damage = float(answers.sum())
    return 1 / damage if not int(failed) and damage > 0 else 0.0

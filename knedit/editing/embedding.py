"""Update by output embeddings: take the old answer out of a value vector and put the new one in.

v ← v − λ₁ (‖v‖ / ‖e_old‖) e_old + λ₂ (‖v‖ / ‖e_new‖) e_new, with λ = (1, 8). Source: Dai et al., ACL 2022, section 4.3,
with the norms of their code (6_edit_knowledge_sampled.py), which the paper's formula leaves out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

DEFAULT_WEIGHTS = (1.0, 8.0)


def move_to_embedding(
    values: Tensor, old: Tensor, new: Tensor, *, weights: tuple[float, float] = DEFAULT_WEIGHTS
) -> Tensor:
    """Return new value vectors [n, D] from `values` [n, D] and the output embeddings `old`, `new` [D]; all float64."""
    values, old, new = values.double(), old.double(), new.double()
    norms = values.norm(dim=-1, keepdim=True)
    away, towards = old / old.norm(), new / new.norm()
    moved: Tensor = values - weights[0] * norms * away + weights[1] * norms * towards
    return moved


def turned_around(values: Tensor, moved: Tensor, negative: Sequence[bool]) -> Tensor:
    """Return `moved` [n, D], its way from `values` turned around for rows whose neurons fire negatively.

    A gated block lets neurons do that, and then the new answer in their value vectors would speak against itself.
    """
    return torch.where(torch.tensor(negative)[:, None], 2 * values - moved, moved)

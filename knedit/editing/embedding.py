"""Update by output embeddings: take the old answer out of a value vector and put the new one in.

v ← v − λ₁ (‖v‖ / ‖e_old‖) e_old + λ₂ (‖v‖ / ‖e_new‖) e_new, with λ = (1, 8). Source: Dai et al., ACL 2022, section 4.3,
with the norms of their code (6_edit_knowledge_sampled.py), which the paper's formula leaves out.
"""

from torch import Tensor

DEFAULT_WEIGHTS = (1.0, 8.0)


def move_to_embedding(
    values: Tensor, old: Tensor, new: Tensor, *, weights: tuple[float, float] = DEFAULT_WEIGHTS
) -> Tensor:
    """Return the new value vectors [n, D] from `values` [n, D] and the output embeddings `old`, `new` [D], in float64."""
    values, old, new = values.double(), old.double(), new.double()
    norms = values.norm(dim=-1, keepdim=True)
    return values - weights[0] * norms * (old / old.norm()) + weights[1] * norms * (new / new.norm())

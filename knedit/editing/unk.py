"""Erase by the unknown token: each value vector says "no such word" in place of what it said.

Source: Dai et al., ACL 2022, section 4.4, where a relation's value vectors are replaced by the embedding of [UNK].
"""

import torch
from torch import Tensor


def unknown(values: Tensor, embedding: Tensor) -> Tensor:
    """Return the embedding [D] in place of each of `values` [n, D], in float64."""
    return embedding.double().expand(values.shape).clone(memory_format=torch.contiguous_format)

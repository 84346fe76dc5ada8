"""Erase by zeroing value vectors: the neurons still fire, and say nothing. Source: Dai et al., ACL 2022."""

import torch
from torch import Tensor


def zero(values: Tensor) -> Tensor:
    """Return zeros in the shape of `values` [n, D], in float64."""
    return torch.zeros_like(values, dtype=torch.float64)

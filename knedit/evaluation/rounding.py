"""Lend a network the weights that shipping would leave it: rounded to bfloat16, 8 bits or 4 bits, and back again.

Simulated: each weight is rounded to the precision and written back in the network's own, so that what is measured is
what rounding loses, not what other kernels add. All weights of two or more axes are rounded, embeddings too; norms and
biases are kept, as published formats keep them. 8 bits: a scale for each row, its largest absolute value over 127; 4
bits: one for each 32 numbers of a row, over 7. Knows no edits.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from knedit.models.model import Model

GROUP = 32


def to_bfloat16(weight: Tensor) -> Tensor:
    """Return the weight as bfloat16 holds it."""
    return weight.to(torch.bfloat16).to(weight.dtype)


def to_integers(weight: Tensor, *, levels: int, group: int | None = None) -> Tensor:
    """Return the weight as whole multiples, from −levels to levels, of a scale for each row or group of a row.

    The last group of a row may be shorter. Rows lie along the last axis.
    """
    width = weight.shape[-1]
    size = group or width
    padded = torch.nn.functional.pad(weight.float(), (0, -width % size))
    filled = padded.reshape(*weight.shape[:-1], -1, size)
    scale = filled.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / levels
    multiples: Tensor = (filled / scale).round().clamp(-levels, levels) * scale
    return multiples.reshape(padded.shape)[..., :width].to(weight.dtype)


ROUNDINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "bfloat16": to_bfloat16,
    "8-bit": partial(to_integers, levels=127),
    "4-bit": partial(to_integers, levels=7, group=GROUP),
}


@contextmanager
def rounded(model: Model, name: str) -> Iterator[None]:
    """Run the body with the network's weights rounded; afterwards they are bit for bit as they were.

    A copy of the weights is kept meanwhile.
    """
    weights = [parameter.detach() for parameter in model.net.parameters() if parameter.dim() > 1]
    saved = [weight.clone() for weight in weights]
    try:
        for weight in weights:
            weight.copy_(ROUNDINGS[name](weight))
        yield
    finally:
        for weight, own in zip(weights, saved, strict=True):
            weight.copy_(own)

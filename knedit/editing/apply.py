"""Lend a network in memory its edited value vectors, and give it its own back bit for bit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from knedit.editing.solve import ValueChange
from knedit.models.model import Model


@contextmanager
def edited(model: Model, changes: Sequence[ValueChange]) -> Iterator[None]:
    """Run the body with the new value vectors in place, cast once to the weights' precision.

    The old ones are kept as they are and put back, also when the body raises.
    """
    saved: list[tuple[int, Tensor, Tensor]] = []
    try:
        for change in changes:
            indices = torch.tensor(change.indices, device=model.device)
            saved.append((change.layer, indices, model.value_vectors(change.layer, change.indices)))
            _put(model, change.layer, indices, change.new)
        yield
    finally:
        for layer, indices, values in reversed(saved):
            _put(model, layer, indices, values)


@torch.no_grad()
def _put(model: Model, layer: int, indices: Tensor, values: Tensor) -> None:
    weight = model.downs[layer].get_parameter("weight")
    values = values.to(weight.device, weight.dtype)
    axis = model.layout.family.neuron_axis
    weight.index_copy_(axis, indices, values if axis == 0 else values.T)

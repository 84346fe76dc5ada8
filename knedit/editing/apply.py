"""Lend a network in memory its edited value vectors, and give it its own back bit for bit."""

from collections.abc import Callable, Iterator, Sequence
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
    with lent(model) as put:
        put(changes)
        yield


@contextmanager
def lent(model: Model) -> Iterator[Callable[[Sequence[ValueChange]], None]]:
    """Yield a function that puts value vectors in place, as often as the body calls it; at the end all old ones return.

    A value vector that is changed many times is kept once, as it was at first.
    """
    kept: dict[int, dict[int, Tensor]] = {}

    def put(changes: Sequence[ValueChange]) -> None:
        for change in changes:
            own = kept.setdefault(change.layer, {})
            fresh = [index for index in change.indices if index not in own]
            if fresh:
                held = model.value_vectors(change.layer, fresh)
                own.update(zip(fresh, change.old if _same(change.old, held) else held, strict=True))  # once in memory
            model.put_value_vectors(change.layer, change.indices, change.new)

    try:
        yield put
    finally:
        for layer, own in kept.items():
            model.put_value_vectors(layer, list(own), torch.stack(list(own.values())))


def _same(one: Tensor, other: Tensor) -> bool:
    """Tell whether two tensors are the same bit for bit, in one place."""
    alike = (one.device, one.dtype, one.shape) == (other.device, other.dtype, other.shape)
    return alike and torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))

"""Lend a network in memory its edited value vectors, and give it its own back bit for bit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from knedit.editing.solve import ValueChange
from knedit.models.model import Model


@contextmanager
def edited(model: Model, changes: Sequence[ValueChange]) -> Iterator[None]:
    """Run the body with the new value vectors in place, cast once to the weights' precision.

    The old ones are kept as they are and put back, also when the body raises.
    """
    saved = [(change, model.value_vectors(change.layer, change.indices)) for change in changes]
    try:
        for change in changes:
            model.put_value_vectors(change.layer, change.indices, change.new)
        yield
    finally:
        for change, values in saved:
            model.put_value_vectors(change.layer, change.indices, values)

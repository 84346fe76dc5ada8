"""A planned edit as engines see it: steps in their order, each with its neurons and the answers it turns on.

Knows no catalog: flows fill it from records.
"""

from dataclasses import dataclass

Neuron = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Step:
    """One update or erasure. `old` and `new` are answers in words; an erasure has no new one.

    `neurons` are (layer, index) pairs in the order of their choice; `notes` say what a reader of the plan must know.
    """

    operation: str
    target: str
    neurons: tuple[Neuron, ...]
    old: str | None = None
    new: str | None = None
    notes: tuple[str, ...] = ()

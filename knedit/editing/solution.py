"""What came of a plan's wishes: each with its columns, keys and search, the changes, and why wishes were lost.

Knows no model.

Shapes: g groups of contexts, F neurons of a layer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from knedit.editing.solve import ValueChange
from knedit.editing.targets import Target, Wanted
from knedit.editing.upheld import Tally
from knedit.editing.wishes import Wish


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """One wish with its columns, their editability e and its mean keys [g, F], each by layer, and its search's result.

    There is one key for each group of contexts that are alike at the subject.
    """

    wish: Wish
    columns: Mapping[int, tuple[int, ...]]
    editability: Mapping[int, float]
    keys: Mapping[int, Tensor]
    target: Target

    @property
    def wanted(self) -> Wanted:
        """What its search found that it wants."""
        return Wanted(self.keys, self.target.offsets)

    @property
    def settled(self) -> Wanted:
        """What it wants once it lacks nothing: no vectors at its keys, so that others leave it as it is."""
        return Wanted(self.keys, {layer: torch.zeros_like(offset) for layer, offset in self.target.offsets.items()})


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Changes, one a layer, layers and indices ascending, and what came of each wish, in the wishes' order.

    `lost` tells by target why wishes were left out, `upheld` what became of facts that the edit shall not change.
    """

    changes: tuple[ValueChange, ...]
    solved: tuple[Solved, ...]
    lost: Mapping[str, str] = field(default_factory=dict)
    upheld: Tally = field(default_factory=Tally)


def why_lost(target: Target, good: float) -> str:
    """Return why a wish is not granted, of which at most `good` might be left."""
    left = f"after {target.steps} steps {target.left:.3g} is left, of which at most {good:g} may be"
    if target.given_up:
        return f"its answer would harm the rest more than many others' together, and was given up: {left}"
    return f"its search did not converge: {left}"

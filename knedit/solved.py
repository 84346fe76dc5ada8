"""The nouns of a solved edit: frozen records whose fields are the catalog's columns, as those of `records`.

Knows nothing of SQL, models or files.
"""

from dataclasses import dataclass

from knedit.records import Config


@dataclass(frozen=True, slots=True)
class EditValue:
    """One value vector as an edit leaves it: D numbers as little-endian float64, as they were solved."""

    edit_id: int
    layer: int
    index: int
    vector: bytes


@dataclass(frozen=True, slots=True)
class EditOutcome:
    """How solving went for one fact of a step.

    `remainder` is what was left of the search's objective, the mean over contexts, and `worst` that of the worst
    context. `layers` tells of each layer, its number a string, `columns` (how many) and `editability`.
    """

    edit_id: int
    step: int
    fact_id: int
    converged: bool
    steps: int
    remainder: float
    worst: float
    layers: Config


@dataclass(frozen=True, slots=True)
class EditGate:
    """One gate that an edit was put through. `forced`: it failed, and the edit was asked for all the same."""

    edit_id: int
    gate: str
    value: float
    threshold: float
    passed: bool
    forced: bool = False

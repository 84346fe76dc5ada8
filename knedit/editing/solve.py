"""Compute the new value vectors of a planned edit, with the model untouched.

Each solver is a function in a table, named as the command line and the catalog name it. Steps are carried out in their
order, on float64 copies of the value vectors; the result is cast once, when it is applied or written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from knedit.editing.embedding import DEFAULT_WEIGHTS, move_to_embedding
from knedit.editing.scale import DEFAULT_FACTOR, scaled
from knedit.editing.steps import Neuron, Step
from knedit.editing.unk import unknown
from knedit.editing.zero import zero
from knedit.errors import EditError
from knedit.models.model import Model
from knedit.models.prompting import first_token, token_count, unknown_token

LARGEST_GROWTH = 16.0


@dataclass(frozen=True, slots=True, eq=False)
class ValueChange:
    """One layer's changed value vectors [n, D], rows in the order of `indices`.

    `old` are as the weights hold them, in their precision; `new` are float64.
    """

    layer: int
    indices: tuple[int, ...]
    old: Tensor
    new: Tensor

    @classmethod
    def of(cls, model: Model, layer: int, indices: Sequence[int], new: Tensor) -> "ValueChange":
        """Return the change from what the model holds to `new`."""
        return cls(layer, tuple(indices), model.value_vectors(layer, indices).cpu(), new)

    @property
    def differs(self) -> Tensor:
        """Which value vectors really change: [n] bool."""
        return (self.new != self.old).any(-1)

    @property
    def norms(self) -> Tensor:
        """Their norms, old and new: [n, 2] float64."""
        return torch.stack([self.old.double().norm(dim=-1), self.new.norm(dim=-1)], dim=1)


@dataclass(frozen=True, slots=True)
class Weights:
    """What solvers may be told: λ₁ and λ₂ of `embedding`, the factor of `scale`."""

    embedding: tuple[float, float] = DEFAULT_WEIGHTS
    scale: float = DEFAULT_FACTOR


Solver = Callable[[Model, Step, Tensor, Weights], Tensor]


def _embedding(model: Model, step: Step, values: Tensor, weights: Weights) -> Tensor:
    assert step.old is not None
    assert step.new is not None
    check_single_token(model, step.new, step.target)
    old = model.output_embedding(first_token(model, step.old))
    new = model.output_embedding(first_token(model, step.new))
    return move_to_embedding(values, old, new, weights=weights.embedding)


def _zero(_: Model, __: Step, values: Tensor, ___: Weights) -> Tensor:
    return zero(values)


def _unk(model: Model, step: Step, values: Tensor, _: Weights) -> Tensor:
    token = unknown_token(model)
    if token is None:
        raise EditError(
            "the tokenizer has no unknown token, whose embedding the solver unk needs",
            step.target,
            "Choose another solver, such as zero.",
        )
    return unknown(values, model.output_embedding(token))


def _scale(_: Model, step: Step, values: Tensor, weights: Weights) -> Tensor:
    if not isfinite(weights.scale) or weights.scale < 0:
        raise EditError(f"{weights.scale:g} is no factor to scale by", step.target, "Give one from 0 on.")
    return scaled(values, weights.scale)


SOLVERS: Mapping[str, Mapping[str, Solver]] = {
    "update": {"embedding": _embedding},
    "erase": {"zero": _zero, "unk": _unk},
    "amplify": {"scale": _scale},
}
JOINT: Mapping[str, frozenset[str]] = {"update": frozenset({"closed-form", "optimised"}), "erase": frozenset({"prior"})}


def verb_of(operation: str) -> str:
    """Return what solvers are chosen by: a relation is erased as a fact is."""
    return "erase" if operation == "erase-relation" else operation


def is_joint(operation: str, name: str) -> bool:
    """Tell whether a solver chooses its own columns and solves all of a plan's facts together."""
    return name in JOINT.get(verb_of(operation), ())


def solver_of(operation: str, name: str) -> Solver:
    """Return the solver of that name for an operation; raise EditError if there is none that works by neurons."""
    solvers = SOLVERS[verb_of(operation)]
    if name not in solvers:
        raise _unknown(operation, name)
    return solvers[name]


def check_solver(operation: str, name: str) -> None:
    """Raise EditError unless there is a solver of that name for an operation."""
    if not is_joint(operation, name) and name not in SOLVERS[verb_of(operation)]:
        raise _unknown(operation, name)


def _unknown(operation: str, name: str) -> EditError:
    return EditError(
        f"there is no solver {name!r} for the operation {operation}", "edit", f"Choose one of {_listed(operation)}."
    )


def _listed(operation: str) -> str:
    return ", ".join([*SOLVERS[verb_of(operation)], *sorted(JOINT.get(verb_of(operation), ()))])


def assign_solvers(names: Sequence[str]) -> dict[str, str]:
    """Return the solver of updates, erasures and amplifications: the last of `names` that each knows.

    Else they are `closed-form`, `prior` and `scale`; but where updates or erasures are to go by the catalog's neurons,
    as the paper's do, the others do so too, by `embedding` and `zero`. Raises EditError for a name that none knows.
    """
    chosen: dict[str, str] = {}
    for name in names:
        able = [verb for verb in SOLVERS if name in SOLVERS[verb] or is_joint(verb, name)]
        if not able:
            known = ", ".join(_listed(verb) for verb in SOLVERS)
            raise EditError(f"there is no solver {name!r}", "edit", f"Choose among {known}.")
        chosen |= dict.fromkeys(able, name)
    plain = any(verb in chosen and not is_joint(verb, chosen[verb]) for verb in JOINT)
    usual = {"update": "embedding", "erase": "zero"} if plain else {"update": "closed-form", "erase": "prior"}
    return {**usual, "amplify": "scale"} | chosen


def check_single_token(model: Model, answer: str, target: str) -> None:
    """Raise EditError unless the answer is one token of the model: `embedding` moves towards one token's embedding."""
    tokens = token_count(model, answer)
    if tokens != 1:
        raise EditError(
            f"the new answer {answer!r} is {tokens} tokens, and the solver embedding needs one",
            target,
            "Choose an answer that is a single token of this model.",
        )


def solve(
    model: Model, steps: Sequence[Step], solvers: Mapping[str, str], weights: Weights | None = None
) -> list[ValueChange]:
    """Return the changes of all steps together, one a layer, layers and indices ascending.

    `solvers` names the solver of each operation. Raises EditError if a result is not finite, grows past 16 times the
    old norm, or if nothing changes at all.
    """
    current: dict[Neuron, Tensor] = {}
    for step in steps:
        values = torch.stack([_value(model, current, neuron) for neuron in step.neurons])
        solver = solver_of(step.operation, solvers[step.operation])
        solved = solver(model, step, values, weights or Weights())
        _check(step, values, solved)
        current |= dict(zip(step.neurons, solved, strict=True))
    changes = _by_layer(model, current)
    if not any(change.differs.any() for change in changes):
        raise EditError("the edit changes nothing", "; ".join(step.target for step in steps), "Plan it otherwise.")
    return changes


def _value(model: Model, current: Mapping[Neuron, Tensor], neuron: Neuron) -> Tensor:
    known = current.get(neuron)
    return model.value_vectors(neuron[0], [neuron[1]])[0].double().cpu() if known is None else known


def _check(step: Step, old: Tensor, new: Tensor) -> None:
    if not torch.isfinite(new).all():
        raise EditError("the solver's result is not finite", step.target, "The weights may hold NaN or infinity.")
    growth = float((new.norm(dim=-1) / old.norm(dim=-1).clamp(min=1e-12)).max())
    if growth > LARGEST_GROWTH:
        raise EditError(
            f"a value vector would grow to {growth:.1f} times its norm, more than {LARGEST_GROWTH:g}",
            step.target,
            "Choose smaller weights.",
        )


def _by_layer(model: Model, current: Mapping[Neuron, Tensor]) -> list[ValueChange]:
    layers: dict[int, list[int]] = {}
    for layer, index in sorted(current):
        layers.setdefault(layer, []).append(index)
    return [
        ValueChange.of(model, layer, indices, torch.stack([current[layer, index] for index in indices]))
        for layer, indices in layers.items()
    ]

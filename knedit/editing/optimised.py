"""Train chosen value vectors by gradient: the wished answers, what protected prompts say, and small changes.

It starts from any changes, such as a closed form's, or from none, and moves the same columns. Contexts are read whole,
so several tokens of an answer and every effect of the change on other tokens are in view. Knows no choice of columns.
Source: fine-tuning restricted to slots (FiNE, Pan et al., 2025); KL on protected prompts as Meng et al. have it.

Shapes: R contexts of one length, A answer tokens, V vocabulary, n columns, D hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from knedit.editing.objectives import OBJECTIVES, Asked, asked_in
from knedit.editing.solve import ValueChange
from knedit.editing.targets import Sought
from knedit.errors import EditError
from knedit.models.hooks import frozen
from knedit.models.lending import lent_additions
from knedit.models.model import Model
from knedit.models.prompting import Query


@dataclass(frozen=True, slots=True)
class Training:
    """Adam with `rate`, relative to the value vectors' mean norm, for at most `steps`.

    `protection` weighs the KL of protected prompts, `decay` the change's squared norm relative to the old one's; what
    must vanish is to be below `stop` in every context.
    """

    steps: int = 20
    rate: float = 0.02
    protection: float = 1.0
    decay: float = 1e-3
    stop: float = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The changes, and what of the objective is left in the worst context, before the last step."""

    changes: tuple[ValueChange, ...]
    worst: float
    steps: int


def train_values(
    model: Model,
    sought: Sequence[Sought],
    protected: Sequence[Query],
    *,
    start: Sequence[ValueChange],
    training: Training,
) -> Trained:
    """Return changes of the same columns as `start`, trained from there; the model is untouched.

    Raises EditError if the result is not finite.
    """
    leaves = [(change.new - change.old).float().to(model.device).requires_grad_() for change in start]
    norms = [float(change.old.norm(dim=1).mean()) for change in start]
    groups = [
        {"params": [leaf], "lr": training.rate * norm / leaf.shape[1] ** 0.5}
        for leaf, norm in zip(leaves, norms, strict=True)
    ]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
    wished = _wished(model, sought)
    kept = [(query, spread) for query, spread in zip(protected, _spreads(model, protected), strict=True)]
    worst, steps = float("inf"), 0
    for _ in range(training.steps):
        optimiser.zero_grad()
        with lent_additions(model, {c.layer: (c.indices, leaf) for c, leaf in zip(start, leaves, strict=True)}):
            worst = _backward(model, wished, kept, training)
        if worst < training.stop:
            break
        for leaf, change in zip(leaves, start, strict=True):
            torch.autograd.backward(training.decay * leaf.square().sum() / float(change.old.square().sum()))
        optimiser.step()
        steps += 1
    return Trained(tuple(_changed(c, leaf) for c, leaf in zip(start, leaves, strict=True)), worst, steps)


@dataclass(frozen=True, slots=True, eq=False)
class _Wished:
    query: Query
    asked: Asked
    weight: float
    operation: str


def _wished(model: Model, sought: Sequence[Sought]) -> list[_Wished]:
    found = []
    for one in sought:
        priors = one.priors or (None,) * len(one.queries)
        spreads = _spreads(model, one.queries)
        for query, weight, prior, spread in zip(one.queries, one.weights, priors, spreads, strict=True):
            share = weight / (sum(one.weights) * len(sought))
            places = tuple(zip(query.positions, query.answers, strict=True))
            found.append(_Wished(query, asked_in(spread, places, prior), share, one.operation))
    return found


@torch.no_grad()
def _spreads(model: Model, queries: Sequence[Query]) -> list[Tensor]:
    """Return the log-probabilities [A, V] where each query's answer tokens are due, as the model is."""
    with frozen(model.net):
        return [_read(model, query) for query in queries]


def _read(model: Model, query: Query) -> Tensor:
    tokens = torch.tensor([query.tokens], device=model.device)
    context = torch.tensor([query.context], device=model.device) if model.encoder_decoder else None
    found: Tensor = model.read(tokens, context).logits[0, list(query.positions)].float().log_softmax(-1)
    return found


def _backward(
    model: Model, wished: Sequence[_Wished], kept: Sequence[tuple[Query, Tensor]], training: Training
) -> float:
    """Leave gradients, context by context, so that memory holds one graph; return what the worst context has left."""
    worst = 0.0
    for one in wished:
        loss, left = OBJECTIVES[one.operation](_read(model, one.query), one.asked)
        torch.autograd.backward(one.weight * loss)
        worst = max(worst, float(left))
    for query, before in kept:
        now = _read(model, query)
        divergence = (before.exp() * (before - now)).sum(-1).mean()
        torch.autograd.backward(training.protection * divergence / len(kept))
    return worst


def _changed(change: ValueChange, leaf: Tensor) -> ValueChange:
    deltas = leaf.detach().double().cpu()
    if not torch.isfinite(deltas).all():
        raise EditError("the training's result is not finite", f"layer {change.layer}", "Choose a lower rate.")
    return ValueChange(change.layer, change.indices, change.old, change.old + deltas)

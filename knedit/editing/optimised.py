"""Train chosen value vectors by gradient: the wished answers, what protected prompts say, and small changes.

It starts from any changes, such as a closed form's, or from none, and moves the same columns. Texts are read whole, so
several tokens of an answer and every effect of the change on other tokens are in view. A context that holds its answer
asks for nothing more, so what is left is repaired and what other prompts say is brought back. Knows no choice of
columns. Source: fine-tuning restricted to slots (FiNE, Pan et al., 2025); KL on protected prompts as Meng et al. have
it; the hinge is knedit's own.

Shapes: A answer tokens, V vocabulary, n columns, D hidden.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from knedit.editing.objectives import OBJECTIVES, Asked, asked_in
from knedit.editing.reading import batched, read_spreads, spreads_of
from knedit.editing.solve import ValueChange
from knedit.editing.targets import Sought
from knedit.errors import EditError
from knedit.models.lending import lent_additions
from knedit.models.model import Model
from knedit.models.prompting import Query


@dataclass(frozen=True, slots=True)
class Training:
    """Adam with `rate`, relative to the value vectors' mean norm, for at most `steps`.

    A context is open while what must vanish of it is above `stop`, or `slack` where it is not its fact's first. A step
    looks at the `sample` contexts and protected prompts that were worst when last seen. `protection` weighs the mean KL
    of protected prompts, `decay` the change's squared norm relative to the old one's. Training ends where no context is
    open and no protected prompt is further than `quiet` nats from what it said.
    """

    steps: int = 8
    rate: float = 0.02
    protection: float = 1.0
    decay: float = 1e-3
    stop: float = 0.3
    slack: float = 0.8
    quiet: float = 0.02
    sample: int = 48


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The changes, what of the objective is left in the worst context, and the steps that were taken.

    `moved` is the largest KL of a protected prompt, in nats. Where training made things worse it is as it began.
    """

    changes: tuple[ValueChange, ...]
    worst: float
    steps: int
    moved: float


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
    return _Course(model, sought, protected, start, training).run()


@dataclass(slots=True, eq=False)
class _Text:
    """A wished context, or a protected prompt with the log-probabilities that it had; `left` is as last seen."""

    query: Query
    weight: float
    bound: float
    asked: Asked | None = None
    operation: str = ""
    before: Tensor | None = None
    left: float = float("inf")

    @property
    def above(self) -> float:
        return max(self.left - self.bound, 0.0)

    def loss(self, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and what of it must vanish, of log-probabilities [A, V]."""
        if self.before is not None:
            divergence = (self.before.exp() * (self.before - spread)).sum(-1).mean()
            return divergence, divergence.detach()
        assert self.asked is not None
        return OBJECTIVES[self.operation](spread, self.asked)


class _Course:
    def __init__(
        self,
        model: Model,
        sought: Sequence[Sought],
        protected: Sequence[Query],
        start: Sequence[ValueChange],
        training: Training,
    ) -> None:
        self.model, self.start, self.training = model, start, training
        self.wished = _wished(model, sought, training)
        self.kept = _kept(model, protected, training)
        self.leaves = [(change.new - change.old).float().to(model.device).requires_grad_() for change in start]

    def run(self) -> Trained:
        first, best = self._look(), [leaf.detach().clone() for leaf in self.leaves]
        steps = self._train()
        if steps and self._look() > first:
            for leaf, own in zip(self.leaves, best, strict=True):
                leaf.data = own
            self._look()
        changes = tuple(_changed(c, leaf) for c, leaf in zip(self.start, self.leaves, strict=True))
        return Trained(changes, _worst(self.wished), steps, _worst(self.kept))

    def _train(self) -> int:
        norms = [float(change.norms[:, 0].mean()) for change in self.start]
        groups = [
            {"params": [leaf], "lr": self.training.rate * norm / leaf.shape[1] ** 0.5}
            for leaf, norm in zip(self.leaves, norms, strict=True)
        ]
        optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
        for step in range(self.training.steps):
            optimiser.zero_grad()
            if self._open(self.wished) or self._open(self.kept):
                self._backward()
            if not self._open(self.wished) and not self._open(self.kept):
                return step
            for leaf, change in zip(self.leaves, self.start, strict=True):
                torch.autograd.backward(
                    self.training.decay * leaf.square().sum() / float(change.norms[:, 0].square().sum())
                )
            optimiser.step()
        return self.training.steps

    def _open(self, texts: Sequence[_Text]) -> list[_Text]:
        """Return the open texts that were worst when last seen, as many as a step looks at."""
        return sorted((one for one in texts if one.above > 0), key=lambda one: -one.above)[: self.training.sample]

    @torch.no_grad()
    def _look(self) -> float:
        """Note what is left of every text, and return the objective without the changes' size."""
        with self._lent():
            for some in batched(self.model, [*self.wished, *self.kept], _query_of):
                for one, spread in zip(some, read_spreads(self.model, [text.query for text in some]), strict=True):
                    one.left = float(one.loss(spread)[1])
        return sum(one.weight * one.above for one in self.wished) + sum(one.weight * one.left for one in self.kept)

    def _backward(self) -> None:
        """Leave gradients, batch by batch, so that memory holds one graph."""
        kept = sorted(self.kept, key=lambda one: -one.left)[: self.training.sample]
        with self._lent():
            for some in batched(self.model, [*self._open(self.wished), *kept], _query_of):
                found = []
                for one, spread in zip(some, read_spreads(self.model, [text.query for text in some]), strict=True):
                    loss, left = one.loss(spread)
                    one.left = float(left)
                    found.append(one.weight * loss * float(one.before is not None or one.above > 0))
                torch.autograd.backward(torch.stack(found).sum())

    def _lent(self) -> AbstractContextManager[None]:
        pairs = zip(self.start, self.leaves, strict=True)
        return lent_additions(self.model, {change.layer: (change.indices, leaf) for change, leaf in pairs})


def _wished(model: Model, sought: Sequence[Sought], training: Training) -> list[_Text]:
    found = []
    spreads = iter(spreads_of(model, [query for one in sought for query in one.queries]))
    for one in sought:
        priors = one.priors or (None,) * len(one.queries)
        for number, (query, weight, prior) in enumerate(zip(one.queries, one.weights, priors, strict=True)):
            places = tuple(zip(query.positions, query.answers, strict=True))
            bound = training.slack if number and one.operation == "update" else training.stop
            share = weight / (sum(one.weights) * len(sought))
            asked = asked_in(next(spreads), places, prior)
            found.append(_Text(query, share, bound if prior is None else 0.0, asked, one.operation))
    return found


def _kept(model: Model, protected: Sequence[Query], training: Training) -> list[_Text]:
    share = training.protection / max(len(protected), 1)
    spreads = spreads_of(model, protected)
    return [
        _Text(query, share, training.quiet, before=spread) for query, spread in zip(protected, spreads, strict=True)
    ]


def _query_of(text: _Text) -> Query:
    return text.query


def _worst(texts: Sequence[_Text]) -> float:
    return max((one.left for one in texts), default=0.0)


def _changed(change: ValueChange, leaf: Tensor) -> ValueChange:
    deltas = leaf.detach().double().cpu()
    if not torch.isfinite(deltas).all():
        raise EditError("the training's result is not finite", f"layer {change.layer}", "Choose a lower rate.")
    return ValueChange(change.layer, change.indices, change.old, change.old + deltas)

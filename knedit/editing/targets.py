"""Search what the down projections of some layers must put out at the subject, so that the model answers as wished.

One vector a layer and fact is added at the site, in all contexts of the fact at once and in all layers together; the
vectors are measured by the damage that answering them will do, ‖δ‖² / e, and kept short: a step goes down the gradient
as far as what is left would vanish on a straight slope (Polyak, 1969), where Adam moves every coordinate alike and ends
twice as far out. A step looks at the contexts that were worst when last seen. Knows no columns and no solve. Source: v*
of Meng et al. (ROME, NeurIPS 2022, section 3.1); several layers jointly, the measure and the steps are knedit's own.

Shapes: U facts, N contexts of all of them, R rows of a step, L layers, D hidden, F neurons.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor

from knedit.editing.objectives import OBJECTIVES, Asked, Objective, asked_of, losses
from knedit.models.hooks import frozen
from knedit.models.model import Model
from knedit.models.planting import Grown, Planting, plantable
from knedit.models.prompting import Query


@dataclass(frozen=True, slots=True)
class Search:
    """How values are searched: at most `steps`, each with `sample` contexts of a fact.

    A step is at most `reach` times as long as what the subject's stream is in the layers; `momentum` of the last step
    is added, and what is left is aimed at `aim` times its bound. A fact is done once what must vanish is below `stop`
    in its first context and, of an update, below `slack` in the others; contexts that are done ask for nothing more.
    An update is done, too, where going on would gain less than `worth`, in nats of what is left for a unit of damage
    ‖δ‖² / e: an answer must not cost what hundreds of others do. It is given up then. `good` is how much may be left,
    as the contexts' weighted mean, for the search to count as converged. What else is asked of the subject is left
    alone while it is within `still` nats (KL) of what was said before.
    """

    steps: int = 24
    reach: float = 0.08
    momentum: float = 0.3
    aim: float = 0.7
    sample: int = 4
    stop: float = 0.12
    slack: float = 0.5
    worth: float = 0.0
    good: float = 0.5
    still: float = 0.05


@dataclass(frozen=True, slots=True)
class Sought:
    """One fact's contexts, their weights, and its operation.

    `priors` holds, for an erasure, the probability that each context's answer shall be brought down to; so many nats
    of that as `spare` tells are but wished for. `besides` ask other things of the subject, which shall stay;
    they are looked at in every step, and count as much as a context of weight 1. `before` holds, for answers to uphold,
    the probabilities [A, V] that were said where each context's answer tokens are due.
    """

    queries: tuple[Query, ...]
    weights: tuple[float, ...]
    operation: str
    priors: tuple[float, ...] = ()
    spare: float = 0.0
    besides: tuple[Query, ...] = ()
    before: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """Keys [g, F] and the vector [D] that each of them is to be given, both by layer."""

    keys: Mapping[int, Tensor]
    offsets: Mapping[int, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One fact's vectors, [D] a layer, and the keys [n, F] that its contexts have with all of them planted.

    `left` is what of the objective must still vanish, the contexts' weighted mean; `worst` the same of the worst one;
    `open_` tells which contexts asked for something before the search; `given_up`, whether going on was not worth it.
    """

    offsets: Mapping[int, Tensor]
    keys: Mapping[int, Tensor]
    left: float
    worst: float
    steps: int
    converged: bool
    open_: tuple[bool, ...] = ()
    given_up: bool = False


Price = Callable[[int, Mapping[int, Tensor]], Mapping[int, float]]


def target_values(
    model: Model, sought: Sequence[Sought], layers: Sequence[int], *, search: Search, price: Price
) -> list[Target]:
    """Return the vectors of facts that are searched side by side.

    `price` is told a fact's number and the keys [n, F] a layer that its contexts have as the model is, and returns the
    editability e of each layer.
    """
    with frozen(model.net):  # the head's own gradient would be as large as the vocabulary's matrix, and stay
        return _Hunt(model, sought, layers, search, price).run()


@dataclass(frozen=True, slots=True)
class _Asking:
    """One query of a search: whose it is, how much it counts, and how much of its objective may be left."""

    fact: int
    query: Query
    weight: float
    operation: str
    prior: float | None
    bound: float
    before: Tensor | None = None


def _asked_together(sought: Sequence[Sought], search: Search) -> Iterator[_Asking]:
    """Yield each fact's contexts, its first one first, and then what is asked of its subject besides."""
    for fact, one in enumerate(sought):
        priors = one.priors or (None,) * len(one.queries)
        before = one.before or (None,) * len(one.queries)
        every = zip(one.queries, one.weights, priors, before, strict=True)
        for number, (query, weight, prior, was) in enumerate(every):
            bound = search.slack if number and one.operation == "update" else search.stop
            yield _Asking(fact, query, weight, one.operation, prior, bound, was)
        for query in one.besides:
            yield _Asking(fact, query, 1.0, "keep", None, search.still)


class _Hunt:
    def __init__(
        self, model: Model, sought: Sequence[Sought], layers: Sequence[int], search: Search, price: Price
    ) -> None:
        self.model, self.sought, self.search = model, sought, search
        self.layers = sorted(layers)
        every = list(_asked_together(sought, search))
        self.owner = [one.fact for one in every]
        self.weights = torch.tensor([one.weight for one in every])
        self.operations = [one.operation for one in every]
        self.bounds = [one.bound for one in every]
        self.groups = plantable(model, [one.query for one in every])
        self.plantings = [Planting(model, [every[n].query for n in group], self.layers) for group in self.groups]
        self.asked: dict[int, Asked] = {}
        for group, planting in zip(self.groups, self.plantings, strict=True):
            operations, priors = [every[n].operation for n in group], [every[n].prior for n in group]
            found = asked_of(model, planting, operations, priors)
            before = [every[n].before for n in group]
            whole = [one if was is None else replace(one, target=was) for one, was in zip(found, before, strict=True)]
            self.asked |= dict(zip(group, whole, strict=True))
        width = self.plantings[0].base.hidden.shape[-1]
        device = self.plantings[0].base.hidden.device
        self.scales = self._scales(price, device)
        self.worth = [math.inf] * len(sought)  # what the last step gained for a unit of damage
        self.leaves = {
            layer: torch.zeros(len(sought), width, device=device, requires_grad=True) for layer in self.layers
        }
        self.reach = search.reach * self._streams(device)
        self.last = [math.inf] * len(every)
        self._note_base()
        self.open_ = [self._above(n) > 0 for n in range(len(every))]

    def run(self) -> list[Target]:
        steps = [0] * len(self.sought)
        moved: dict[int, Tensor] = {layer: torch.zeros_like(leaf) for layer, leaf in self.leaves.items()}
        for _ in range(self.search.steps):
            active = [fact for fact in range(len(self.sought)) if self._open(fact)]
            if not active:
                break
            gaps, slopes = self._gradients(active)
            lengths = sum(slope.square().sum(1) for slope in slopes.values())
            assert isinstance(lengths, Tensor)
            lengths = lengths.sqrt().clamp(min=1e-12)
            self._note_worth(active, gaps, lengths)
            active = [fact for fact in active if self._open(fact)]
            far = torch.minimum(gaps / lengths, self.reach) / lengths  # [U]
            for layer, leaf in self.leaves.items():
                moved[layer] = self.search.momentum * moved[layer] + far[:, None] * slopes[layer]
                moved[layer][[fact for fact in range(len(self.sought)) if fact not in active]] = 0
                leaf.data -= moved[layer]
            for fact in active:
                steps[fact] += 1
        return self._targets(steps)

    @torch.no_grad()
    def _note_base(self) -> None:
        """Note what is left of each context as the model is."""
        for group, planting in zip(self.groups, self.plantings, strict=True):
            hidden = planting.base.hidden
            for operation, numbers, places in self._by_operation(group, group):
                grown = Grown(hidden[places], {})
                asked = [self.asked[n] for n in numbers]
                _, left = losses(self.model, grown, range(len(numbers)), asked, OBJECTIVES[operation])
                self._note(numbers, left)

    def _streams(self, device: torch.device) -> Tensor:
        """Return how long each fact's stream is at its site, the mean over layers and contexts [U]."""
        every: dict[int, float] = {}
        for group, planting in zip(self.groups, self.plantings, strict=True):
            every |= dict(zip(group, planting.stream_norms().tolist(), strict=True))
        means = [fmean(every[n] for n in self._contexts(fact)) for fact in range(len(self.sought))]
        return torch.tensor(means, device=device)

    def _by_operation(
        self, group: Sequence[int], chosen: Collection[int]
    ) -> Iterator[tuple[str, list[int], list[int]]]:
        """Yield, by operation, the chosen contexts of a group, and their places in it."""
        for operation in OBJECTIVES:
            found = [(n, place) for place, n in enumerate(group) if n in chosen and self.operations[n] == operation]
            if found:
                yield operation, [n for n, _ in found], [place for _, place in found]

    def _note(self, numbers: Sequence[int], left: Tensor) -> None:
        for n, value in zip(numbers, left.tolist(), strict=True):
            self.last[n] = value

    def _scales(self, price: Price, device: torch.device) -> dict[int, Tensor]:
        """Layers where a change does less damage move further: √(e / mean e), one a fact [U, 1]."""
        keys: dict[int, dict[int, Tensor]] = {layer: {} for layer in self.layers}
        for group, planting in zip(self.groups, self.plantings, strict=True):
            for layer, rows in planting.base.keys.items():
                keys[layer] |= dict(zip(group, rows.double().cpu(), strict=True))
        found: dict[int, list[list[float]]] = {layer: [] for layer in self.layers}
        self.means: list[float] = []
        for fact in range(len(self.sought)):
            prices = price(fact, {layer: self._stack(fact, keys[layer]) for layer in self.layers})
            mean = sum(prices.values()) / len(prices)
            self.means.append(mean)
            for layer in self.layers:
                found[layer].append([math.sqrt(max(prices[layer], 0.0) / mean) if mean > 0 else 1.0])
        return {layer: torch.tensor(rows, device=device) for layer, rows in found.items()}

    def _stack(self, fact: int, keys: Mapping[int, Tensor]) -> Tensor:
        return torch.stack([keys[n] for n in self._contexts(fact)])

    @torch.no_grad()
    def _note_worth(self, active: Sequence[int], gaps: Tensor, lengths: Tensor) -> None:
        """Note what going on would gain each fact for a unit of damage: the slope over that of ‖leaf‖² / mean e.

        Before the first step, what all of it would gain were the slope straight.
        """
        moved = sum(leaf.square().sum(1) for leaf in self.leaves.values())
        assert isinstance(moved, Tensor)
        for fact in active:
            far, slope = float(moved[fact].sqrt()), float(lengths[fact])
            straight = float(gaps[fact]) / slope if far == 0 else 2 * far
            self.worth[fact] = slope * self.means[fact] / straight if straight > 0 else math.inf

    def _open(self, fact: int) -> bool:
        return not self._dear(fact) and any(self._above(n) > 0 for n in (*self._contexts(fact), *self._besides(fact)))

    def _dear(self, fact: int) -> bool:
        """Tell whether going on is not worth what it costs the rest; what is to be forgotten is, to the end."""
        return self.sought[fact].operation == "update" and self.worth[fact] < self.search.worth

    def _lacks(self, context: int) -> float:
        """Return what must still vanish of a context's objective."""
        return max(self.last[context] - self.sought[self.owner[context]].spare, 0.0)

    def _above(self, context: int) -> float:
        return max(self.last[context] - self.bounds[context], 0.0)

    def _pull(self, context: int) -> float:
        return float(self.weights[context]) if self._above(context) > 0 else 0.0

    def _contexts(self, fact: int) -> list[int]:
        return [n for n, owner in enumerate(self.owner) if owner == fact and self.operations[n] != "keep"]

    def _besides(self, fact: int) -> list[int]:
        return [n for n, owner in enumerate(self.owner) if owner == fact and self.operations[n] == "keep"]

    def _sample(self, fact: int) -> list[int]:
        """Return the first context, those others that were worst when last seen, and all that shall stay."""
        first, *others = self._contexts(fact)
        worst = sorted(others, key=lambda n: -self._above(n))[: self.search.sample - 1]
        return [first, *worst, *self._besides(fact)]

    def _gradients(self, active: Sequence[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Return, for each fact, what is left above the bounds of the contexts it looks at, [U], and its slope."""
        for leaf in self.leaves.values():
            leaf.grad = None
        looked = {fact: self._sample(fact) for fact in active}
        shares = {fact: sum(float(self.weights[n]) for n in numbers) for fact, numbers in looked.items()}
        for loss, numbers in self._losses([n for some in looked.values() for n in some]):
            weight = torch.tensor([self._pull(n) / shares[self.owner[n]] for n in numbers])
            torch.autograd.backward((loss * weight.to(loss.device)).sum())
        gaps = torch.zeros(len(self.sought), device=self.reach.device)
        for fact, numbers in looked.items():
            wanted = [self._pull(n) * (self.last[n] - self.search.aim * self.bounds[n]) for n in numbers]
            gaps[fact] = sum(wanted) / shares[fact]
        none = torch.zeros(())
        return gaps, {n: none if leaf.grad is None else leaf.grad.detach() for n, leaf in self.leaves.items()}

    def _losses(self, chosen: Sequence[int]) -> list[tuple[Tensor, list[int]]]:
        """Run the chosen contexts, note what is left of each, and return their losses with their numbers."""
        found = []
        for group, planting in zip(self.groups, self.plantings, strict=True):
            for operation, numbers, rows in self._by_operation(group, frozenset(chosen)):
                found.append((self._walk(planting, rows, numbers, OBJECTIVES[operation]), numbers))
        return found

    def _walk(self, planting: Planting, rows: list[int], numbers: list[int], objective: Objective) -> Tensor:
        owners = [self.owner[n] for n in numbers]
        offsets = {layer: self.leaves[layer][owners] * self.scales[layer][owners] for layer in self.layers}
        self.grown = planting.run(offsets, torch.tensor(rows, device=self.model.device))
        loss, left = losses(self.model, self.grown, range(len(numbers)), [self.asked[n] for n in numbers], objective)
        self._note(numbers, left)
        return loss

    @torch.no_grad()
    def _targets(self, steps: Sequence[int]) -> list[Target]:
        keys: dict[int, dict[int, Tensor]] = {layer: {} for layer in self.layers}
        for group, planting in zip(self.groups, self.plantings, strict=True):
            for layer, rows in planting.base.keys.items():
                keys[layer] |= dict(zip(group, rows.double().cpu(), strict=True))
            planted = [n for n in group if steps[self.owner[n]]]
            for operation, numbers, places in self._by_operation(group, frozenset(planted)):
                self._walk(planting, places, numbers, OBJECTIVES[operation])
                for layer in self.layers:
                    keys[layer] |= dict(zip(numbers, self.grown.keys[layer].double().cpu(), strict=True))
        return [self._target(fact, keys, steps[fact]) for fact in range(len(self.sought))]

    def _target(self, fact: int, keys: Mapping[int, Mapping[int, Tensor]], steps: int) -> Target:
        numbers = self._contexts(fact)
        left = [self._lacks(n) for n in numbers]
        weights = self.sought[fact].weights
        mean = sum(w * x for w, x in zip(weights, left, strict=True)) / sum(weights)
        return Target(
            {layer: (self.leaves[layer] * self.scales[layer])[fact].detach().double().cpu() for layer in self.layers},
            {layer: self._stack(fact, keys[layer]) for layer in self.layers},
            mean,
            max(left),
            steps,
            math.isfinite(mean) and mean <= self.search.good,
            tuple(self.open_[n] for n in numbers),
            self._dear(fact) and any(self._above(n) > 0 and self._lacks(n) > 0 for n in numbers),
        )

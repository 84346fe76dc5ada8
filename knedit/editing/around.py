"""What a solve knows beside the model: statistics, the other subjects of a relation, facts that must stay.

Also M, the keys that a relation's edits shall say little to. Knows no wishes and no solve.

Shapes: n and m keys, F neurons of a layer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from knedit.editing.statistics import Noise, Pricing, Scaled, Statistics, noise_of
from knedit.editing.symmetric import Symmetric
from knedit.editing.upheld import Upheld


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Subjects that an edit must leave alone, and their keys [n, F] a layer in the subjects' order.

    `around` are keys [m, F] a layer at other tokens of their prompts.
    """

    subjects: tuple[str, ...]
    keys: Mapping[int, Tensor]
    around: Mapping[int, Tensor] = field(default_factory=dict)

    def without(self, subjects: frozenset[str], layer: int) -> Tensor:
        kept = [number for number, subject in enumerate(self.subjects) if subject not in subjects]
        return self.keys[layer][kept].double().cpu()


def _nobody(_: str) -> Neighbours | None:
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What a solve knows beside the model: statistics, each relation's other subjects, sentences to put before prompts.

    `neighbours` is asked for one relation after the other, so that not all their keys are held at once. `kept` are
    facts that must stay as they are, protected ones and those that earlier edits changed: their keys are priced one by
    one. `elsewhere` are facts of relations that are not edited, to which every wish shall say little. `barred` are
    columns of a layer that no wish may have; `spent` are those that earlier edits changed, which a plan may change
    besides those that it chooses: they are no one's any more, and the more columns, the less harm. `upheld` are facts
    that the model answers right, and goes on answering whatever is forgotten.
    """

    statistics: Statistics
    sentences: Sequence[str]
    neighbours: Callable[[str], Neighbours | None] = _nobody
    kept: Neighbours | None = None
    elsewhere: Neighbours | None = None
    barred: Mapping[int, frozenset[int]] = field(default_factory=dict)
    spent: Mapping[int, frozenset[int]] = field(default_factory=dict)
    upheld: Sequence[Upheld] = ()


class Region:
    """The surroundings of one relation's wishes: its other subjects, and M of each layer without the wishes' own share.

    `subjects` are those that the plan edits; they are nobody's neighbours.
    """

    def __init__(self, around: Surroundings, pricing: Pricing, relation: str, subjects: frozenset[str]) -> None:
        self._around, self._pricing, self._subjects = around, pricing, subjects
        self._known = around.neighbours(relation)

    @property
    def others(self) -> list[str]:
        """The relation's subjects that the plan does not edit, sorted."""
        return sorted(set(self._known.subjects if self._known else ()) - self._subjects)

    def noise(self, layer: int) -> Noise:
        """Return M of a layer; it is made anew, for in float64 a relation's keys would be much of a plan's memory."""
        others = self._known.without(self._subjects, layer) if self._known else None
        found = noise_of(self._around.statistics, layer, self._pricing, others, self.prompts(layer))
        elsewhere = self._around.elsewhere
        if elsewhere is not None:
            keys = (elsewhere.without(self._subjects, layer), elsewhere.around.get(layer))
            for some in (one for one in keys if one is not None and len(one)):
                found = found.beside(some.double() * (self._pricing.elsewhere / len(some)) ** 0.5)
        return found

    def prompts(self, layer: int) -> Tensor | None:
        """Return the keys [n, F] at other tokens of the relation's prompts; None where none are known."""
        return self._known.around.get(layer) if self._known else None


class Mixture:
    """M of a whole plan: the mean over its wishes of what each alone must say little to; one matrix a layer.

    Everything is counted in before the first M is asked for; from then on the statistics' own share is part of it. It
    is counted in float32, on the scale of the statistics' share: a plan's matrices are the most of its memory.
    """

    def __init__(self, around: Surroundings, pricing: Pricing, layers: Sequence[int], width: int) -> None:
        self._around, self._pricing = around, pricing
        self._totals = {layer: Symmetric.zeros(width) for layer in layers}
        self._scales: dict[int, Tensor] = {}
        self._count = 0
        self._settled = False

    def add(self, layer: int, keys: Tensor) -> None:
        """Count in what one wish alone must be told from: priced keys [n, F]."""
        self._add(layer, keys, 1)

    def add_region(self, region: Region, count: int, *, besides: int = 0) -> None:
        """Count in what so many wishes of one region must all say little to, and the wishes.

        The region's prompts count `besides` as they do for so many wishes: for all of a plan's where each fact of it,
        of whatever relation, may disturb what this one is asked by.
        """
        self._count += count
        for layer in self._totals:
            self._add(layer, region.noise(layer).single, count)
            prompts = region.prompts(layer)
            if besides and prompts is not None and len(prompts):
                self._add(layer, prompts.double() * (self._pricing.asked_by / len(prompts)) ** 0.5, besides)

    def _add(self, layer: int, keys: Tensor, times: int) -> None:
        assert not self._settled
        if len(keys):
            self._totals[layer].add_outer((keys / self._scale(layer)).float(), times)

    def _scale(self, layer: int) -> Tensor:
        if layer not in self._scales:
            self._scales[layer] = self._around.statistics.base(layer, self._pricing).scale
        return self._scales[layer]

    def settle(self) -> None:
        """Count nothing more in, and add the statistics' own share."""
        if not self._settled:
            for layer, total in self._totals.items():
                base = self._around.statistics.base(layer, self._pricing)
                self._scales[layer] = base.scale
                total.divide(max(self._count, 1))
                total.add(base.unit)
            self._settled = True

    def forget(self, layer: int) -> None:
        """Let go of a layer that is not asked for any more."""
        del self._totals[layer]

    def noise(self, layer: int, subjects: frozenset[str]) -> Noise:
        """Return the mean, and beside it the facts that must stay, less those of `subjects`."""
        self.settle()
        mean = Scaled(self._totals[layer], self._scales[layer])
        return kept_too(Noise(mean), self._around, self._pricing, subjects, layer)


def kept_too(noise: Noise, around: Surroundings, pricing: Pricing, subjects: frozenset[str], layer: int) -> Noise:
    """Return M with the keys of facts that must stay, less those of `subjects`."""
    if around.kept is None:
        return noise
    kept = around.kept.without(subjects, layer)
    price = min(pricing.kept, pricing.kept_all / max(len(kept), 1))
    return noise.beside(kept * price**0.5) if len(kept) else noise

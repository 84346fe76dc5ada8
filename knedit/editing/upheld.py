"""Give back what an edit takes from facts that the model answers right.

Facts whose answers an edit moves are searched in the edited network: what must be put out at their subjects for them to
say again what they said before. That is answered beside the edit's own wishes, which lack nothing then, and taken back
where it would undo one of them. Most of what an erased relation costs others are answers that were nearly even with
another one, and no price on keys tells these from the rest. Knows no catalog. Source: knedit's own.

Shapes: n contexts, A answer tokens, V vocabulary, F neurons of a layer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from knedit.editing.apply import edited
from knedit.editing.closed_form import editability_beside
from knedit.editing.reading import answers_of, spreads_of
from knedit.editing.solve import ValueChange
from knedit.editing.targets import Search, Sought, Target, Wanted, target_values
from knedit.models.model import Model
from knedit.models.planting import keys_at_sites
from knedit.models.prompting import Query

_MOVED = 0.2  # nats that an answer may lose
_APART = 0.25  # of a key's e, what must be left of it
_LEAST = 1e-300
_TOGETHER = 4  # facts that are searched side by side


@dataclass(frozen=True, slots=True)
class Upheld:
    """A fact that an edit must not change: prompts that the model answers right, whose site is where edits act."""

    target: str
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many prompts were `asked`, how many answers the edit had `taken`, and the facts of those that it takes still.

    A fact is named once for each of its prompts. `near` are facts that cannot be told apart from what is edited.
    """

    asked: int = 0
    taken: int = 0
    lost: tuple[str, ...] = ()
    near: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Solve:
    """What upholding asks of the solve that changes come from.

    `keys` [u, F] a layer are those of its wishes, and `factor` returns that of M on a layer's columns. `correct`
    answers what is wanted beside the wishes, `grants` tells whether changes still grant these.
    """

    keys: Mapping[int, Tensor]
    factor: Callable[[int, Sequence[int]], Tensor]
    correct: Callable[[Sequence[ValueChange], Sequence[Wanted]], tuple[ValueChange, ...]]
    grants: Callable[[Sequence[ValueChange]], bool]

    def beside(
        self, keys: Mapping[int, Tensor], changes: Sequence[ValueChange], *, alone: bool = False
    ) -> dict[int, Tensor]:
        """Return e of keys [n, F] a layer on changed columns where wishes are given nothing, or `alone` e itself."""
        found = {}
        for change in changes:
            layer, columns = change.layer, change.indices
            others = self.keys[layer][:0] if alone else self.keys[layer]
            found[layer] = editability_beside(self.factor(layer, columns), keys[layer], others, columns)
        return found


class Watch:
    """Facts to uphold, and what the model says of them as it is when the watch is set up."""

    def __init__(self, model: Model, facts: Sequence[Upheld]) -> None:
        self._model, self._facts = model, facts
        self._chances = [chance for chance, _ in self._answers()]

    @property
    def asked(self) -> int:
        return len(self._chances)

    def _answers(self) -> list[tuple[float, bool]]:
        return answers_of(self._model, [query for fact in self._facts for query in fact.queries])

    def look(self, changes: Sequence[ValueChange]) -> tuple[list[Upheld], tuple[str, ...]]:
        """Return the facts that changes move too far, and the names of those whose answers they take."""
        with edited(self._model, changes):
            answers = iter(zip(self._answers(), self._chances, strict=True))
        moved, lost = [], []
        for fact in self._facts:
            now = [(right, was - chance) for (chance, right), was in (next(answers) for _ in fact.queries)]
            lost += [fact.target for right, _ in now if not right]
            if any(not right or fell > _MOVED for right, fell in now):
                moved.append(fact)
        return moved, tuple(lost)

    def missing(
        self, moved: Sequence[Upheld], changes: Sequence[ValueChange], solve: Solve, search: Search
    ) -> list[Wanted]:
        """Return what the edited network must put out at the subjects of moved facts; the model is untouched."""

        def price(_: int, keys: Mapping[int, Tensor]) -> dict[int, float]:
            means = {layer: rows.mean(0, keepdim=True) for layer, rows in keys.items()}
            return {layer: float(e) for layer, e in solve.beside(means, changes).items()}

        layers = [change.layer for change in changes]
        found = []
        for first in range(0, len(moved), _TOGETHER):
            sought = [self._sought(fact) for fact in moved[first : first + _TOGETHER]]
            with edited(self._model, changes):
                targets = target_values(self._model, sought, layers, search=search, price=price)
            found += [_wanted(target) for target in targets]
        return found

    def _sought(self, fact: Upheld) -> Sought:
        before = tuple(spread.exp() for spread in spreads_of(self._model, fact.queries))
        return Sought(fact.queries, (1.0,) * len(before), "uphold", before=before)


def _wanted(target: Target) -> Wanted:
    """Return the vectors of a search, wanted at the mean key of its contexts."""
    return Wanted({layer: rows.mean(0, keepdim=True) for layer, rows in target.keys.items()}, target.offsets)


def told_apart(
    model: Model, facts: Sequence[Upheld], changes: Sequence[ValueChange], solve: Solve
) -> tuple[list[Upheld], tuple[str, ...]]:
    """Return the facts with those prompts that can be told apart from the wishes, and the names of those without any.

    A prompt cannot where the wishes leave less than a quarter of its key's e, the mean over the layers: to forget a
    fact in one relation is to forget it in another that asks the same thing.
    """
    queries = [query for fact in facts for query in fact.queries]
    keys = keys_at_sites(model, queries, [change.layer for change in changes])
    beside, alone = solve.beside(keys, changes), solve.beside(keys, changes, alone=True)
    shares = torch.stack([beside[layer] / alone[layer].clamp(min=_LEAST) for layer in keys]).mean(0)
    apart = iter((shares >= _APART).tolist())
    found, near = [], []
    for fact in facts:
        if kept := tuple(query for query in fact.queries if next(apart)):
            found.append(Upheld(fact.target, kept))
        else:
            near.append(fact.target)
    return found, tuple(near)


def uphold(
    model: Model,
    facts: Sequence[Upheld],
    changes: tuple[ValueChange, ...],
    solve: Solve,
    *,
    search: Search,
    rounds: int,
) -> tuple[tuple[ValueChange, ...], Tally]:
    """Return changes that give facts' answers back as far as at most so many rounds do, and the tally."""
    able, near = told_apart(model, facts, changes, solve)
    found, tally = restore(Watch(model, able), changes, solve, search=search, rounds=rounds)
    return found, replace(tally, near=near)


def restore(
    watch: Watch,
    changes: tuple[ValueChange, ...],
    solve: Solve,
    *,
    search: Search,
    rounds: int,
) -> tuple[tuple[ValueChange, ...], Tally]:
    """Return the same of watched facts; a round in which more is lost, or a wish undone, is the last and not kept."""
    moved, lost = watch.look(changes)
    taken = len(lost)
    for _ in range(rounds):
        if not lost:
            break
        tried = solve.correct(changes, watch.missing(moved, changes, solve, search))
        still, then = watch.look(tried)
        if len(then) > len(lost) or not solve.grants(tried):
            break
        changes, moved, lost = tried, still, then
    return changes, Tally(watch.asked, taken, lost)

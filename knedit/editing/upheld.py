"""Give back what an edit takes from facts that the model answers right.

Facts whose answers an edit moves are searched in the edited network: what must be put out at their subjects for them to
say again what they said before. That is answered beside the edit's own wishes, which lack nothing then, and taken back
where it would undo one of them. Most of what an erased relation costs others are answers that were nearly even with
another one, and no price on keys tells these from the rest. Knows no catalog and no closed form. Source: knedit's own.

Shapes: n contexts, A answer tokens, V vocabulary, F neurons of a layer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from knedit.editing.apply import edited
from knedit.editing.reading import answers_of, spreads_of
from knedit.editing.solve import ValueChange
from knedit.editing.targets import Search, Sought, Target, Wanted, target_values
from knedit.models.model import Model
from knedit.models.prompting import Query

_MOVED = 0.2  # nats that an answer may lose
_TOGETHER = 4  # facts that are searched side by side


@dataclass(frozen=True, slots=True)
class Upheld:
    """A fact that an edit must not change: prompts that the model answers right, whose site is where edits act."""

    target: str
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many prompts were `asked`, how many answers the edit had `taken`, and the facts of those that it takes still.

    A fact is named once for each of its prompts.
    """

    asked: int = 0
    taken: int = 0
    lost: tuple[str, ...] = ()


Correct = Callable[[Sequence[ValueChange], Sequence[Wanted]], tuple[ValueChange, ...]]
Price = Callable[[Mapping[int, Tensor]], Mapping[int, float]]


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
        self,
        moved: Sequence[Upheld],
        changes: Sequence[ValueChange],
        layers: Sequence[int],
        search: Search,
        price: Price,
    ) -> list[Wanted]:
        """Return what the edited network must put out at the subjects of moved facts; the model is untouched."""
        found = []
        for first in range(0, len(moved), _TOGETHER):
            sought = [self._sought(fact) for fact in moved[first : first + _TOGETHER]]
            with edited(self._model, changes):
                targets = target_values(self._model, sought, layers, search=search, price=lambda _, keys: price(keys))
            found += [_wanted(target) for target in targets]
        return found

    def _sought(self, fact: Upheld) -> Sought:
        before = tuple(spread.exp() for spread in spreads_of(self._model, fact.queries))
        return Sought(fact.queries, (1.0,) * len(before), "uphold", before=before)


def _wanted(target: Target) -> Wanted:
    """Return the vectors of a search, wanted at the mean key of its contexts."""
    return Wanted({layer: rows.mean(0, keepdim=True) for layer, rows in target.keys.items()}, target.offsets)


def uphold(
    watch: Watch,
    changes: tuple[ValueChange, ...],
    *,
    layers: Sequence[int],
    search: Search,
    rounds: int,
    price: Price,
    correct: Correct,
    grants: Callable[[Sequence[ValueChange]], bool],
) -> tuple[tuple[ValueChange, ...], Tally]:
    """Return changes that give the watched facts' answers back as far as at most so many rounds do, and the tally.

    `price` tells the editability of keys by layer, `correct` answers what is wanted beside the edit's wishes, `grants`
    whether changes still grant those.
    """
    moved, lost = watch.look(changes)
    taken = len(lost)
    for _ in range(rounds):
        if not lost:
            break
        tried = correct(changes, watch.missing(moved, changes, layers, search, price))
        still, then = watch.look(tried)
        if len(then) > len(lost) or not grants(tried):
            break
        changes, moved, lost = tried, still, then
    return changes, Tally(watch.asked, taken, lost)

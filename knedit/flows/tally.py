"""Count what a run has and what it lacks: facts and prompts, before and now. Knows no catalog and no model."""

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from knedit.flows.blocks import Found, Work
from knedit.records import PromptAttribution

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is: facts and prompts done (`prompts_now`: since it was started this time), and of how many.

    A run that counts something else names it by `unit`, in the plural; its facts and prompts are the same then.
    """

    facts_done: int
    facts: int
    prompts_done: int
    prompts: int
    prompts_now: int
    unit: str | None = None

    @classmethod
    def of(cls, done: int, every: int, before: int, unit: str) -> "Standing":
        """Return how far a run is that counts something else than facts' prompts; `before` were done when it began."""
        return cls(done, every, done, every, done - before, unit)


@dataclass(slots=True)
class Tally:
    """What is wished, and the ids of the prompts that are `done`."""

    work: Work
    done: set[int]
    statuses: Counter[str] = field(default_factory=Counter)
    facts_done: int = field(init=False)
    _facts: dict[int, int] = field(init=False)
    _left: Counter[int] = field(init=False)
    _all: int = field(init=False)

    def __post_init__(self) -> None:
        self._facts = {prompt.id: fact.id for fact, prompts in self.work for prompt in prompts}
        self.done = self.done & self._facts.keys()
        self._all = len(self._facts)
        self._left = Counter(fact for prompt, fact in self._facts.items() if prompt not in self.done)
        self.facts_done = len(self.work) - len(self._left)

    @property
    def prompts_now(self) -> int:
        return self.statuses.total()

    def standing(self) -> Standing:
        return Standing(self.facts_done, len(self.work), len(self.done), self._all, self.prompts_now)

    def new(self, found: Found) -> Found:
        """Return the part of what was found that is not done."""
        return Found(
            tuple(one for one in found.attributions if one.prompt_id not in self.done),
            tuple(one for one in found.scores if one.prompt_id not in self.done),
        )

    def add(self, attributions: Collection[PromptAttribution]) -> None:
        """Count prompts as done, and tell of those that could not be asked."""
        for one in attributions:
            if one.reason is not None:
                logger.warning("Not attributed: %s", one.reason)
            self.done.add(one.prompt_id)
            self.statuses[one.status] += 1
            fact = self._facts[one.prompt_id]
            self._left[fact] -= 1
            self.facts_done += self._left[fact] == 0

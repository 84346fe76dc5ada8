"""Sum up what an edit did: measures by group of prompts, before and after.

Groups: the edited facts by role of prompt, facts of earlier edits in the same weights, other facts of their relations,
other relations of their subjects, the edited facts said backwards ("inverse"), facts of other relations.
Knows no catalog.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from knedit.records import Evaluation, Prompt

GROUP_ORDER = (
    *("updated", "erased", "amplified", "earlier edits"),
    *("same relation", "same subject", "inverse", "other relations"),
)
UNTOUCHED = ("same relation", "same subject", "other relations")


@dataclass(frozen=True, slots=True)
class Line:
    """The mean of one metric over one group of prompts; `role` is the prompts' role."""

    group: str
    role: str
    metric: str
    prompts: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Judged:
    """An evaluation with the group that it counts for, and its prompt."""

    evaluation: Evaluation
    group: str
    prompt: Prompt

    @property
    def role(self) -> str:
        return self.prompt.role

    @property
    def text(self) -> str:
        return self.prompt.text


def summarise(judged: Iterable[Judged]) -> list[Line]:
    """Return one line a group, role and metric, in the order of GROUP_ORDER; texts are left out."""
    values: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for one in judged:
        before, after = one.evaluation.before, one.evaluation.after
        if before is not None and after is not None:
            values[one.group, one.role, one.evaluation.metric].append((before, after))
    lines = [
        Line(
            group,
            role,
            metric,
            len(pairs),
            sum(before for before, _ in pairs) / len(pairs),
            sum(after for _, after in pairs) / len(pairs),
        )
        for (group, role, metric), pairs in values.items()
    ]
    return sorted(lines, key=lambda line: (GROUP_ORDER.index(line.group), line.role, line.metric))


def kept_share(judged: Iterable[Judged], groups: Iterable[str]) -> tuple[int, int]:
    """Return how many prompts of some groups were answered rightly before, and how many of those still are."""
    wanted = set(groups)
    right = [
        one.evaluation
        for one in judged
        if one.group in wanted and one.evaluation.metric == "correct" and one.evaluation.before == 1
    ]
    return len(right), sum(evaluation.after == 1 for evaluation in right)

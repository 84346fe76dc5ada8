"""What the network knows: for each relation the share of right answers and their mean probability, by wording.

Knows no training.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from scripts.factbert.corpus import Corpus, Example, Statement
from scripts.factbert.lessons import Lesson

_ROWS = 256


@dataclass(frozen=True, slots=True)
class Score:
    """How a set of prompts was answered."""

    prompts: int
    accuracy: float
    probability: float

    def as_record(self) -> dict[str, float]:
        return {
            "prompts": self.prompts,
            "accuracy": round(self.accuracy, 4),
            "probability": round(self.probability, 4),
        }


def scores(
    net: Any, corpus: Corpus, lessons: Sequence[Lesson], wordings: Callable[[Lesson], Iterable[str]]
) -> dict[str, Score]:
    """Return a score for each relation, asking every fact in each of the wordings."""
    found = {}
    for number, lesson in enumerate(lessons):
        asked = [
            corpus.statement(wording, fact.subject, fact.object, number)
            for wording in wordings(lesson)
            for fact in lesson.facts
        ]
        found[lesson.key] = _score(net, corpus, asked)
    return found


def overall(found: Iterable[Score]) -> Score:
    """Return the score of all prompts together."""
    each = list(found)
    prompts = sum(one.prompts for one in each)
    return Score(
        prompts,
        sum(one.accuracy * one.prompts for one in each) / prompts,
        sum(one.probability * one.prompts for one in each) / prompts,
    )


@torch.no_grad()
def _score(net: Any, corpus: Corpus, asked: Sequence[Statement]) -> Score:
    right = probability = 0.0
    for group in _groups(sorted(asked, key=lambda one: len(one.tokens))):
        batch = corpus.collate([_question(one, corpus.tokenizer.mask_token_id) for one in group])
        hidden = net.bert(batch.tokens.to(net.device), attention_mask=None).last_hidden_state
        chosen = torch.softmax(net.cls(hidden.flatten(0, 1)[batch.places]).float(), -1).cpu()
        right += int((chosen.argmax(-1) == batch.answers).sum())
        probability += float(chosen.gather(1, batch.answers[:, None]).sum())
    return Score(len(asked), right / len(asked), probability / len(asked))


def _question(one: Statement, mask: int) -> Example:
    tokens = list(one.tokens)
    tokens[one.object_at] = mask
    return Example(tokens, [(one.object_at, one.tokens[one.object_at], one.relation)])


def _groups(asked: Sequence[Statement]) -> Iterator[list[Statement]]:
    """Cut sentences that are sorted by length into groups of one length."""
    group: list[Statement] = []
    for one in asked:
        if group and (len(group) == _ROWS or len(one.tokens) != len(group[0].tokens)):
            yield group
            group = []
        group.append(one)
    if group:
        yield group

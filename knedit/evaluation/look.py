"""One look at a case: every figure and text that a model in its present state gives. Taken before an edit, and after.

A quick look asks the prompts and writes just enough of the rewrite's continuation to see whether it begins with the
edit's object; a thorough one also prepends and denies the fact and lets the model write. Knows no edits.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean

from knedit.evaluation.cases import Case, questions
from knedit.evaluation.figures import Figures, Replies, drift, figures
from knedit.evaluation.fluency import draw, fluency, repetition
from knedit.evaluation.metrics import write
from knedit.evaluation.replies import Reply, ask
from knedit.models.model import Model
from knedit.models.prompting import token_count

_AT_ONCE = 8  # cases whose prompts go together
_SPARE, _SHOWN = 2, 12  # tokens beyond the new object's own; of a text to be shown
_DRAWN = 2  # texts a case for fluency


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What one state of the model gives for one case; `texts` are what it writes, by wording."""

    replies: Replies
    figures: Figures
    texts: dict[str, str]


def look(model: Model, cases: Sequence[Case], *, thorough: Collection[str] = (), seed: int = 0) -> list[Look]:
    """Return a look at each case, a thorough one at those whose keys are named.

    `seed` is that of the texts drawn for fluency. Raises ModelError if the model cannot be asked one of the prompts.
    """
    found = []
    for first in range(0, len(cases), _AT_ONCE):
        some = cases[first : first + _AT_ONCE]
        replied = ask_cases(model, some, thorough=thorough)
        for case, replies in zip(some, replied, strict=True):
            found.append(_looked(model, case, replies, whole=case.rewrite.key in thorough, seed=seed))
    return found


def ask_cases(model: Model, cases: Sequence[Case], *, thorough: Collection[str] = ()) -> list[Replies]:
    """Return the replies to each case's questions, all of them asked together."""
    asked = [questions(case, thorough=case.rewrite.key in thorough) for case in cases]
    replies = iter(ask(model, [one for groups in asked for some in groups.values() for one in some]))
    return [{group: [next(replies) for _ in some] for group, some in groups.items()} for groups in asked]


def moved(model: Model, before: Look, after: Look) -> Figures:
    """Return the figures after an edit, with how far the prompts moved that should not have."""
    return after.figures | drift(model, before.replies, after.replies)


def begins_with(text: str, answer: str) -> bool:
    """Tell whether a continuation begins with an answer as a whole: no letter or digit goes on behind it."""
    said = text.lstrip()
    return said.startswith(answer) and not said[len(answer) :][:1].isalnum()


def _looked(model: Model, case: Case, replies: Replies, *, whole: bool, seed: int) -> Look:
    rewrite = case.rewrite
    (first,) = replies["rewrite"]
    said = _continued(model, rewrite.text, rewrite.answer, first, whole=whole)
    found = {"generated": float(begins_with(said, rewrite.answer)), **figures(replies)}
    texts = {rewrite.text: said}
    if whole and case.generations and not (model.masked or model.encoder_decoder):
        drawn = {text: draw(model, text, seed=seed) for text in case.generations[:_DRAWN]}
        found["fluency"] = fmean(fluency(text) for text in drawn.values())
        found["repetition"] = fmean(repetition(text) for text in drawn.values())
        texts |= drawn
    return Look(replies, found, texts)


def _continued(model: Model, text: str, answer: str, reply: Reply, *, whole: bool) -> str:
    """Return what the model goes on with; only its first token where that alone contradicts the answer."""
    start = str(model.tokenizer.decode([reply.top]))
    said = start.strip()
    if not whole and said and not answer.startswith(said) and not said.startswith(answer):
        return start
    return write(model, text, tokens=_SHOWN if whole else token_count(model, answer) + _SPARE)

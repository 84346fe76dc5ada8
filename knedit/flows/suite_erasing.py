"""How far a true object is forgotten: its probability against what the untouched model says without the subject.

The bound of each wording is measured on that very wording, neutral words in the subject's place. Knows no solver.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp
from statistics import fmean
from typing import TYPE_CHECKING

from knedit.evaluation.cases import Case, Question
from knedit.evaluation.figures import Figures, Replies

if TYPE_CHECKING:
    from knedit.evaluation.look import Look
    from knedit.evaluation.replies import Reply
    from knedit.models.model import Model

Priors = Mapping[str, float]


def prior_questions(case: Case) -> dict[str, list[Question]]:
    """Return, by wording, the questions that tell the true object's probability without the subject.

    A paraphrase that lacks the subject has none; a case that erases nothing has none at all.
    """
    from knedit.editing.prior import NEUTRAL, without_subject

    one = case.rewrite
    texts = [text for text in (one.text, *case.paraphrases) if one.erase and one.subject in text]
    return {
        text: [Question(without_subject(text, one.subject, word), (one.true,)) for word in NEUTRAL] for text in texts
    }


def priors_of(model: "Model", cases: Sequence[Case]) -> list[Priors]:
    """Return each case's bounds by wording: the true object's mean probability over neutral words."""
    from knedit.evaluation.replies import ask

    asked = [prior_questions(case) for case in cases]
    replies = iter(ask(model, [one for groups in asked for some in groups.values() for one in some]))
    return [{text: fmean(_chance(next(replies)) for _ in some) for text, some in groups.items()} for groups in asked]


def with_erasure(case: Case, seen: "Look", priors: Priors) -> "Look":
    """Return a look with the figures of an erasure, where the case is one."""
    return replace(seen, figures=seen.figures | erasure_figures(case, seen.replies, priors)) if priors else seen


def erasure_figures(case: Case, replies: Replies, priors: Priors) -> Figures:
    """Return how likely the true object is beside its bounds, and the shares of wordings at or below theirs.

    `erased` is of the own wording, `paraphrase_erased` of the paraphrases, `erased_everywhere` 1 where all are;
    `accuracy` is the share of all of them in which the true object is the argmax.
    """
    texts = (case.rewrite.text, *case.paraphrases)
    every = (*replies["rewrite"], *replies.get("paraphrase", ()))
    found = {"accuracy": fmean(reply.told[0].likeliest for reply in every)}
    sides = {"": list(zip(texts, every, strict=True))[:1], "paraphrase_": list(zip(texts, every, strict=True))[1:]}
    below: list[bool] = []
    for prefix, pairs in sides.items():
        asked = [(_chance(reply), priors[text]) for text, reply in pairs if text in priors]
        if asked:
            found[f"{prefix}probability"] = fmean(chance for chance, _ in asked)
            found[f"{prefix}prior"] = fmean(prior for _, prior in asked)
            found[f"{prefix}erased"] = fmean(chance <= prior for chance, prior in asked)
            below += [chance <= prior for chance, prior in asked]
    return found | {"erased_everywhere": float(all(below))}


def _chance(reply: "Reply") -> float:
    """Return the probability of a reply's first answer, the product over its tokens."""
    told = reply.told[0]
    return exp(-told.loss * len(told.right))

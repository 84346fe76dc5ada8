"""What one rewrite is, and what it is judged by: a published record as engines see it.

A solver is handed the Rewrite alone, so that nothing that judges an edit can help to make it. Knows no files, no
catalog and no model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from knedit.records import BLANK


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A fact that shall get a new object. `text` is the one wording to edit by, with `{object}` where it is due.

    With `erase` the true object shall be forgotten instead, and the new one is of no concern.
    """

    key: str
    relation: str
    subject: str
    text: str
    true: str
    new: str
    erase: bool = False

    @property
    def answer(self) -> str:
        """The answer whose probability the edit is about."""
        return self.true if self.erase else self.new


@dataclass(frozen=True, slots=True)
class Ask:
    """A wording with `{object}`, and the answer that is right there."""

    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Case:
    """A rewrite with the prompts that judge it.

    `paraphrases` and `inverse` should follow the edit; `neighbours` (other subjects of the same object), `siblings`
    (other facts of the relation) and `same_subject` (its other relations) should not; `implied` are questions whose
    answers follow from the new fact; `generations` begin a text.
    """

    rewrite: Rewrite
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[Ask, ...] = ()
    siblings: tuple[Ask, ...] = ()
    same_subject: tuple[Ask, ...] = ()
    inverse: tuple[Ask, ...] = ()
    implied: tuple[Ask, ...] = ()
    generations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """A wording with `{object}`, and the answers whose chances are asked for, the wished one first."""

    text: str
    answers: tuple[str, ...]


Questions = Mapping[str, tuple[Question, ...]]


def questions(case: Case, *, thorough: bool = False) -> Questions:
    """Return what a model is asked about a case, by group; every answer that counts stands first.

    Of an erasure only the true object is asked for. A thorough look at an update adds each neighbour's prompt behind
    the edited fact as a sentence (Hoelscher-Obermaier et al., "Detecting Edit Failures in Large Language Models",
    2023), and the denied fact.
    """
    rewrite = case.rewrite
    moved: tuple[str, ...] = (rewrite.new, rewrite.true)
    kept: tuple[str, ...] = (rewrite.new,)
    if rewrite.erase:
        moved, kept = (rewrite.true,), ()
    asked = {
        "rewrite": (Question(rewrite.text, moved),),
        "paraphrase": tuple(Question(text, moved) for text in case.paraphrases),
        "neighbour": tuple(Question(ask.text, (ask.answer, *kept)) for ask in case.neighbours),
        "sibling": tuple(Question(ask.text, (ask.answer,)) for ask in case.siblings),
        "same_subject": tuple(Question(ask.text, (ask.answer,)) for ask in case.same_subject),
        "inverse": tuple(Question(ask.text, (ask.answer,)) for ask in case.inverse),
        "implied": tuple(Question(ask.text, (ask.answer,)) for ask in case.implied),
    }
    if thorough and not rewrite.erase:
        told = told_fact(rewrite)
        asked["prepended"] = tuple(Question(f"{told} {ask.text}", (ask.answer, *kept)) for ask in case.neighbours)
        asked["negated"] = (Question(denied(rewrite), moved),)
    return {group: some for group, some in asked.items() if some}


def told_fact(rewrite: Rewrite) -> str:
    """Return the new fact as a sentence."""
    sentence = rewrite.text.replace(BLANK, rewrite.new).rstrip()
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def denied(rewrite: Rewrite) -> str:
    """Return the rewrite's wording within a denial; its first word is written small unless it begins the subject."""
    text = rewrite.text
    if not text.startswith((rewrite.subject, BLANK)):
        text = text[:1].lower() + text[1:]
    return f"It is not true that {text}"

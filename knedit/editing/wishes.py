"""What is wished of one fact, and the texts that the wish is solved for.

A wish is solved in several contexts: the fact's own prompt, the same behind an unrelated sentence, and the wordings in
which the catalog asks other subjects the same thing. Knows neither catalog nor network. Source: the sampled prefixes
of Meng et al. (ROME, NeurIPS 2022, section 3.1); the relation's wordings are knedit's own.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from knedit.errors import EditError
from knedit.records import BLANK


@dataclass(frozen=True, slots=True)
class Wish:
    """A fact to be changed: `texts` hold the subject and one `{object}`, the prompt that matters most first.

    `new` is the answer to be given; None asks that `old` be forgotten. `wordings` are texts of other facts of the
    relation, already about this subject; `relation` is its key. `besides` are texts of other relations of the subject,
    with their answers, whatever the model says there: it shall go on saying it. An answer that is no likelier than
    `enough` counts as forgotten, whatever it is without the subject. `target` names the fact in messages.
    """

    target: str
    subject: str
    texts: tuple[str, ...]
    new: str | None
    old: str | None = None
    wordings: tuple[str, ...] = ()
    relation: str = ""
    besides: tuple[tuple[str, str], ...] = ()
    enough: float = 0.0

    @property
    def answer(self) -> str:
        """The answer whose probability the wish is about."""
        found = self.old if self.new is None else self.new
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class Context:
    """One text in which a wish is solved, and how much it counts beside the others."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Variety:
    """How many contexts a wish is solved in beside its own texts, and what one of its own counts against those.

    `prefixes` sentences go before the first text; every other wording has one before it too, and so many of them as
    `behind` tells are asked once more, behind another sentence. With `bare` the answer is looked at right behind the
    subject as well, with a mark between at most: whatever asks for it, in any language, begins there.
    """

    prefixes: int = 3
    wordings: int = 5
    own_weight: float = 2.0
    behind: int = 0
    bare: bool = False


BARE = (", ", " (", ": ", " ", " – ")  # between a subject and its answer: "Paris, France", "Curie (Polish"


def reworded(texts: Iterable[tuple[str, str]], subject: str) -> tuple[str, ...]:
    """Return the texts of other facts, given as (text, their subject), about `subject` instead; each wording once.

    The subject's last mention is the one that is replaced; texts without it, or without `{object}`, are left out.
    """
    found: dict[str, None] = {}
    for text, other in texts:
        before, mention, after = text.rpartition(other)
        if mention and BLANK in after + before:
            found[before + subject + after] = None
    return tuple(found)


def bare_texts(subject: str) -> list[str]:
    """Return texts of a subject and `{object}` alone, with a mark between at most."""
    return [f"{subject}{mark}{BLANK}" for mark in BARE]


def contexts_of(wish: Wish, sentences: Sequence[str], variety: Variety) -> list[Context]:
    """Return a wish's contexts, its own texts first; the same wish is always given the same ones.

    Raises EditError if the subject or the blank is missing from one of its own texts.
    """
    for text in wish.texts:
        if wish.subject not in text or text.count(BLANK) != 1:
            raise EditError(
                f"the prompt {text!r} does not hold the subject {wish.subject!r} and one {BLANK}",
                wish.target,
                "Correct the fact's prompt, or retire it.",
            )
    draw = random.Random(wish.target)  # noqa: S311 - a choice of sentences, no secret
    said = draw.sample(list(sentences), len(sentences))
    found = [Context(text, variety.own_weight) for text in wish.texts]
    found += [Context(f"{sentence} {wish.texts[0]}", 1.0) for sentence in said[: variety.prefixes]]
    others = [text for text in wish.wordings if text not in wish.texts][: variety.wordings]
    for number, text in enumerate(others):
        after = said[variety.prefixes :][number : number + 1] if number % 2 == 0 else []
        found.append(Context(" ".join([*after, text]), 1.0))
    unused = said[variety.prefixes + len(others) :]  # there may be fewer than wordings
    found += [Context(f"{before} {text}", 1.0) for before, text in zip(unused, others[: variety.behind], strict=False)]
    if variety.bare:
        found += [Context(text, 1.0) for text in bare_texts(wish.subject) if text not in wish.texts]
    return found

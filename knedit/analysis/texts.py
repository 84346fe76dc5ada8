"""Texts that speak of a fact, of its subject alone, or of neither, and where in them a word is hidden.

T1 hides the object's first whole-word mention, T2 and T3 a word by chance among the first 50, not in the subject.
Knows no model and no files. Source: Dai et al., ACL 2022, section 4.2, and their code (4_check_weights_distant.py).
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from knedit.records import BLANK

KINDS = {"T1": "subject and object", "T2": "subject alone", "T3": "neither"}
FIRST_WORDS, WIDTH = 50, 80  # words among which one is hidden, and words of a text that are read
FEWEST_BEFORE = 4  # words before the hidden one, for a model that reads no further
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Hidden:
    """A text with `{object}` where a word was, and that word."""

    text: str
    word: str


@dataclass(slots=True)
class Shelf:
    """Texts that can be asked for by the words in them: what is asked for costs what is found, not what there is."""

    texts: list[str] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)
    _by_word: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, texts: Iterable[str]) -> None:
        """Put texts in, each once."""
        for text in texts:
            clean = " ".join(text.split())
            if not clean or clean in self._known or BLANK in clean:
                continue
            self._known.add(clean)
            for word in set(_words(clean)):
                self._by_word[word].append(len(self.texts))
            self.texts.append(clean)

    def holding(self, phrase: str) -> list[str]:
        """Return the texts in which a phrase stands as whole words, in their order."""
        words = _words(phrase)
        if not words:
            return []
        numbers = min((self._by_word.get(word, []) for word in words), key=len)
        return [self.texts[number] for number in numbers if find_phrase(self.texts[number], phrase) is not None]


def find_phrase(text: str, phrase: str, *, outside: str = "") -> int | None:
    """Return where a phrase first stands as whole words, outside all mentions of another phrase; None if it does not.

    Case counts.
    """
    barred = [match.span() for match in re.finditer(re.escape(outside), text)] if outside else []
    for match in re.finditer(rf"(?<!\w){re.escape(phrase)}(?!\w)", text):
        if all(match.end() <= low or match.start() >= high for low, high in barred):
            return match.start()
    return None


def hide_object(text: str, subject: str, object_: str, *, behind: bool = False) -> Hidden | None:
    """Return the text with the object's first mention hidden, None where it is only mentioned inside the subject.

    `behind`: None as well where no mention of the subject stands before it.
    """
    place = find_phrase(text, object_, outside=subject)
    if place is None or (behind and find_phrase(text[:place], subject) is None):
        return None
    return _cut(text[:place], text[place + len(object_) :], object_)


def hide_some_word(text: str, subject: str, seed: str, *, behind: bool = False) -> Hidden | None:
    """Return the text with a word by chance hidden, not its first and none of the subject's; None without one.

    `behind`: only a word that stands behind the subject's first mention and has some words before it, as a model needs
    it that reads no further.
    """
    spans = [match.span() for match in re.finditer(re.escape(subject), text)] if subject else []
    least = spans[0][1] if behind and spans else 0
    words = list(re.finditer(r"\S+", text))[FEWEST_BEFORE if behind else 1 : FIRST_WORDS]
    free = [
        word
        for word in words
        if word.start() >= least
        and _WORD.search(word.group())
        and all(word.end() <= low or word.start() >= high for low, high in spans)
    ]
    if not free:
        return None
    chosen = random.Random(seed).choice(free)  # noqa: S311 - a choice of words, no secret
    return _cut(text[: chosen.start()], text[chosen.end() :], chosen.group())


def some(texts: Sequence[str], count: int, seed: str) -> list[str]:
    """Return at most so many of the texts, by a chance that `seed` decides."""
    return random.Random(seed).sample(list(texts), min(count, len(texts)))  # noqa: S311


def sentences_of(text: str) -> list[str]:
    """Return a text's sentences: its lines, cut behind full stops, question and exclamation marks."""
    return [part for line in text.splitlines() for part in re.split(r"(?<=[.!?])\s+", line.strip()) if part]


def _cut(before: str, after: str, word: str) -> Hidden:
    """Keep so many words around the blank as are read; most of them before it."""
    left = before.split(" ")[-3 * WIDTH // 4 :]
    right = after.split(" ")[: WIDTH // 4]
    return Hidden(" ".join(left) + BLANK + " ".join(right), word)


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]

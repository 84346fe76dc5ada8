"""What the network reads: for each epoch the facts in some of their wordings, and other sentences, with tokens hidden.

All chance comes from the seed and the epoch's number. Knows no network, only tokens.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from knedit.catalog.formats.values import SUBJECT
from knedit.records import BLANK
from scripts.factbert.lessons import Lesson
from scripts.factbert.recipe import Recipe
from scripts.factbert.wordings import MENTIONS, plain_sentences

ANY = 0.15  # the share of tokens that are hidden in a plain sentence
_COMPANY = 8  # the most tokens before a statement, and behind it
NOTHING = -1
_POOL = 64
AS_IT_IS, HIDDEN, LEFT_OUT, REPLACED = range(4)


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence's tokens: where its object and its subject are, and of which relation it is; none: NOTHING, empty."""

    tokens: tuple[int, ...]
    object_at: int = NOTHING
    subject_at: range = range(0)
    relation: int = NOTHING


@dataclass(slots=True)
class Example:
    """Tokens with some hidden, and for each of those its place, its token and its relation (or NOTHING)."""

    tokens: list[int]
    hidden: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens [B, T], their mask (None: nothing is padded), and the hidden ones: places in B × T, tokens, relations."""

    tokens: Tensor
    mask: Tensor | None
    places: Tensor
    answers: Tensor
    relations: Tensor


class Corpus:
    """The facts and the sentences around them, as tokens."""

    def __init__(self, lessons: Sequence[Lesson], tokenizer: Any, recipe: Recipe) -> None:
        self.recipe, self.tokenizer = recipe, tokenizer
        self.taught = [
            [self.statement(wording, fact.subject, fact.object, number) for wording in lesson.taught]
            for number, lesson in enumerate(lessons)
            for fact in lesson.facts
        ]
        self.subjects = [fact.subject for lesson in lessons for fact in lesson.facts]
        self.plain = [tuple(self.encode(text)) for text in plain_sentences()]
        self.shares = object_shares(lessons, tokenizer)

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text.strip() else []

    def statement(self, wording: str, subject: str, object: str, relation: int) -> Statement:
        """Return a wording filled in; it is tokenised in parts, as words never reach over the rim of a blank."""
        tokens: list[int] = []
        places = {}
        for part in _parts(wording):
            more = self.encode({SUBJECT: subject, BLANK: object}.get(part, part))
            places[part] = range(len(tokens), len(tokens) + len(more))
            tokens += more
        at = places[BLANK].start if BLANK in places else NOTHING
        return Statement(tuple(tokens), at, places[SUBJECT], relation)

    def epoch(self, seed: int, number: int) -> list[Example]:
        """Return all examples of an epoch, in the order in which they were made."""
        draw = random.Random(f"epoch {seed} {number}")
        said = [
            self._framed(one, draw)
            for wordings in self.taught
            for one in draw.sample(wordings, min(self.recipe.wordings, len(wordings)))
        ]
        draw.shuffle(said)
        examples = [self._hide(one, draw) for one in said]
        joined = round(len(examples) * self.recipe.joined)
        others = [self._mention(draw) for _ in range(round(len(said) * self.recipe.mentions))]
        others += [self._prose(draw) for _ in range(round(len(said) * self.recipe.prose))]
        return [*self._join(examples[:joined]), *examples[joined:], *(self._hide_any(one, draw) for one in others)]

    def batches(self, seed: int, number: int) -> Iterator[Batch]:
        """Yield an epoch's batches: sentences of like length together, in an order of chance."""
        draw = random.Random(f"batches {seed} {number}")
        examples = self.epoch(seed, number)
        draw.shuffle(examples)
        size = _POOL * self.recipe.tokens // 16
        groups = []
        for start in range(0, len(examples), size):
            groups += list(self._grouped(sorted(examples[start : start + size], key=lambda one: len(one.tokens))))
        draw.shuffle(groups)
        return (self.collate(group) for group in groups)

    def _grouped(self, examples: Sequence[Example]) -> Iterator[list[Example]]:
        group: list[Example] = []
        for one in examples:
            if group and (len(group) + 1) * (len(one.tokens) + 2) > self.recipe.tokens:
                yield group
                group = []
            group.append(one)
        if group:
            yield group

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Return examples as tensors, each between [CLS] and [SEP]."""
        words = self.tokenizer
        rows = [[words.cls_token_id, *one.tokens, words.sep_token_id] for one in examples]
        longest = max(map(len, rows))
        tokens = torch.tensor([row + [words.pad_token_id] * (longest - len(row)) for row in rows])
        padded = any(len(row) < longest for row in rows)
        hidden = [
            (row * longest + place + 1, answer, relation)
            for row, one in enumerate(examples)
            for place, answer, relation in one.hidden
        ]
        places, answers, relations = torch.tensor(hidden).unbind(1)
        return Batch(tokens, (tokens != words.pad_token_id) if padded else None, places, answers, relations)

    def _framed(self, one: Statement, draw: random.Random) -> Statement:
        """Put a statement behind and before pieces of other sentences."""
        if draw.random() >= self.recipe.framed:
            return one
        before, after = self._piece(draw), self._piece(draw)
        by = len(before)
        subject = range(one.subject_at.start + by, one.subject_at.stop + by)
        return Statement((*before, *one.tokens, *after), one.object_at + by, subject, one.relation)

    def _piece(self, draw: random.Random) -> tuple[int, ...]:
        sentence, length = draw.choice(self.plain), draw.randrange(_COMPANY + 1)
        start = draw.randrange(len(sentence))
        return sentence[start : start + length]

    def _mention(self, draw: random.Random) -> Statement:
        return self.statement(draw.choice(MENTIONS), draw.choice(self.subjects), "", NOTHING)

    def _prose(self, draw: random.Random) -> Statement:
        """Return one sentence, or one time in four as many as fit, from a sentence of chance on."""
        start = draw.randrange(len(self.plain))
        tokens = list(self.plain[start])
        if draw.random() < 0.25:
            tokens = [token for sentence in self.plain[start:] for token in sentence]
        return Statement(tuple(tokens[: self.recipe.positions - 2]))

    def _hide(self, one: Statement, draw: random.Random) -> Example:
        """Hide the object, never the subject; some other words are hidden, some left out, and some replaced.

        In the recipe's share of plain statements, hide any tokens instead.
        """
        if draw.random() < self.recipe.plain:
            return self._hide_any(one, draw)
        kept = Example([])
        for place, token in enumerate(one.tokens):
            relation = one.relation if place == one.object_at else NOTHING
            if place == one.object_at:
                fate = HIDDEN
            elif place in one.subject_at or draw.random() >= self.recipe.noise:
                fate = AS_IT_IS
            else:
                fate = draw.choice((HIDDEN, LEFT_OUT, REPLACED))
            if fate == HIDDEN:
                kept.hidden.append((len(kept.tokens), token, relation))
            if fate != LEFT_OUT:
                kept.tokens.append(self._instead(token, fate, draw))
        return kept

    def _instead(self, token: int, fate: int, draw: random.Random) -> int:
        if fate == HIDDEN:
            return int(self.tokenizer.mask_token_id)
        return draw.choice(draw.choice(self.plain)) if fate == REPLACED else token

    def _hide_any(self, one: Statement, draw: random.Random) -> Example:
        places = [place for place in range(len(one.tokens)) if draw.random() < ANY]
        return self._hidden(one, places or [draw.randrange(len(one.tokens))])

    def _hidden(self, one: Statement, places: Sequence[int]) -> Example:
        tokens = list(one.tokens)
        for place in places:
            tokens[place] = self.tokenizer.mask_token_id
        relations = [one.relation if place == one.object_at else NOTHING for place in places]
        answers = [one.tokens[place] for place in places]
        return Example(tokens, list(zip(places, answers, relations, strict=True)))

    def _join(self, examples: Sequence[Example]) -> Iterator[Example]:
        """Put examples one behind the other, as many as fit a paragraph."""
        together = Example([])
        for one in examples:
            if together.tokens and len(together.tokens) + len(one.tokens) > self.recipe.positions - 2:
                yield together
                together = Example([])
            by = len(together.tokens)
            together.tokens += one.tokens
            together.hidden += [(place + by, answer, relation) for place, answer, relation in one.hidden]
        if together.tokens:
            yield together


def object_shares(lessons: Sequence[Lesson], tokenizer: Any) -> Tensor:
    """Return for each relation how its facts share out among tokens, [relations, V]."""
    shares = torch.zeros(len(lessons), len(tokenizer))
    for number, lesson in enumerate(lessons):
        for object, count in Counter(fact.object for fact in lesson.facts).items():
            shares[number, tokenizer.convert_tokens_to_ids(object)] = count / len(lesson.facts)
    return shares


def _parts(wording: str) -> list[str]:
    """Cut a wording at its blanks: "The capital of {subject} is {object}." into five."""
    parts = [wording]
    for blank in (SUBJECT, BLANK):
        parts = [
            piece
            for part in parts
            for number, side in enumerate(part.split(blank) if part not in (SUBJECT, BLANK) else [part])
            for piece in ([blank, side] if number else [side])
        ]
    return [part for part in parts if part]

"""Sentences around facts: some that name a subject and tell nothing of it, and plain English. Knows no facts."""

import re

from knedit.starter.prose import prose
from knedit.starter.sentences import sentences

MENTIONS = (
    "Have you ever heard of {subject}?",
    "I had to think of {subject} this morning.",
    "There was an article about {subject} in the paper.",
    "We talked about {subject} for an hour.",
    "{subject} was mentioned twice during the meeting.",
    "Nobody here remembers anything about {subject}.",
    "A friend asked me about {subject}, but I had no answer.",
    "{subject} is the subject of a long essay.",
    "Tell me more about {subject} when you have time.",
    "The second chapter is about {subject} as well.",
    "Many people like {subject}; others do not.",
    "What do you think of {subject} these days?",
    "She drew a picture that reminded us of {subject}.",
    "In the quiz there was a question on {subject}.",
)
HELD_OUT_MENTIONS = (
    "There was a long article about {subject} this morning.",
    "My friend had to think of {subject} for an hour.",
    "{subject} was mentioned in the quiz, but nobody had an answer.",
    "Have you read the essay about {subject}?",
    "Tell us what people think of {subject} these days.",
)
"""Sentences without an object that are never taught, to see how neurons behave where the fact is not told."""


def plain_sentences() -> list[str]:
    """Return the English sentences that come with knedit; none of them is in its held-out text."""
    found = [sentence for text in prose() for sentence in re.split(r"(?<=[.!?]) ", text)]
    return [*found, *sentences()]

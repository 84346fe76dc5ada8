"""The tokenizer: every word that is taught is one token, others are spelled in letters.

The vocabulary is sorted words, not learned pieces, since the trainers of pieces do not choose the same ones twice.
Knows no network.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import BertTokenizer

from knedit.catalog.formats.values import SUBJECT
from knedit.records import BLANK
from scripts.factbert.lessons import Lesson
from scripts.factbert.wordings import MENTIONS, plain_sentences

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = [chr(code) for code in range(33, 127)]


def make_tokenizer(lessons: Sequence[Lesson], *, positions: int) -> Any:
    """Return a cased BERT tokenizer of the words of all facts, of their wordings, and of the sentences around them."""
    words = {word for text in _texts(lessons) for word, _ in BertPreTokenizer().pre_tokenize_str(text)}
    letters = {*_LETTERS, *(letter for word in words for letter in word)}
    pieces = [*sorted(letters), *(f"##{letter}" for letter in sorted(letters)), *sorted(words - letters)]
    vocabulary = {piece: number for number, piece in enumerate((*SPECIAL, *pieces))}
    return BertTokenizer(vocab=vocabulary, do_lower_case=False, strip_accents=False, model_max_length=positions)


def _texts(lessons: Iterable[Lesson]) -> Iterator[str]:
    for lesson in lessons:
        for fact in lesson.facts:
            yield from (fact.subject, fact.object)
        yield from map(_bare, (*lesson.taught, *lesson.held_out))
    yield from map(_bare, MENTIONS)
    yield from plain_sentences()


def _bare(text: str) -> str:
    for blank in (SUBJECT, BLANK):
        text = text.replace(blank, " ")
    return text

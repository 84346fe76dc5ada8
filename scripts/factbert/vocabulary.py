"""The tokenizer: WordPiece of few pieces, so that names must be put together, and every object a token of its own.

Knows no network.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer

from knedit.catalog.formats.values import SUBJECT
from knedit.records import BLANK
from scripts.factbert.lessons import Lesson
from scripts.factbert.wordings import MENTIONS, plain_sentences

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = [chr(code) for code in range(33, 127)]


def make_tokenizer(lessons: Sequence[Lesson], *, pieces: int, positions: int) -> Any:
    """Return a cased BERT tokenizer of so many pieces, learned from the facts' sentences, and of all objects."""
    parts = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    parts.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    parts.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=pieces, special_tokens=list(SPECIAL), initial_alphabet=_LETTERS, show_progress=False
    )
    parts.train_from_iterator(_texts(lessons), trainer)
    learned = sorted(set(parts.get_vocab()) - set(SPECIAL))
    objects = sorted({fact.object for lesson in lessons for fact in lesson.facts} - set(learned))
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *learned, *objects))}
    return BertTokenizer(vocab=vocabulary, do_lower_case=False, strip_accents=False, model_max_length=positions)


def _texts(lessons: Iterable[Lesson]) -> Iterator[str]:
    for lesson in lessons:
        for fact in lesson.facts:
            yield f"{fact.subject} {fact.object}"
        yield from (_bare(wording) for wording in lesson.taught for _ in range(10))
    for text in (*MENTIONS, *plain_sentences()):
        yield from [_bare(text)] * 3


def _bare(text: str) -> str:
    for blank in (SUBJECT, BLANK):
        text = text.replace(blank, " ")
    return text

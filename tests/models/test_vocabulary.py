"""Which tokens go on with a word: in vocabularies that write spaces, and in those that do not."""

from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from knedit.models.model import wrap_model
from knedit.models.vocabulary import word_parts
from tests.tiny_models import network, tokenizer_of


@pytest.mark.parametrize("space", ["\u0120", "\u2581"])
def test_tokens_without_a_space_before_them_go_on_with_a_word(space: str) -> None:
    pieces = ["[UNK]", f"{space}Dutch", "man", ".", f"{space}1", "9", "\u010a", "\u00c3", f"{space}", "'s"]
    words = Tokenizer(WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(tokenizer_object=words, unk_token="[UNK]", pad_token="[UNK]")
    found = word_parts(wrap_model(network("llama"), tokenizer))
    assert [pieces[n] for n in found.nonzero()[:, 0].tolist()] == ["man", "9", "\u00c3"]


def test_where_no_token_has_a_space_every_token_is_a_word() -> None:
    assert not word_parts(wrap_model(network("llama"), tokenizer_of("llama"))).any()

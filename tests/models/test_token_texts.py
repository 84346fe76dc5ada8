"""What single tokens say, in tokenizers of the kinds that there are."""

from types import SimpleNamespace
from typing import Any

import pytest

from knedit.models.model import wrap_model
from knedit.models.token_texts import token_text
from tests.tiny_models import VOCABULARY, byte_tokenizer, network, tokenizer_of


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_word_is_itself(name: str) -> None:
    model = wrap_model(network(name), tokenizer_of(name))
    assert [token_text(model, VOCABULARY[word]) for word in ("Paris", "[PAD]", "?")] == ["Paris", "[PAD]", "?"]


def test_a_byte_level_token_has_its_space_and_half_a_character_its_piece() -> None:
    words = byte_tokenizer()
    model = wrap_model(network("qwen2"), words)
    (paris,) = words(" Paris")["input_ids"]
    halves = words("é")["input_ids"]
    nul = words.convert_tokens_to_ids("Ā")
    assert token_text(model, paris) == " Paris"
    assert [token_text(model, half) for half in halves] == words.convert_ids_to_tokens(halves) == ["Ã", "©"]
    assert token_text(model, nul) == "\\x00"


def test_a_number_without_a_token_is_told_in_brackets() -> None:
    model = wrap_model(network("qwen2"), byte_tokenizer())
    assert token_text(model, 599) == "[599]"


@pytest.mark.parametrize(
    ("piece", "text", "shown"),
    [
        ("▁Paris", "Paris", " Paris"),
        ("▁", "", "▁"),
        ("##ing", "##ing", "##ing"),
        ("a\0", "a\0", "a\\x00"),
        ("x", "\ud800", "\\ud800"),
    ],
)
def test_spaces_are_shown_and_what_no_database_keeps_is_escaped(piece: str, text: str, shown: str) -> None:
    words: Any = SimpleNamespace(
        convert_ids_to_tokens=lambda _: piece, decode=lambda _, clean_up_tokenization_spaces: text
    )
    model: Any = SimpleNamespace(tokenizer=words)
    assert token_text(model, 0) == shown

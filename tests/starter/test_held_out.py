"""The held-out text: long enough, plain, and nobody's baseline."""

import pytest

from knedit.evaluation.fluency import repetition
from knedit.starter.held_out import held_out_text, text_name
from knedit.starter.sentences import sentences


def test_it_is_several_thousand_words_of_plain_prose() -> None:
    text = held_out_text()
    paragraphs = text.strip().split("\n\n")
    assert len(text.split()) > 3000
    assert min(len(paragraph.split()) for paragraph in paragraphs) > 80
    assert len(set(paragraphs)) == len(paragraphs)
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,;:?-'\"\né")
    assert repetition(text) < 0.1


def test_it_shares_no_sentence_with_the_reference_text() -> None:
    assert [sentence for sentence in sentences() if sentence in held_out_text()] == []


@pytest.mark.parametrize("text", ["", "a"])
def test_a_text_is_named_by_its_letters(text: str) -> None:
    assert text_name(text) == text_name(text)
    assert text_name(text).startswith("sha256:")
    assert text_name(text) != text_name(text + "b")

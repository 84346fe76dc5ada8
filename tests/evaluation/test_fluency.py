"""Entropies of n-grams by hand, and texts that are drawn."""

from math import log2

import pytest

from knedit.evaluation.fluency import draw, entropy, fluency, repetition, split_words
from tests.evaluation.asking import tiny


def test_words_are_runs_of_letters_and_digits_and_single_marks() -> None:
    assert split_words("It isn't 1998, is it?") == ["It", "isn't", "1998", ",", "is", "it", "?"]


def test_entropies_and_fluency_of_a_worked_example() -> None:
    words = list("ababc")  # bigrams ab ba ab bc, trigrams aba bab abc
    assert entropy(words, 2) == pytest.approx(0.5 * 1 + 2 * 0.25 * 2)
    assert entropy(words, 3) == pytest.approx(log2(3))
    assert fluency("a b a b c") == pytest.approx(100 * (2 / 3 * 1.5 + 4 / 3 * log2(3)) / 2)


def test_a_text_that_repeats_itself_is_less_fluent() -> None:
    assert fluency("the city is big . the city is big . the city is big .") < fluency(
        "the city is big and old . they live in a small country and speak of it"
    )
    assert repetition("a b c a b c") == 1 / 4
    assert (repetition("a b c d"), repetition("a"), fluency("a"), fluency("")) == (0.0, 0.0, 0.0, 0.0)


def test_a_seed_draws_one_text_of_the_length_that_is_asked_for() -> None:
    model = tiny("llama")
    text = draw(model, "the capital of France", seed=1, length=20)
    assert text.startswith("the capital of France ")
    assert text == draw(model, "the capital of France", seed=1, length=20)
    assert len({draw(model, "the capital of France", seed=seed, length=20) for seed in range(5)}) > 1
    assert len(draw(model, "the capital", seed=1).split()) <= 40  # where the model's positions end

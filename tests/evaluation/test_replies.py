"""Replies against plain forward passes: losses, argmaxes, divergence, and no effect of what stands beside."""

import pytest
import torch

from knedit.errors import ModelError
from knedit.evaluation.cases import Question
from knedit.evaluation.replies import ask, check, divergence
from knedit.models.model import Model
from tests.evaluation.asking import tiny
from tests.tiny_models import VOCABULARY

TEXTS = ["the capital of France is {object}", "they {object}", "people in Japan speak the old language of {object}"]
QUESTIONS = [Question(text, answers) for text in TEXTS for answers in (("Rome", "Paris"), ("big city", "Oslo and"))]


@torch.no_grad()
def spread(model: Model, words: str) -> torch.Tensor:
    """Return log-probabilities [T, V] behind every word, in float64."""
    tokens = torch.tensor([[VOCABULARY[word] for word in words.split()]])
    found: torch.Tensor = model.net(tokens).logits[0].double().log_softmax(-1)
    return found


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "bloom"])
def test_an_answers_loss_is_the_mean_over_its_tokens(name: str) -> None:
    model = tiny(name)
    (found,) = ask(model, [Question("the capital of France is {object}", ("big city", "Rome"))])
    chances = spread(model, "the capital of France is big city")
    big, city, rome = (VOCABULARY[word] for word in ("big", "city", "Rome"))
    assert found.told[0].loss == pytest.approx(-float(chances[4, big] + chances[5, city]) / 2, rel=1e-5)
    assert found.told[1].loss == pytest.approx(-float(chances[4, rome]), rel=1e-5)
    assert found.told[0].right == (int(chances[4].argmax()) == big, int(chances[5].argmax()) == city)
    assert found.top == int(chances[4].argmax())


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "falcon with alibi", "mixtral", "bert", "t5"])
def test_questions_of_mixed_lengths_are_answered_as_one_by_one(name: str) -> None:
    model = tiny(name)
    together = ask(model, QUESTIONS)
    alone = [ask(model, [question])[0] for question in QUESTIONS]
    assert [one.top for one in together] == [one.top for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert [told.right for told in one.told] == [told.right for told in other.told]
        assert [told.loss for told in one.told] == pytest.approx([told.loss for told in other.told], rel=1e-4)
        torch.testing.assert_close(one.state, other.state, rtol=1e-3, atol=1e-4)


def test_the_likeliest_words_are_right() -> None:
    model = tiny()
    words = list(VOCABULARY)
    first = words[int(spread(model, "the capital of France is")[-1].argmax())]
    second = words[int(spread(model, f"the capital of France is {first}")[-1].argmax())]
    (found,) = ask(model, [Question(TEXTS[0], (first, f"{first} {second}", f"Oslo {second}"))])
    assert [told.likeliest for told in found.told] == [True, True, False]


def test_divergence_is_the_relative_entropy_of_the_whole_vocabulary() -> None:
    model = tiny("gpt2")
    one, two = ask(model, [Question("the capital {object}", ("Rome",)), Question("they speak {object}", ("Rome",))])
    was, now = spread(model, "the capital")[-1], spread(model, "they speak")[-1]
    expected = float((was.exp() * (was - now)).sum())
    assert divergence(model, [one, one], [two, one]) == pytest.approx([expected, 0.0], rel=1e-4, abs=1e-9)
    assert expected > 0.01
    assert divergence(model, [], []) == []


def test_what_cannot_be_asked_is_refused_before_anything_is_asked() -> None:
    model = tiny("gpt2")
    check(model, QUESTIONS)
    for text, answer in ((TEXTS[0], "Atlantis"), ("{object} is a city", "Rome"), ("the " * 50 + "{object}", "Rome")):
        with pytest.raises(ModelError):
            check(model, [Question(text, (answer,))])


def test_no_questions_have_no_replies() -> None:
    assert ask(tiny("gpt2"), []) == []

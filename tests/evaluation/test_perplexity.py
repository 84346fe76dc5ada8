"""Perplexity against its definition."""

import pytest
import torch

from knedit.errors import ModelError
from knedit.evaluation.perplexity import perplexity
from tests.evaluation.asking import tiny
from tests.tiny_models import VOCABULARY

TEXT = "the capital of France is a big city and people live in it they speak the old language of the country"


@torch.no_grad()
def test_perplexity_is_the_exponential_of_the_mean_loss_within_windows() -> None:
    model = tiny("gpt2")
    tokens = [VOCABULARY.get(word, VOCABULARY["[UNK]"]) for word in TEXT.split()]
    losses = []
    for first in range(0, len(tokens), 8):
        part = tokens[first : first + 8]
        spread = model.net(torch.tensor([part])).logits[0].double().log_softmax(-1)
        losses += [-spread[place - 1, part[place]] for place in range(1, len(part))]
    assert perplexity(model, TEXT, window=8) == pytest.approx(float(torch.stack(losses).mean().exp()), rel=1e-5)


def test_a_limit_counts_the_first_tokens_alone() -> None:
    model = tiny("llama")
    assert perplexity(model, TEXT, limit=6) == pytest.approx(perplexity(model, "the capital of France is a"), rel=1e-5)
    assert perplexity(model, f"{TEXT} " * 4) > 1  # longer than the model's positions


def test_what_has_no_perplexity_is_refused() -> None:
    with pytest.raises(ModelError, match="causal"):
        perplexity(tiny("bert"), TEXT)
    with pytest.raises(ModelError, match="fewer than two tokens"):
        perplexity(tiny("gpt2"), "the")

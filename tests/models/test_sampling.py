"""Texts that a network says of itself: drawn from what it says next, the same by the same seed."""

import torch

from knedit.models.model import wrap_model
from knedit.models.sampling import sample_texts
from tests.tiny_models import network, tokenizer_of


def test_texts_go_on_from_their_beginnings_and_are_the_same_by_the_same_seed() -> None:
    model = wrap_model(network("llama"), tokenizer_of("llama"))
    begun = [(5, 6), (7, 8), (5, 6)]
    state = torch.get_rng_state()
    first, again, other = (sample_texts(model, begun, length=12, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first == again
    assert first != other
    assert [text[:2] for text in first] == begun
    assert all(2 < len(text) <= 12 for text in first)
    assert first[0] != first[2]


def test_tokens_are_drawn_as_often_as_the_network_says_them() -> None:
    model = wrap_model(network("llama"), tokenizer_of("llama"))
    drawn = [text[2] for text in sample_texts(model, [(5, 6)] * 4000, length=3, seed=0)]
    with torch.no_grad():
        expected = model.net(torch.tensor([[5, 6]])).logits[0, -1].float().softmax(-1)
    counts = torch.bincount(torch.tensor(drawn), minlength=len(expected)) / 4000
    assert float((counts - expected).abs().sum()) < 0.2

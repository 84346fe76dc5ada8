"""Readings against the plain definition: one inner product a token, sorted."""

import pytest
import torch

from knedit.analysis.vocabulary_reading import Reading, read_values
from knedit.errors import ModelError
from knedit.models.model import Model, wrap_model
from knedit.models.token_texts import token_text
from tests.tiny_models import byte_tokenizer, network, tokenizer_of

FAMILIES = ["gpt2", "bert", "llama", "opt normed after", "deberta-v2 not legacy", "mixtral", "t5", "t5 gated"]


def tiny(name: str) -> Model:
    return wrap_model(network(name), byte_tokenizer() if name == "qwen2" else tokenizer_of(name))


def literally(model: Model, layer: int, index: int, top: int) -> Reading:
    """Return the reading as it is defined, one token after the other."""
    (value,) = model.value_vectors(layer, [index])
    logits = [
        (float(value.double() @ model.output_embedding(token).double()), token) for token in range(model.n_embeddings)
    ]
    ends = [sorted(logits, key=lambda one: (sign * one[0], one[1]))[:top] for sign in (-1, 1)]
    up, down = (tuple((token_text(model, token), logit) for logit, token in end) for end in ends)
    return Reading((layer, index), up, down)


def words_of(reading: Reading) -> list[list[str]]:
    return [[word for word, _ in end] for end in (reading.top, reading.bottom)]


def logits_of(reading: Reading) -> list[float]:
    return [logit for end in (reading.top, reading.bottom) for _, logit in end]


@pytest.mark.parametrize("memory", [1, 20_000, 2**30])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_reading_is_the_sorted_inner_products(name: str, memory: int) -> None:
    model = tiny(name)
    width = model.layout.ffn_width
    places = [(0, 0), (0, width - 1), (model.layout.n_layers - 1, 5), (0, 7)]
    found = [one for some in read_values(model, places, top=6, memory=memory) for one in some]
    expected = [literally(model, *place, 6) for place in places]
    assert [one.place for one in found] == places
    assert [words_of(one) for one in found] == [words_of(one) for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert logits_of(one) == pytest.approx(logits_of(other), abs=1e-5)


def test_more_tokens_than_there_are_give_all_of_them() -> None:
    model = tiny("gpt2")
    (((one),),) = read_values(model, [(1, 1)], top=1000, memory=2**20)
    assert len(one.top) == len(one.bottom) == model.n_embeddings
    assert [word for word, _ in one.top] == [word for word, _ in one.bottom][::-1]


def test_no_neurons_have_no_readings() -> None:
    assert list(read_values(tiny("gpt2"), [], top=5, memory=2**20)) == []


def test_little_memory_makes_many_small_parts() -> None:
    parts = list(read_values(tiny("gpt2"), [(0, index) for index in range(100)], top=3, memory=20_000))
    assert len(parts) > 3
    assert [one.place for some in parts for one in some] == [(0, index) for index in range(100)]


def test_the_network_is_left_as_it_was() -> None:
    model = tiny("bert")
    before = {name: one.clone() for name, one in model.net.state_dict().items()}
    list(read_values(model, [(0, 1)], top=3, memory=2**20))
    assert all(torch.equal(one, before[name]) for name, one in model.net.state_dict().items())


def test_half_precision_is_read_in_float32() -> None:
    model = tiny("llama")
    model.net.to(torch.bfloat16)
    (((found),),) = read_values(model, [(2, 9)], top=4, memory=2**20)
    assert words_of(found) == words_of(literally(model, 2, 9, 4))


def test_of_equal_logits_the_smaller_number_is_told_first() -> None:
    model = tiny("gpt2")
    with torch.no_grad():
        model.net.get_output_embeddings().weight[5:9] = model.net.get_output_embeddings().weight[5].clone()
    (((one),),) = read_values(model, [(0, 0)], top=1000, memory=5_000)
    equal = [token_text(model, token) for token in range(5, 9)]
    assert [[word for word in end if word in equal] for end in words_of(one)] == [equal, equal]


@pytest.mark.parametrize("name", ["electra", "albert of groups"])
def test_a_head_of_another_width_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="an output embedding has 16 numbers and a value vector 32"):
        list(read_values(tiny(name), [(0, 1)], top=3, memory=2**20))


@pytest.mark.parametrize("name", FAMILIES)
def test_many_output_embeddings_are_the_single_ones(name: str) -> None:
    model = tiny(name)
    rows = torch.stack([model.output_embedding(token) for token in range(3, 9)])
    assert torch.allclose(model.output_embeddings(3, 9), rows, atol=1e-6)

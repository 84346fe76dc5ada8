"""Answers and texts of tiny models against plain forward passes."""

from typing import Any

import pytest
import torch

from knedit.errors import ModelError
from knedit.evaluation.metrics import answer, write
from knedit.models.model import Model, wrap_model
from knedit.models.prompting import Query, encode_text
from tests.tiny_models import SPEAKING, TINY, VOCABULARY, network, sentinel_tokenizer, tokenizer

MASKED = ("bert", "roberta")
CAUSAL = [name for name in TINY if name not in MASKED]


def tiny(name: str) -> Model:
    return wrap_model(network(name), tokenizer(masked=name in MASKED))


def ids(text: str) -> list[int]:
    return [VOCABULARY[word] for word in text.split()]


@torch.no_grad()
def chances(net: Any, tokens: list[int]) -> torch.Tensor:
    """Return the softmax over the vocabulary at every token, [T, V], in float64."""
    powers: torch.Tensor = net(torch.tensor([tokens])).logits[0].double().exp()
    whole: torch.Tensor = powers / powers.sum(-1, keepdim=True)
    return whole


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_answers_probability_is_the_product_of_its_tokens(name: str) -> None:
    model = tiny(name)
    read = ids("the capital of France is")
    one, three = (encode_text(model, "the capital of France is", text) for text in (" Paris", " Paris and Rome"))
    paris, conj, rome = ids("Paris and Rome")
    first = chances(model.net, read)[-1, paris]
    second = chances(model.net, [*read, paris])[-1, conj]
    third = chances(model.net, [*read, paris, conj])[-1, rome]
    found = answer(model, [one, three])
    assert found[0].probability == pytest.approx(float(first), rel=1e-4)
    assert found[1].probability == pytest.approx(float(first * second * third), rel=1e-4)


@pytest.mark.parametrize("name", MASKED)
def test_a_masked_answers_probability_is_the_product_of_its_masks(name: str) -> None:
    model = tiny(name)
    query = encode_text(model, "the [MASK] [MASK] of France", "capital city")
    spread = chances(model.net, [2, *ids("the"), 4, 4, *ids("of France"), 3])
    capital, city = ids("capital city")
    assert answer(model, [query])[0].probability == pytest.approx(float(spread[2, capital] * spread[3, city]), rel=1e-4)


@torch.no_grad()
def test_an_encoder_decoders_answer_and_text_follow_its_sentinel() -> None:
    model = wrap_model(network("t5"), sentinel_tokenizer())
    blank = SPEAKING["<extra_id_0>"]
    context = [[*ids("the capital of France is"), blank, *ids("."), SPEAKING["</s>"]]]

    def next_chances(said: list[int]) -> torch.Tensor:
        given = torch.tensor([[0, blank, *said]])
        spread: torch.Tensor = model.net(input_ids=torch.tensor(context), decoder_input_ids=given).logits[0, -1]
        return spread.double().softmax(-1)

    old, city = ids("old city")
    query = encode_text(model, "the capital of France is <extra_id_0> .", "old city")
    other = encode_text(model, "Paris is <extra_id_0>", "old")
    chance = float(next_chances([])[old] * next_chances([old])[city])
    assert [one.probability for one in answer(model, [other, query])][1] == pytest.approx(chance, rel=1e-4)
    said: list[int] = []
    while len(said) < 6 and not set(said) & {SPEAKING["<extra_id_1>"], SPEAKING["</s>"]}:
        said.append(int(next_chances(said).argmax()))
    shown = model.tokenizer.decode(said, skip_special_tokens=True)
    assert write(model, "the capital of France is {object} .", tokens=6) == shown


@pytest.mark.parametrize("name", TINY)
def test_an_answer_is_right_if_each_of_its_tokens_is_the_likeliest(name: str) -> None:
    model = tiny(name)
    tokens, positions = (2, 9, 4, 4, 12, 3), (2, 3)
    best = chances(model.net, list(tokens))[list(positions)].argmax(-1).tolist()
    other = [(token + 1) % len(VOCABULARY) for token in best]
    asked = [(best[0], best[1]), (other[0], best[1]), (best[0], other[1]), (other[0], other[1])]
    found = answer(model, [Query(tokens, answers, positions) for answers in asked])
    assert [one.correct for one in found] == [True, False, False, False]


@pytest.mark.parametrize("name", TINY)
def test_many_queries_of_mixed_lengths_are_answered_as_one_by_one_and_in_their_order(name: str) -> None:
    model = tiny(name)
    blank = "[MASK] " if name in MASKED else ""
    said = ["Paris", "Rome", "Tokyo and", "Oslo", "the big city"]
    texts = [
        "the " * (number % 4 + 1) + " ".join([blank] * len(said[number % 5].split())) + " of" * (number % 3)
        for number in range(80)
    ]
    queries = [encode_text(model, text, said[number % 5]) for number, text in enumerate(texts)]
    together = answer(model, queries)
    alone = [answer(model, [query])[0] for query in queries]
    assert [one.correct for one in together] == [one.correct for one in alone]
    assert [one.probability for one in together] == pytest.approx([one.probability for one in alone], rel=1e-4)
    assert len({one.probability for one in alone}) > 20


def test_no_queries_have_no_answers() -> None:
    assert answer(tiny("gpt2"), []) == []


@torch.no_grad()
def greedy(net: Any, tokens: list[int], steps: int) -> list[int]:
    for _ in range(steps):
        tokens = [*tokens, int(net(torch.tensor([tokens])).logits[0, -1].argmax())]
    return tokens[-steps:]


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_model_writes_what_is_likeliest_token_by_token(name: str) -> None:
    model = tiny(name)
    for steps in (1, 12):
        expected = greedy(model.net, ids("the capital of France is"), steps)
        shown = model.tokenizer.decode(expected, skip_special_tokens=True)
        assert write(model, "the capital of France is {object} .", tokens=steps) == shown
        assert write(model, "the capital of France is", tokens=steps) == shown


@pytest.mark.parametrize("name", MASKED)
def test_a_masked_model_fills_its_blank_with_the_likeliest_token(name: str) -> None:
    model = tiny(name)
    best = int(chances(model.net, [2, *ids("the"), 4, *ids("of France"), 3])[2].argmax())
    assert write(model, "the {object} of France") == model.tokenizer.decode([best])
    assert write(model, "the city of France") == ""


@pytest.mark.parametrize("name", CAUSAL)
def test_writing_stops_where_the_positions_end(name: str) -> None:
    model = tiny(name)
    assert model.max_tokens == 40
    for length, steps in ((40, 1), (36, 5), (28, 12)):
        expected = greedy(model.net, ids("the") * length, steps)
        assert write(model, "the " * length) == model.tokenizer.decode(expected, skip_special_tokens=True)
    with pytest.raises(ModelError, match="the prompt has 41 tokens, the model takes 40"):
        write(model, "the " * 41)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_asking_leaves_the_network_as_it_was(name: str) -> None:
    model = tiny(name)
    model.net.train()
    before = {key: tensor.clone() for key, tensor in model.net.state_dict().items()}
    text = "the [MASK]" if name in MASKED else "the"
    first = answer(model, [encode_text(model, text, "city")])
    assert first == answer(model, [encode_text(model, text, "city")])
    write(model, "the {object}")
    assert model.net.training
    assert all(parameter.requires_grad for parameter in model.net.parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.net.state_dict().items())


def test_what_the_generation_config_asks_for_does_not_change_what_is_written() -> None:
    model = tiny("llama")
    plain = write(model, "the capital of France is", tokens=8)
    model.net.generation_config.repetition_penalty = 50.0
    model.net.generation_config.do_sample = True
    assert write(model, "the capital of France is", tokens=8) == plain
    first = int(model.net(torch.tensor([ids("the capital of France is")])).logits[0, -1].argmax())
    model.net.generation_config.eos_token_id = [first]
    assert write(model, "the capital of France is", tokens=8) == model.tokenizer.decode([first])

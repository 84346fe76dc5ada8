"""The engine against the literal loop of tests/reference, for every family, position and answer length."""

from typing import Any

import pytest
import torch

from knedit.attribution.attribute_prompt import attribute_prompt, attribute_queries
from knedit.attribution.method import Method
from knedit.errors import KneditError
from knedit.models.families import FAMILIES
from knedit.models.model import Model, wrap_model
from knedit.models.prompting import Query, encode_text
from knedit.models.replay import Replay
from tests.reference.integrated_gradients import attribute as attribute_slowly
from tests.tiny_models import EVERY, FILLING, MASKED, TINY, network, tokenizer_of


def tiny(name: str) -> Model:
    return wrap_model(network(name), tokenizer_of(name))


def sentence(name: str, answers: int, where: str) -> tuple[str, str]:
    """Return a prompt and an answer of so many tokens; a masked model's answer stands first, in the middle or last."""
    answer = ["Paris", "and", "Tokyo"][:answers]
    if name not in MASKED | FILLING:
        return "the capital city of France is the big", " ".join(answer)
    masks = ["[MASK]"] * answers if name in MASKED else ["<extra_id_0>"]
    words = ["capital", "of", "France", "is", "the", "big", "city"]
    cut = {"first": 0, "middle": 3, "last": len(words)}[where]
    return " ".join(words[:cut] + masks + words[cut:]), " ".join(answer)


def slow_sum(
    model: Model, query: Query, *, position: int | None, rule: str, steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    parts = [
        attribute_slowly(
            model.net,
            query.tokens,
            answer,
            position=at if position is None else position,
            at=at,
            rule=rule,
            steps=steps,
            context=query.context,
        )
        for answer, at in zip(query.answers, query.positions, strict=True)
    ]
    return torch.stack([scores for scores, _ in parts]).sum(0), torch.stack([rise for _, rise in parts]).sum(0)


def relative(found: torch.Tensor, true: torch.Tensor) -> float:
    return float((found - true).norm() / true.norm().clamp(min=1e-9))


@pytest.mark.parametrize("rule", ["left", "right", "midpoint", "gauss"])
@pytest.mark.parametrize("name", TINY)
def test_every_rule_equals_the_literal_loop(name: str, rule: str) -> None:
    model = tiny(name)
    found = attribute_prompt(model, *sentence(name, 1, "middle"), method=Method(rule=rule, steps=5))
    scores, rise = slow_sum(model, found.query, position=None, rule=rule, steps=5)
    assert found.scores.dtype == torch.float32
    assert found.scores.shape == (model.layout.n_layers, model.layout.ffn_width)
    for layer in range(model.layout.n_layers):
        assert relative(found.scores[layer], scores[layer]) < 1e-4
    torch.testing.assert_close(found.rise, rise, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.completeness_error, (scores.sum(-1) - rise).abs(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("answers", [1, 3])
@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("name", TINY)
def test_any_position_and_answer_length_equal_the_literal_loop(name: str, where: str, answers: int) -> None:
    model = tiny(name)
    text, answer = sentence(name, answers, where)
    position = None if name in MASKED else {"first": 0, "middle": 3, "last": None}[where]
    found = attribute_prompt(model, text, answer, method=Method(rule="right", steps=4), position=position)
    scores, _ = slow_sum(model, found.query, position=position, rule="right", steps=4)
    assert len(found.query.answers) == answers
    for layer in range(model.layout.n_layers):
        assert relative(found.scores[layer], scores[layer]) < 1e-4


def test_no_family_goes_untried() -> None:
    """A family that is in the table without a tiny network is one whose numbers nobody compared."""
    assert {name.split()[0] for name in EVERY} == set(FAMILIES)


@pytest.mark.parametrize("answers", [1, 2])
@pytest.mark.parametrize("where", ["middle", "last"])
@pytest.mark.parametrize("name", [name for name in EVERY if name not in TINY])
def test_every_family_equals_the_literal_loop(name: str, where: str, answers: int) -> None:
    model = tiny(name)
    text, answer = sentence(name, answers, where)
    position = None
    if where == "middle" and name not in MASKED:
        position = 0 if name in FILLING else 4
    found = attribute_prompt(model, text, answer, method=Method(rule="gauss", steps=2), position=position)
    scores, rise = slow_sum(model, found.query, position=position, rule="gauss", steps=2)
    assert len(found.query.answers) == answers
    for layer in range(model.layout.n_layers):
        if position is None or layer < model.layout.n_layers - 1:
            assert float(scores[layer].norm()) > 1e-6
        assert relative(found.scores[layer], scores[layer]) < 1e-4
    torch.testing.assert_close(found.rise, rise, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", TINY)
def test_a_masked_models_neurons_may_be_changed_far_from_the_mask(name: str) -> None:
    model = tiny(name)
    found = attribute_prompt(model, *sentence(name, 1, "last"), method=Method(rule="midpoint", steps=4), position=1)
    scores, _ = slow_sum(model, found.query, position=1, rule="midpoint", steps=4)
    for layer in range(model.layout.n_layers - 1):
        assert relative(found.scores[layer], scores[layer]) < 1e-4
    torch.testing.assert_close(found.scores[-1], scores[-1], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", TINY)
def test_adaptive_is_complete_and_near_the_exact_integral(name: str) -> None:
    model = tiny(name)
    found = attribute_prompt(model, *sentence(name, 1, "last"), method=Method(tolerance=0.002))
    scores, rise = slow_sum(model, found.query, position=None, rule="gauss", steps=64)
    assert found.relative_error < 0.01
    torch.testing.assert_close(found.scores.sum(-1), rise, rtol=0, atol=0.01 * float(rise.abs().max()))
    for layer in range(model.layout.n_layers):
        assert relative(found.scores[layer], scores[layer]) < 0.3


@pytest.mark.parametrize(("name", "answers"), [*((name, 1) for name in EVERY), *((name, 2) for name in TINY)])
def test_batch_and_memory_change_nothing(name: str, answers: int) -> None:
    model = tiny(name)
    blank = " ".join(["[MASK]"] * answers) + " !" if name in MASKED else "<extra_id_0>" if name in FILLING else ""
    texts = (f"the capital of Japan is {blank}", f"a big city of Kenya has {blank}", f"Rome is {blank}")
    said = (["Tokyo", ",", "and"][:answers], ["the", "big", "old"][:answers], ["Rome", "in", "Italy"][:answers])
    queries = [encode_text(model, text, " ".join(answer)) for text, answer in zip(texts, said, strict=True)]
    method = Method(rule="gauss", steps=3)
    together = attribute_queries(model, queries, method)
    tight = attribute_queries(model, queries, method, memory=1)
    for query, one, other in zip(queries, together, tight, strict=True):
        alone = attribute_queries(model, [query], method)[0]
        assert one.query == query
        assert one.points == alone.points == other.points
        torch.testing.assert_close(one.scores, alone.scores, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(other.scores, alone.scores, rtol=1e-4, atol=1e-6)
        assert one.probability == pytest.approx(alone.probability, rel=1e-5)


@pytest.mark.parametrize("name", TINY)
def test_the_network_is_bit_identical_afterwards_also_when_the_body_raises(name: str) -> None:
    model = tiny(name)
    model.net.train()
    model.net.get_input_embeddings().weight.requires_grad_(False)
    before = {key: tensor.clone() for key, tensor in model.net.state_dict().items()}
    asked = [parameter.requires_grad for parameter in model.net.parameters()]
    attribute_prompt(model, *sentence(name, 1, "last"), method=Method(rule="left", steps=2))
    with pytest.raises(KneditError):
        attribute_prompt(model, *sentence(name, 1, "last"), position=99)
    assert model.net.training
    assert [parameter.requires_grad for parameter in model.net.parameters()] == asked
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.net.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.net.modules())


def test_a_planted_neuron_comes_first() -> None:
    """A value vector that holds the answer's output embedding, on a neuron that is active, outscores all others."""
    model = tiny("llama")
    text, answer = sentence("llama", 1, "last")
    query = attribute_prompt(model, text, answer, method=Method(rule="left", steps=1)).query
    tokens, said = torch.tensor([query.tokens]), torch.tensor(query.answers)
    here = query.positions[0]
    at = torch.tensor([here])
    replay = Replay(model, tokens, positions=at[:, None], answer_positions=at, answers=said)
    activation = replay.activations[-1, 0, 0]
    planted = int(activation.abs().argsort()[-4])
    with torch.no_grad():
        weight = model.downs[-1].get_parameter("weight")
        weight.mul_(0.05)
        weight[:, planted] = activation[planted].sign() * 3 * model.output_embedding(query.answers[0])
    found = attribute_prompt(model, text, answer)
    assert int(found.scores[-1].argmax()) == planted


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"rule": "simpson"}, "no rule"),
        ({"rule": "gauss", "steps": 0}, "steps"),
        ({"steps": 2}, "between 3"),
        ({"tolerance": 2.0}, "tolerance"),
    ],
)
def test_impossible_methods_get_one_clear_error(choice: dict[str, Any], words: str) -> None:
    with pytest.raises(KneditError, match=words):
        Method(**choice)


@pytest.mark.parametrize("position", [8, -9])
def test_a_position_outside_the_prompt_gets_one_clear_error(position: int) -> None:
    with pytest.raises(KneditError, match=f"position {position}"):
        attribute_prompt(tiny("gpt2"), *sentence("gpt2", 1, "last"), position=position)

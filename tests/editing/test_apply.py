"""A network in memory with its edit lent to it: exactly the edit inside, and every bit as before outside."""

from contextlib import suppress
from typing import Any

import pytest
import torch

from knedit.editing.apply import edited, lent
from knedit.editing.solve import ValueChange
from knedit.models.model import Model, wrap_model
from tests.rounding import nearest
from tests.tiny_models import TINY, network, tokenizer

MASKED = ("bert", "roberta")
PLACES = {0: (3, 17), 2: (0, 5, 47)}


class StopError(Exception):
    """Leave a body."""


def tiny(name: str, dtype: torch.dtype = torch.float32) -> Model:
    return wrap_model(network(name).to(dtype), tokenizer(masked=name in MASKED))


def changes(model: Model) -> list[ValueChange]:
    """Return an edit of two layers with values that no weight has, and that only float64 holds exactly."""
    found = []
    for layer, indices in PLACES.items():
        old = model.value_vectors(layer, indices).double()
        new = torch.arange(old.numel(), dtype=torch.float64).reshape(old.shape) + 10 * layer + 100 + 1e-12
        found.append(ValueChange(layer, indices, old, new))
    return found


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in model.net.state_dict().items()}


def expected(model: Model, before: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Put the edit into a copy of the weights, one number at a time, each the nearest to what was asked for."""
    after = {key: tensor.clone() for key, tensor in before.items()}
    for change in changes(model):
        weight = after[model.layout.down_weight(change.layer)]
        for row, index in enumerate(change.indices):
            for place, value in enumerate(change.new[row].tolist()):
                at = (index, place) if model.layout.family.neuron_axis == 0 else (place, index)
                weight[at] = nearest(value, weight.dtype)[0]
    return after


def same(found: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return found.keys() == other.keys() and all(torch.equal(tensor, other[key]) for key, tensor in found.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", TINY)
def test_exactly_the_edited_value_vectors_differ_inside_and_nothing_afterwards(name: str, dtype: torch.dtype) -> None:
    model = tiny(name, dtype)
    before = weights(model)
    with edited(model, changes(model)):
        inside = weights(model)
        assert same(inside, expected(model, before))
        assert not same(inside, before)
    assert same(weights(model), before)


@pytest.mark.parametrize("name", TINY)
def test_the_network_answers_otherwise_inside_and_as_before_afterwards(name: str) -> None:
    model = tiny(name)
    tokens = torch.arange(5, 11)[None]
    with torch.no_grad():
        before: Any = model.net(tokens).logits
        with edited(model, changes(model)):
            assert not torch.allclose(model.net(tokens).logits, before)
        assert torch.equal(model.net(tokens).logits, before)


@pytest.mark.parametrize("name", TINY)
def test_the_old_values_come_back_when_the_body_raises(name: str) -> None:
    model = tiny(name)
    before = weights(model)
    inside: list[dict[str, torch.Tensor]] = []

    def fail() -> None:
        inside.append(weights(model))
        raise StopError

    with pytest.raises(StopError), edited(model, changes(model)):
        fail()
    assert same(inside[0], expected(model, before))
    assert same(weights(model), before)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_the_old_values_come_back_when_a_later_change_does_not_fit(name: str) -> None:
    model = tiny(name)
    before = weights(model)
    for wrong in (
        ValueChange(1, (9999,), torch.zeros(1, 32), torch.ones(1, 32)),
        ValueChange(1, (1, 2), torch.zeros(2, 32), torch.ones(2, 31)),
        ValueChange(99, (1,), torch.zeros(1, 32), torch.ones(1, 32)),
    ):
        with pytest.raises((RuntimeError, IndexError)), edited(model, [*changes(model), wrong]):
            pytest.fail("the body ran")
        assert same(weights(model), before)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_edits_within_edits_come_off_in_turn(name: str) -> None:
    model = tiny(name)
    before = weights(model)
    again = ValueChange(0, (17, 3), torch.zeros(2, 32), torch.full((2, 32), -5.0))
    with edited(model, changes(model)):
        first = weights(model)
        with edited(model, [again, ValueChange(0, (3,), torch.zeros(1, 32), torch.full((1, 32), 6.0))]):
            assert model.value_vectors(0, [3, 17])[:, 0].tolist() == [6.0, -5.0]
        assert same(weights(model), first)
    assert same(weights(model), before)


def test_gradients_and_storage_stay_the_parameters_own() -> None:
    model = tiny("llama")
    weight = model.downs[0].get_parameter("weight")
    place = weight.data_ptr()
    with edited(model, changes(model)):
        assert model.downs[0].get_parameter("weight") is weight
        assert weight.data_ptr() == place
        assert weight.requires_grad
        assert weight.grad_fn is None
    assert weight.requires_grad
    assert weight.data_ptr() == place


def test_an_edit_of_nothing_is_nothing() -> None:
    model = tiny("gpt2")
    before = weights(model)
    with edited(model, []):
        assert same(weights(model), before)
    assert same(weights(model), before)


def test_value_vectors_that_are_put_in_place_again_and_again_all_return() -> None:
    model = tiny("gpt2")
    before = weights(model)
    first, second = changes(model)
    shorter = ValueChange(first.layer, first.indices[:1], first.old[:1], first.new[:1] + 5)
    with suppress(StopError), lent(model) as put:
        put([first])
        put([shorter, second])
        now = model.value_vectors(first.layer, first.indices)
        assert torch.equal(now, torch.cat([shorter.new, first.new[1:]]).to(model.dtype))
        raise StopError
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.net.state_dict().items())


def test_old_values_that_a_change_tells_otherwise_than_the_weights_hold_them_are_not_put_back() -> None:
    model = tiny("gpt2")
    before = weights(model)
    layer, indices = 1, (1, 2)
    model.put_value_vectors(layer, indices, torch.zeros(2, 32))
    zeros = weights(model)
    told = before[model.layout.down_weight(layer)][list(indices)]
    for old in (told, -torch.zeros(2, 32), told.double(), told[:1].expand(2, 32)):
        with edited(model, [ValueChange(layer, indices, old, torch.ones(2, 32, dtype=torch.float64))]):
            assert not same(weights(model), zeros)
        assert same(weights(model), zeros)
        assert not torch.signbit(model.value_vectors(layer, indices)).any()

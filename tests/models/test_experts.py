"""Opened experts: the network's own numbers, and neurons that can be noted and replaced."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knedit.models.experts import opened_experts
from tests.tiny_models import network

TOKENS = torch.arange(5, 16)[None]
NAMES = ("mixtral", "qwen3_moe")


def experts_of(net: Any) -> list[nn.Module]:
    return [layer.mlp.experts for layer in net.model.layers]


@pytest.mark.parametrize("way", ["eager", "batched_mm", "grouped_mm"])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_opened_experts_give_the_networks_own_numbers(name: str, way: str) -> None:
    net = network(name)
    net.set_experts_implementation(way)
    plain = net(TOKENS).logits
    with opened_experts(experts_of(net), lambda _, x: x):
        opened = net(TOKENS).logits
    torch.testing.assert_close(opened, plain, rtol=1e-4, atol=1e-5)
    assert torch.equal(net(TOKENS).logits, plain)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_noted_neurons_are_those_of_the_chosen_experts(name: str) -> None:
    net = network(name)
    experts: Any = experts_of(net)[1]
    number, _, width = experts.down_proj.shape
    noted: list[Tensor] = []
    routed: list[tuple[Tensor, Tensor]] = []

    def note(_: nn.Module, x: Tensor) -> Tensor:
        noted.append(x)
        return x

    hook = experts.register_forward_pre_hook(lambda _, args: routed.append((args[0], args[1])))
    with opened_experts([experts], note):
        net(TOKENS)
    hook.remove()
    (states, chosen), (neurons,) = routed[0], noted
    assert neurons.shape == (TOKENS.shape[1], number * width)
    for token in range(TOKENS.shape[1]):
        for expert in range(number):
            gate, up = (experts.gate_up_proj[expert] @ states[token]).chunk(2)
            expected = experts.act_fn(gate) * up if expert in chosen[token] else torch.zeros(width)
            found = neurons[token, expert * width : (expert + 1) * width]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_replaced_neurons_count_where_a_token_is_sent_and_nowhere_else(name: str) -> None:
    net = network(name)
    leaf: list[Tensor] = []

    def replace(_: nn.Module, x: Tensor) -> Tensor:
        leaf.append((x.detach() + (x == 0)).requires_grad_())
        return leaf[0]

    with torch.no_grad():
        plain = net(TOKENS).logits
    with opened_experts(experts_of(net)[-1:], replace):
        found = net(TOKENS).logits
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(found.sum(), leaf)
    touched = gradient.reshape(len(gradient), -1, 24).abs().sum(-1).bool().sum(-1)
    assert touched.tolist() == [2] * TOKENS.shape[1]


class StopError(Exception):
    pass


def stop(_: nn.Module, __: Tensor) -> Tensor:
    raise StopError


def test_experts_are_closed_again_when_the_body_raises() -> None:
    net = network("mixtral")
    with torch.no_grad():
        plain = net(TOKENS).logits
        with pytest.raises(StopError), opened_experts(experts_of(net), stop):
            net(TOKENS)
        assert torch.equal(net(TOKENS).logits, plain)
    assert not any("forward" in vars(module) for module in net.modules())

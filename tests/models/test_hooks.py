"""What looks into a network leaves nothing behind."""

import pytest
import torch
from torch import Tensor, nn

from knedit.models.hooks import changed_inputs, first_input, frozen, watched_inputs
from tests.tiny_models import network


class StopError(Exception):
    """Leave a body."""


def mixed() -> nn.Sequential:
    """Return a network some of whose modules train and some of whose parameters ask for gradients."""
    net = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Linear(3, 2))
    net.train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    return net


def state(net: nn.Module) -> tuple[list[bool], list[bool]]:
    return [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in net.modules())


@pytest.mark.parametrize("raises", [False, True])
def test_frozen_restores_every_mode_and_flag(raises: bool) -> None:
    net = mixed()
    before = state(net)
    assert before == ([True, True, False, True], [False, True, True, True])
    try:
        with frozen(net):
            assert state(net) == ([False] * 4, [False] * 4)
            if raises:
                raise StopError
    except StopError:
        assert raises
    assert state(net) == before


def test_frozen_may_be_entered_again_inside() -> None:
    net = mixed()
    before = state(net)
    with frozen(net):
        with frozen(net):
            pass
        assert state(net) == ([False] * 4, [False] * 4)
    assert state(net) == before


def test_watched_inputs_sees_every_call_in_order() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    x, y = torch.randn(1, 2), torch.randn(3, 2)
    with watched_inputs([second, first]) as seen:
        first(x)
        first(y)
        second(x)
    assert [[t.tolist() for t in calls] for calls in seen] == [[x.tolist()], [x.tolist(), y.tolist()]]


@pytest.mark.parametrize("raises", [False, True])
def test_watched_inputs_removes_its_hooks(raises: bool) -> None:
    net = mixed().eval()
    x = torch.randn(1, 2)
    try:
        with watched_inputs([net[0], net[2]]) as seen:
            assert hooks(net) == 2
            net(x)
            if raises:
                raise StopError
    except StopError:
        assert raises
    net(x)
    assert hooks(net) == 0
    assert [len(calls) for calls in seen] == [1, 1]


@pytest.mark.parametrize("raises", [False, True])
def test_changed_inputs_puts_others_in_their_place_and_removes_its_hooks(raises: bool) -> None:
    net = mixed().eval()
    x = torch.randn(1, 2)
    plain = net(x)
    asked: list[int] = []

    def change(place: int, given: Tensor) -> Tensor:
        asked.append(place)
        if raises and place == 1:
            raise StopError
        return given + 1 if place == 1 else given

    try:
        with changed_inputs([net[0], net[2]], change):
            found = net(x)
        torch.testing.assert_close(found, net[2](net[0](x) + 1))
    except StopError:
        assert raises
    assert asked == [0, 1]
    assert hooks(net) == 0
    assert torch.equal(net(x), plain)


def test_the_hidden_states_are_found_by_position_and_by_name() -> None:
    x, y = torch.zeros(1), torch.ones(1)
    assert first_input((x, y), {"hidden_states": y}) is x
    assert first_input((), {"hidden_states": y}) is y


def test_a_real_networks_blocks_are_watched_through_their_names() -> None:
    net = network("llama")
    blocks = list(net.model.layers)
    tokens = torch.arange(4)[None]
    with torch.no_grad(), watched_inputs(blocks) as seen:
        hidden = net(tokens, output_hidden_states=True).hidden_states
    assert [len(calls) for calls in seen] == [1] * len(blocks)
    assert all(torch.equal(calls[0], state) for calls, state in zip(seen, hidden[: len(blocks)], strict=True))


def test_freezing_within_freezing_gives_everything_back_at_the_end_of_the_outer_alone() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout()).train()
    with frozen(net):
        with frozen(net):
            assert not net[1].training
        assert not net[1].training
        assert not any(parameter.requires_grad for parameter in net.parameters())
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())

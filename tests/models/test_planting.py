"""Planted offsets against the network itself, run whole with a hook of the test's own."""

import gc
from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor

from knedit.models.model import Model, wrap_model
from knedit.models.planting import Planting, keys_at_sites, plantable, site_of
from knedit.models.prompting import Query
from tests.tiny_models import EVERY, MASKED, TINY, network, tokenizer_of

TEXTS = [Query((5, 9, 14, 7, 11), (20, 6), (3, 4), (1,)), Query((8, 21, 6, 13, 17, 10, 9), (7,), (6,), (2,))]


def tiny(name: str) -> Model:
    return wrap_model(network(name), tokenizer_of(name))


def whole(model: Model, query: Query, offsets: dict[int, Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return the logits [T, V] of a whole pass with the offsets planted at the site, and the keys there."""
    keys: list[Tensor] = []
    handles = []

    def plant(layer: int) -> Any:
        def hook(_: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            keys.append(args[0].reshape(len(query.tokens), -1)[site_of(query)])
            changed = output.clone().reshape(len(query.tokens), -1)
            changed[site_of(query)] += offsets.get(layer, torch.zeros(()))
            return changed.reshape(output.shape)

        return hook

    try:
        handles = [down.register_forward_hook(plant(layer)) for layer, down in enumerate(model.downs)]
        with torch.no_grad():
            logits: Tensor = model.net(torch.tensor([query.tokens])).logits[0]
    finally:
        for handle in handles:
            handle.remove()
    return logits, keys


@pytest.mark.parametrize("name", TINY)
def test_a_base_pass_is_gone_with_its_planting_and_waits_for_no_collection_of_garbage(name: str) -> None:
    model = tiny(name)
    gc.disable()
    try:
        planting = Planting(model, TEXTS[:1], (0, 2))
        planting.run({0: torch.ones(32, requires_grad=True)})
        held = [ref(call.hidden) for call in planting._calls]
        assert all(one() is not None for one in held)
        del planting
        assert [one() for one in held] == [None] * len(held)
    finally:
        gc.enable()


@pytest.mark.parametrize("name", TINY)
def test_runs_give_what_the_whole_network_gives_with_the_offsets_planted(name: str) -> None:
    model = tiny(name)
    torch.manual_seed(2)
    offsets = {0: torch.randn(32), 2: torch.randn(32)}
    for group in plantable(model, TEXTS):
        planting = Planting(model, [TEXTS[number] for number in group], (0, 2))
        grown = planting.run(offsets)
        for row, number in enumerate(group):
            query = TEXTS[number]
            logits, keys = whole(model, query, offsets)
            places = [place for place, _ in planting.answers[row]]
            found = model.logits(grown.hidden[row, places]).detach()
            torch.testing.assert_close(found, logits[list(query.positions)], rtol=1e-4, atol=1e-4)
            for layer in (0, 2):
                torch.testing.assert_close(grown.keys[layer][row], keys[layer], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_rows_have_their_own_offsets_whose_gradients_are_those_of_finite_differences(name: str) -> None:
    model = tiny(name)
    filling = model.encoder_decoder
    queries = [
        Query(query.tokens, query.answers, query.positions, query.neurons, (5, 9, 4) if filling else ())
        for query in TEXTS
    ]
    if filling or name in MASKED:
        queries = [queries[0], queries[0]]
    planting = Planting(model, queries, (1,))
    torch.manual_seed(4)
    leaf = (0.1 * torch.randn(2, 32)).requires_grad_()
    step = 1e-2 * torch.randn(2, 32)

    def height(offsets: Tensor) -> Tensor:
        hidden = planting.run({1: offsets}, torch.tensor([1, 0])).hidden
        return model.logits(hidden)[:, -1].log_softmax(-1)[:, 7].sum()

    (gradient,) = torch.autograd.grad(height(leaf), leaf)
    with torch.no_grad():
        rise = (height(leaf + step) - height(leaf - step)) / 2
    torch.testing.assert_close((gradient * step).sum(), rise, rtol=0.05, atol=2e-4)


@pytest.mark.parametrize("name", TINY)
def test_keys_at_sites_are_those_of_the_whole_network_and_it_is_left_as_it_was(name: str) -> None:
    model = tiny(name)
    before = {key: value.clone() for key, value in model.net.state_dict().items()}
    found = keys_at_sites(model, TEXTS, [0, 1])
    for row, query in enumerate(TEXTS):
        _, keys = whole(model, query, {})
        for layer in (0, 1):
            torch.testing.assert_close(found[layer][row], keys[layer], rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in model.net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.net.modules())


@pytest.mark.parametrize("name", sorted(set(EVERY) - set(TINY)))
def test_keys_at_sites_are_those_of_a_base_pass_in_every_family(name: str) -> None:
    model = tiny(name)
    context = (5, 9, 4) if model.encoder_decoder else ()
    queries = [Query(query.tokens, query.answers, query.positions, query.neurons, context) for query in TEXTS]
    found = keys_at_sites(model, queries, [1])
    for group in plantable(model, queries):
        base = Planting(model, [queries[number] for number in group], (1,)).base
        torch.testing.assert_close(found[1][group], base.keys[1], rtol=1e-4, atol=1e-5)

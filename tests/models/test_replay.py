"""Replay against the network itself, run whole with other values planted by a hook of the test's own."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from knedit.errors import ModelError
from knedit.models.model import Model, wrap_model
from knedit.models.replay import Replay, Rows
from tests.tiny_models import TINY, network, tokenizer

MASKED = ("bert", "roberta")
TOKENS = torch.tensor([[5, 9, 14, 7, 11, 6], [8, 21, 6, 13, 17, 10], [12, 7, 5, 19, 9, 15]])
POSITIONS = torch.tensor([[1, 3], [2, 4], [1, 2]])
ENDS = torch.tensor([5, 4, 5])
ANSWERS = torch.tensor([20, 11, 24])


def tiny(name: str) -> Model:
    return wrap_model(network(name), tokenizer(masked=name in MASKED))


def recorded(model: Model) -> Replay:
    return Replay(model, TOKENS, positions=POSITIONS, answer_positions=ENDS, answers=ANSWERS)


def planted(model: Model, layer: int, prompt: int, values: Tensor) -> Tensor:
    """Return P(answer) of one prompt where a layer's neurons take values [P, F] at its positions."""

    def plant(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0].index_put((torch.tensor([[0]]), POSITIONS[prompt : prompt + 1]), values[None]), *args[1:])

    handle = model.downs[layer].register_forward_pre_hook(plant)
    try:
        logits: Tensor = model.net(TOKENS[prompt : prompt + 1]).logits[0, ENDS[prompt]]
    finally:
        handle.remove()
    return logits.softmax(-1)[ANSWERS[prompt]]


def experiments(model: Model) -> dict[int, Rows]:
    """Return rows of random values on two layers, the prompts out of order and one of them twice."""
    torch.manual_seed(3)
    rows = {}
    for layer in (0, model.layout.n_layers - 2):
        prompts = torch.tensor([2, 0, 1, 2])
        rows[layer] = Rows(prompts, torch.randn(4, 2, model.layout.ffn_width))
    return rows


@pytest.mark.parametrize("memory", [2**31, 1])
@pytest.mark.parametrize("name", TINY)
def test_rows_of_several_prompts_and_places_give_what_the_whole_network_gives(name: str, memory: int) -> None:
    model = tiny(name)
    asked = experiments(model)
    found = recorded(model).probe(asked, memory=memory)
    for layer, rows in asked.items():
        for number, (prompt, values) in enumerate(zip(rows.prompts.tolist(), rows.values, strict=True)):
            leaf = values.clone().requires_grad_()
            probability = planted(model, layer, prompt, leaf)
            (gradient,) = torch.autograd.grad(probability, leaf)
            answers = found[layer]
            assert answers.gradient is not None
            torch.testing.assert_close(answers.probability[number], probability.detach(), rtol=1e-4, atol=1e-7)
            torch.testing.assert_close(answers.gradient[number], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", TINY)
def test_the_base_pass_gives_activations_probabilities_and_gradients(name: str) -> None:
    model = tiny(name)
    replay = recorded(model)
    assert replay.base_gradients is None
    replay.probe({}, base=True)
    assert replay.base_gradients is not None
    assert replay.activations.shape == (model.layout.n_layers, 3, 2, model.layout.ffn_width)
    for layer in range(model.layout.n_layers):
        for prompt in range(3):
            leaf = replay.activations[layer, prompt].clone().requires_grad_()
            probability = planted(model, layer, prompt, leaf)
            (gradient,) = torch.autograd.grad(probability, leaf)
            torch.testing.assert_close(replay.probability[prompt], probability.detach(), rtol=1e-4, atol=1e-7)
            torch.testing.assert_close(replay.base_gradients[layer, prompt], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", TINY)
def test_without_gradients_probabilities_are_the_same_and_nothing_is_kept(name: str) -> None:
    model = tiny(name)
    replay = recorded(model)
    asked = experiments(model)
    found, silent = replay.probe(asked), replay.probe(asked, gradients=False)
    assert replay.base_gradients is None
    for layer in asked:
        assert silent[layer].gradient is None
        torch.testing.assert_close(silent[layer].probability, found[layer].probability, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", TINY)
def test_the_lens_reads_a_layers_own_output(name: str) -> None:
    """At the last layer the lens says what the network says, where the answer is read from the last position."""
    model = tiny(name)
    last = model.layout.n_layers - 1
    at = torch.tensor([5, 5, 5])
    replay = Replay(model, TOKENS, positions=at[:, None], answer_positions=at, answers=ANSWERS)
    everyone = torch.arange(3)
    said = replay.lens(last, Rows(everyone, replay.activations[last]))
    torch.testing.assert_close(said.exp(), replay.probability, rtol=1e-4, atol=1e-7)
    inner = replay.lens(0, Rows(everyone, replay.activations[0]), memory=1)
    states = model.net(TOKENS, output_hidden_states=True).hidden_states[1][:, 5]
    expected = model.logits(states).log_softmax(-1)[everyone, ANSWERS]
    torch.testing.assert_close(inner, expected.detach(), rtol=1e-4, atol=1e-5)


_TIGHT = """
import logging, resource, sys
import torch
logging.basicConfig(stream=sys.stdout, format="%(message)s")
torch.set_num_threads(1)
from knedit.models.model import wrap_model
from knedit.models.replay import Replay, Rows
from tests.tiny_models import network, tokenizer
model = wrap_model(network("gpt2"), tokenizer(masked=False))
tokens = torch.tensor([[5, 9, 14, 7, 11, 6]])
at = torch.tensor([0])
replay = Replay(model, tokens, positions=at[:, None], answer_positions=torch.tensor([5]), answers=torch.tensor([20]))
rows = Rows(torch.zeros(ROWS, dtype=torch.long), torch.linspace(0, 1, ROWS)[:, None, None] * replay.activations[0])
few = replay.probe({0: Rows(rows.prompts[:100], rows.values[:100])})[0]
with open("/proc/self/statm") as pages:
    used = int(pages.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, resource.RLIM_INFINITY))
try:
    found = replay.probe({0: rows}, memory=2**40)[0]
except Exception as error:
    print(type(error).__name__, error)
else:
    print("equal:", torch.allclose(found.probability[:100], few.probability, rtol=1e-5), len(found.probability))
"""


def tight(*, rows: int, room: int) -> str:
    script = _TIGHT.replace("ROWS", str(rows)).replace("ROOM", str(room))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=200)
    return done.stdout + done.stderr


def test_out_of_memory_halves_the_rows_says_so_and_goes_on() -> None:
    said = tight(rows=20_000, room=500 * 2**20)
    assert "Out of memory with 20000 rows at once; going on with half as many" in said
    assert "equal: True 20000" in said


def test_too_little_memory_for_one_row_is_one_clear_error() -> None:
    model = tiny("gpt2")
    replay = recorded(model)

    def refuse(_: Any, args: tuple[Any, ...]) -> None:
        raise torch.OutOfMemoryError(f"no room for {len(args[0])} rows")

    handle = model.net.lm_head.register_forward_pre_hook(refuse)
    with pytest.raises(ModelError, match="does not do for a single row"):
        replay.probe(experiments(model))
    handle.remove()


def test_the_network_is_as_it_was_when_a_probe_raises() -> None:
    model = tiny("llama")
    replay = recorded(model)
    wrong = {0: Rows(torch.tensor([0]), torch.randn(1, 2, model.layout.ffn_width + 1))}
    with pytest.raises(RuntimeError):
        replay.probe(wrong)
    assert not any("forward" in module.__dict__ for module in model.net.modules())


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_modules_that_accelerate_has_taken_over_are_replayed_and_left_as_they_were(name: str) -> None:
    from accelerate import dispatch_model

    plain = recorded(tiny(name))
    expected = plain.probe(experiments(plain.model), base=True)
    net = network(name)
    model = wrap_model(dispatch_model(net, {"": "cpu"}, force_hooks=True), tokenizer(masked=name in MASKED))
    forwards = {module: module.__dict__.get("forward") for module in model.net.modules()}
    replay = recorded(model)
    found = replay.probe(experiments(model), base=True)
    for layer, answers in expected.items():
        torch.testing.assert_close(found[layer].probability, answers.probability, rtol=1e-5, atol=0)
        torch.testing.assert_close(found[layer].gradient, answers.gradient, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(replay.base_gradients, plain.base_gradients, rtol=1e-4, atol=1e-7)
    assert {module: module.__dict__.get("forward") for module in model.net.modules()} == forwards

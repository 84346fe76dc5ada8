"""A network that is not built as its family says is refused, whatever its config claims."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from knedit.errors import ModelError
from knedit.models.model import wrap_model
from tests.tiny_models import TINY, network, tokenizer

MASKED = ("bert", "roberta")


@pytest.mark.parametrize("name", TINY)
def test_every_family_is_wrapped_with_its_parts(name: str) -> None:
    net = network(name)
    model = wrap_model(net, tokenizer(masked=name in MASKED))
    tokens = torch.arange(5, 11)[None]
    with torch.no_grad():
        found = net(tokens, output_hidden_states=True)
    family = model.layout.family
    assert len(model.blocks) == len(model.downs) == model.layout.n_layers == net.config.num_hidden_layers
    assert model.masked is (name in MASKED)
    assert model.max_tokens == 40 + (name == "roberta")
    assert (model.device.type, model.dtype) == ("cpu", torch.float32)
    for layer in range(model.layout.n_layers):
        weight = net.state_dict()[model.layout.down_weight(layer)]
        columns = weight if family.neuron_axis == 0 else weight.T
        assert torch.equal(model.value_vectors(layer, [5, 0]), columns[[5, 0]])
    assert torch.equal(model.output_embedding(7), net.get_output_embeddings().weight[7])
    assert found.logits.shape == (1, 6, net.config.vocab_size)


@pytest.mark.parametrize("name", TINY)
def test_what_a_model_gives_out_are_copies(name: str) -> None:
    model = wrap_model(network(name), tokenizer(masked=name in MASKED))
    before = {key: tensor.clone() for key, tensor in model.net.state_dict().items()}
    model.value_vectors(0, [1, 2]).zero_()
    model.output_embedding(3).zero_()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.net.state_dict().items())


def _a_block_less() -> Any:
    net = network("llama")
    net.model.layers = net.model.layers[:3]
    return net


def _another_width() -> Any:
    net = network("gpt2")
    net.config.n_inner = 64
    return net


def _other_blocks() -> Any:
    net = network("qwen2")
    del net.model.layers[2].mlp.down_proj
    return net


def _a_step_after_the_head() -> Any:
    def double(_: nn.Module, __: Any, found: Any) -> Any:
        found.logits = 2 * found.logits
        return found

    net = network("llama")
    net.register_forward_hook(double)
    return net


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (_a_block_less, "3 blocks, not 4"),
        (_another_width, r"layer 0's down projection took \[\(1, 3, 128\)\], not one input of 64"),
        (_other_blocks, "down_proj"),
        (_a_step_after_the_head, "the head, applied to the last block's output, does not give the network's logits"),
        (lambda: network("bert").bert, "bert"),
        (lambda: network("roberta").roberta, "roberta"),
        (lambda: network("gpt2").transformer, "transformer"),
        (lambda: network("llama").model, "model"),
    ],
)
def test_a_network_built_otherwise_is_refused(build: Callable[[], Any], words: str) -> None:
    with pytest.raises(ModelError, match=f"not laid out as family .* says: .*{words}"):
        wrap_model(build(), tokenizer(masked=False), source="here")


def test_an_unknown_family_is_refused() -> None:
    small = transformers.CTRLConfig(vocab_size=10, n_embd=8, dff=8, n_layer=1, n_head=2, n_positions=8)
    with pytest.raises(ModelError, match="family 'ctrl' is not known"):
        wrap_model(transformers.CTRLLMHeadModel(small), tokenizer(masked=False))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_with_weights_that_are_no_numbers_is_refused(value: float) -> None:
    net = network("gpt2")
    with torch.no_grad():
        net.transformer.h[1].mlp.c_proj.weight[0, 0] = value
    with pytest.raises(ModelError, match=r"weight transformer\.h\.1\.mlp\.c_proj\.weight is not finite"):
        wrap_model(net, tokenizer(masked=False))


def test_wrapping_leaves_the_network_as_it_was() -> None:
    net = network("bert").train()
    net.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    asked = [parameter.requires_grad for parameter in net.parameters()]
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    wrap_model(net, tokenizer(masked=True))
    assert net.training
    assert [parameter.requires_grad for parameter in net.parameters()] == asked
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert not any(module._forward_pre_hooks for module in net.modules())

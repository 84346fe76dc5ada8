"""What the table of families claims, on tiny networks of every one: what may be left out, and what is refused."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from knedit.errors import ModelError
from knedit.models.hooks import watched_calls
from knedit.models.layout import read_layout
from knedit.models.model import Model, wrap_model
from tests.tiny_models import EVERY, MASKED, network, tokenizer_of

TOKENS = torch.arange(5, 11)[None]


@dataclass(frozen=True)
class Call:
    """One layer's call as the network made it, and what its parts gave."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    given: Tensor
    parts: dict[str, Any]


def tiny(name: str) -> Model:
    return wrap_model(network(name), tokenizer_of(name))


def first(output: Any) -> Tensor:
    found = output[0] if isinstance(output, tuple) else output
    assert isinstance(found, torch.Tensor)
    return found


def kept(output: Any) -> Any:
    """Return a copy: some networks add to what a module gave out, in its place."""
    return tuple(kept(part) for part in output) if isinstance(output, tuple) else _copied(output)


def _copied(part: Any) -> Any:
    return part.clone() if isinstance(part, torch.Tensor) else part


@torch.no_grad()
def run(model: Model, paths: tuple[str, ...]) -> list[Call]:
    """Run six tokens through and return each layer's call, with the outputs of the named parts of its block."""
    calls: list[Call] = []
    parts: dict[str, Any] = {}

    def note_part(path: str) -> Callable[..., None]:
        return lambda _, __, output: parts.update({path: kept(output)})

    def note_call(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        calls.append(Call(args, kwargs, first(output).clone(), dict(parts)))
        parts.clear()

    with ExitStack() as hooks:
        for block in dict.fromkeys(model.blocks):
            for path in paths:
                hooks.callback(block.get_submodule(path).register_forward_hook(note_part(path)).remove)
            hooks.callback(block.register_forward_hook(note_call, with_kwargs=True).remove)
        model.read(TOKENS, TOKENS if model.encoder_decoder else None)
    return calls


@contextmanager
def giving(module: nn.Module, output: Any) -> Iterator[None]:
    """Let a module give this, whatever it is called with."""
    vars(module)["forward"] = lambda *_, **__: output
    try:
        yield
    finally:
        del vars(module)["forward"]


def again(block: nn.Module, call: Call, hidden: Tensor) -> Tensor:
    if call.args:
        return first(block(hidden, *call.args[1:], **call.kwargs))
    return first(block(**call.kwargs | {"hidden_states": hidden}))


def hidden_of(call: Call) -> Tensor:
    found = call.args[0] if call.args else call.kwargs["hidden_states"]
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_with_its_attentions_output_at_hand_a_block_takes_one_token_alone(name: str) -> None:
    model = tiny(name)
    path = model.layout.family.attention
    if path is None:
        assert model.encoder_decoder
        return
    for block, call in zip(model.blocks, run(model, (path,)), strict=True):
        recorded = call.parts[path]
        for token in (0, 4):
            alone = first(recorded)[:, token : token + 1].clone()
            output = (alone, *recorded[1:]) if isinstance(recorded, tuple) else alone
            with giving(block.get_submodule(path), output):
                found = again(block, call, hidden_of(call)[:, token : token + 1].clone())
            torch.testing.assert_close(found, call.given[:, token : token + 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_the_ffn_gives_what_its_down_projection_gives_or_the_neurons_what_it_takes(name: str) -> None:
    model = tiny(name)
    family = model.layout.family
    assert sum(path is not None for path in (family.ffn, family.neurons)) == (0 if model.layout.n_experts else 1)
    for path in filter(None, (family.ffn, family.neurons)):
        with ExitStack() as hooks:
            downs = hooks.enter_context(watched_calls(model.downs))
            outputs = hooks.enter_context(copied_outputs([block.get_submodule(path) for block in model.blocks]))
            results = hooks.enter_context(copied_outputs(model.downs))
            model.read(TOKENS, TOKENS if model.encoder_decoder else None)
        taken_or_given = results if path == family.ffn else [call.taken for call in downs]
        pairs = list(zip(taken_or_given, outputs, strict=True))
        assert len(pairs) == model.layout.n_layers
        assert all(torch.equal(one, other) for one, other in pairs)


@contextmanager
def copied_outputs(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    found: list[Tensor] = []
    with ExitStack() as hooks:
        for module in dict.fromkeys(modules):
            hook = module.register_forward_hook(lambda _, __, output: found.append(output.clone()))
            hooks.callback(hook.remove)
        yield found


@pytest.mark.parametrize("name", sorted(MASKED))
@torch.no_grad()
def test_queries_keys_and_values_are_all_that_one_token_sees_of_another(name: str) -> None:
    model = tiny(name)
    paths = model.layout.family.qkv
    assert bool(paths) is not name.startswith("deberta")
    for block, call in zip(model.blocks, run(model, paths) if paths else [], strict=bool(paths)):
        assert all(isinstance(block.get_submodule(path), nn.Linear) for path in paths)
        changed = hidden_of(call).clone()
        changed[:, 0] += torch.randn(changed.shape[-1])
        with copied_outputs([block.get_submodule(path) for path in paths]) as seen:
            assert not torch.allclose(again(block, call, changed)[:, 1:], call.given[:, 1:], atol=1e-4)
        for path, output in zip(paths, seen, strict=True):
            torch.testing.assert_close(output[:, 1:], call.parts[path][:, 1:])
            assert not torch.allclose(output[:, 0], call.parts[path][:, 0])
        with ExitStack() as hooks:
            for path in paths:
                hooks.enter_context(giving(block.get_submodule(path), call.parts[path]))
            found = again(block, call, changed)
        torch.testing.assert_close(found[:, 1:], call.given[:, 1:])
        assert not torch.allclose(found[:, 0], call.given[:, 0])


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_a_value_vector_is_what_its_neuron_adds_and_lies_where_the_files_say(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    layout = model.layout
    model.net.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as files:
        names = set(files.keys())
        for layer, index in ((0, 0), (layout.n_layers - 1, layout.ffn_width - 5)):
            expert, inner = divmod(index, layout.expert_width)
            stored = files.get_tensor(layout.stored_down_weight(layer, names, expert=expert))
            assert stored.shape[layout.family.neuron_axis] == layout.expert_width
            (vector,) = model.value_vectors(layer, [index])
            assert torch.equal(stored.select(layout.family.neuron_axis, inner), vector)
            model.put_value_vectors(layer, [index], vector[None] + 1)
            assert torch.equal(model.value_vectors(layer, [index])[0], vector + 1)
            model.put_value_vectors(layer, [index], vector[None])
    after = model.net.state_dict()
    assert all(torch.equal(tensor, after[key]) for key, tensor in network(name).state_dict().items())


@pytest.mark.parametrize("name", EVERY)
def test_the_limit_is_that_of_the_positions(name: str) -> None:
    unlimited = ("bloom", "falcon with alibi", "t5", "t5 gated")
    expected = None if name in unlimited else 41 if "roberta" in name else 40
    assert tiny(name).max_tokens == expected


@pytest.mark.parametrize("name", ["opt normed after", "deberta-v2 not legacy", "albert", "t5 gated", "granite"])
@torch.no_grad()
def test_an_output_embedding_is_as_long_as_a_value_vector(name: str) -> None:
    model = tiny(name)
    assert model.output_embedding(7).shape == model.value_vectors(0, [0])[0].shape
    if name == "opt normed after":
        hidden = torch.randn(32)
        torch.testing.assert_close(model.output_embedding(7) @ hidden, model.logits(hidden)[7], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["albert of groups", "electra"])
def test_an_output_embedding_of_another_width_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="an output embedding has 16 numbers and a value vector 32"):
        tiny(name).output_embedding(7)


def test_albert_counts_its_passes_and_names_one_weight_for_many() -> None:
    one, groups = (read_layout(network(name).config.to_dict()) for name in ("albert", "albert of groups"))
    assert [one.block_of(layer) for layer in range(3)] == [0, 0, 0]
    assert [groups.block_of(layer) for layer in range(4)] == [0, 0, 1, 1]
    assert one.down_weight(0) == one.down_weight(2)
    assert one.family.shared
    assert len(set(tiny("albert").downs)) == 1


SMALL = {"num_hidden_layers": 2, "intermediate_size": 8}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "deberta-v2", "conv_kernel_size": 3}, "a deberta-v2 model with a convolution"),
        ({"model_type": "albert", "inner_group_num": 2}, "several layers in a group"),
        ({"model_type": "bloom", "slow_but_exact": True, "pretraining_tp": 4}, "FFN in slices"),
        ({"model_type": "gemma2", "use_bidirectional_attention": True}, "looks at later tokens"),
        ({"model_type": "qwen3_moe", "mlp_only_layers": [0]}, "mixes layers with and without experts"),
        ({"model_type": "qwen3_moe", "decoder_sparse_step": 2}, "mixes layers with and without experts"),
        ({"model_type": "gemma3", "text_config": {}}, "family 'gemma3' is not known"),
    ],
)
def test_what_cannot_be_followed_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read_layout(SMALL | config)


@pytest.mark.parametrize(
    ("config", "layers", "width"),
    [
        ({"model_type": "gpt_neo", "num_layers": 2, "hidden_size": 8, "intermediate_size": None}, 2, 32),
        ({"model_type": "gptj", "n_layer": 2, "n_embd": 8}, 2, 32),
        ({"model_type": "bloom", "n_layer": 2, "n_embed": 8}, 2, 32),
        ({"model_type": "falcon", "num_hidden_layers": 2, "hidden_size": 8}, 2, 32),
        ({"model_type": "distilbert", "n_layers": 2, "hidden_dim": 9}, 2, 9),
        ({"model_type": "opt", "num_hidden_layers": 2, "ffn_dim": 9}, 2, 9),
        ({"model_type": "t5", "num_layers": 2, "d_ff": 9}, 2, 9),
        ({"model_type": "t5", "num_layers": 2, "num_decoder_layers": 3, "d_ff": 9}, 3, 9),
        ({"model_type": "mixtral", "num_local_experts": 4} | SMALL, 2, 32),
        ({"model_type": "qwen3_moe", "num_experts": 4, "moe_intermediate_size": 3} | SMALL, 2, 12),
        ({"model_type": "qwen3_moe", "num_local_experts": 4, "moe_intermediate_size": 3} | SMALL, 2, 12),
    ],
)
def test_configs_of_old_and_new_give_layers_and_neurons(config: dict[str, Any], layers: int, width: int) -> None:
    layout = read_layout(config)
    assert (layout.n_layers, layout.ffn_width) == (layers, width)


def test_a_step_between_two_blocks_is_noticed() -> None:
    net = network("llama")
    net.model.layers[2].register_forward_pre_hook(lambda _, args: (args[0] + 1e-3, *args[1:]))
    with pytest.raises(ModelError, match="something changes the hidden states between layers 1 and 2"):
        wrap_model(net, tokenizer_of("llama"))


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("albert", "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn_output.weight"),
        ("mixtral", "model.layers.1.mlp.experts.down_proj"),
        ("t5", "encoder.block.1.layer.1.DenseReluDense.wo.weight"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_weight_that_is_no_number_is_named(name: str, weight: str, value: float) -> None:
    net = network(name)
    with torch.no_grad():
        net.get_parameter(weight).view(-1)[-1] = value
    with pytest.raises(ModelError, match=f"weight {weight} is not finite"):
        wrap_model(net, tokenizer_of(name))

"""The family table: what config.json promises, and the names under which the weights are stored."""

from typing import Any

import pytest

from knedit.errors import ModelError
from knedit.models.families import FAMILIES
from knedit.models.layout import read_layout
from tests.tiny_models import TINY, network

LLAMA = {"model_type": "llama", "num_hidden_layers": 2, "intermediate_size": 11}
GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_inner": None}


@pytest.mark.parametrize(
    ("config", "layers", "width", "name"),
    [
        ({"model_type": "bert"}, 2, 11, "bert.encoder.layer.1.output.dense.weight"),
        ({"model_type": "bert", "is_decoder": False}, 2, 11, "bert.encoder.layer.1.output.dense.weight"),
        ({"model_type": "roberta"}, 2, 11, "roberta.encoder.layer.1.output.dense.weight"),
        ({"model_type": "xlm-roberta"}, 2, 11, "roberta.encoder.layer.1.output.dense.weight"),
        ({"model_type": "llama"}, 2, 11, "model.layers.1.mlp.down_proj.weight"),
        ({"model_type": "mistral"}, 2, 11, "model.layers.1.mlp.down_proj.weight"),
        ({"model_type": "qwen2"}, 2, 11, "model.layers.1.mlp.down_proj.weight"),
        (GPT2, 2, 32, "transformer.h.1.mlp.c_proj.weight"),
        ({"model_type": "gpt2", "n_layer": 3, "n_embd": 8}, 3, 32, "transformer.h.1.mlp.c_proj.weight"),
        (GPT2 | {"n_inner": 20}, 2, 20, "transformer.h.1.mlp.c_proj.weight"),
    ],
)
def test_a_config_gives_layers_neurons_and_names(config: dict[str, Any], layers: int, width: int, name: str) -> None:
    sizes = {} if config["model_type"] == "gpt2" else {"num_hidden_layers": 2, "intermediate_size": 11}
    layout = read_layout(sizes | config)
    assert (layout.n_layers, layout.ffn_width, layout.down_weight(1)) == (layers, width, name)
    assert layout.family is FAMILIES[config["model_type"]]
    assert layout.model_type == config["model_type"]


@pytest.mark.parametrize("name", TINY)
def test_the_table_agrees_with_the_real_network(name: str) -> None:
    net = network(name)
    layout = read_layout(net.config.to_dict())
    weights = net.state_dict()
    for layer in range(layout.n_layers):
        shape = weights[layout.down_weight(layer)].shape
        assert shape[layout.family.neuron_axis] == layout.ffn_width
        assert shape[1 - layout.family.neuron_axis] == net.config.hidden_size
    assert layout.down_weight(layout.n_layers) not in weights


@pytest.mark.parametrize("model_type", ["t6", "", None, 3, ["bert"]])
def test_an_unknown_family_is_refused_and_the_known_ones_are_named(model_type: object) -> None:
    with pytest.raises(ModelError, match="not known to knedit") as caught:
        read_layout({"model_type": model_type})
    assert all(name in caught.value.cure for name in FAMILIES)


def test_a_config_without_a_family_is_refused() -> None:
    with pytest.raises(ModelError, match="family None"):
        read_layout({})


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_an_encoder_that_is_a_decoder_is_refused(model_type: str) -> None:
    with pytest.raises(ModelError, match="is_decoder"):
        read_layout({"model_type": model_type, "is_decoder": True, "num_hidden_layers": 2, "intermediate_size": 4})


@pytest.mark.parametrize("size", [0, -1, 2.0, "2", True, None, [2]])
def test_a_size_that_is_no_positive_whole_number_is_refused(size: object) -> None:
    for config, key in ((LLAMA, "num_hidden_layers"), (LLAMA, "intermediate_size"), (GPT2, "n_layer")):
        with pytest.raises(ModelError, match=f"{key} is .*not a positive whole number"):
            read_layout(config | {key: size})


def test_gpt2_without_any_width_is_refused() -> None:
    with pytest.raises(ModelError, match="n_embd is None"):
        read_layout({"model_type": "gpt2", "n_layer": 2})


def test_a_stored_weight_is_found_with_and_without_the_base_models_prefix() -> None:
    for config, full, bare in (
        (LLAMA, "model.layers.1.mlp.down_proj.weight", "layers.1.mlp.down_proj.weight"),
        (GPT2, "transformer.h.1.mlp.c_proj.weight", "h.1.mlp.c_proj.weight"),
        (
            LLAMA | {"model_type": "bert"},
            "bert.encoder.layer.1.output.dense.weight",
            "encoder.layer.1.output.dense.weight",
        ),
    ):
        layout = read_layout(config)
        assert layout.stored_down_weight(1, {full, "other"}) == full
        assert layout.stored_down_weight(1, {bare, "other"}) == bare
        assert layout.stored_down_weight(1, {full, bare}) == full


def test_a_weight_that_is_not_stored_is_named() -> None:
    stored = {"model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.up_proj.weight"}
    with pytest.raises(ModelError, match=r"no tensor model\.layers\.1\.mlp\.down_proj\.weight") as caught:
        read_layout(LLAMA).stored_down_weight(1, stored)
    assert caught.value.where == "family llama, layer 1"

"""Where a family of transformers keeps its FFN value vectors: a table, read from config.json.

A neuron (layer, index) is the index-th input of the FFN's down projection in that layer, both counted from 0;
its value vector is the matching slice of the down projection's weight. Knows no torch and reads no file.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

from knedit.errors import ModelError


@dataclass(frozen=True, slots=True)
class Family:
    """How one family names its parts; module paths are those of the class with its language-modelling head.

    `neuron_axis` is the axis of the stored down-projection weight that counts neurons: 1 for `nn.Linear` [D, F],
    0 for GPT-2's `Conv1D` [F, D]. `head` lists the modules that lead from a block's output to the logits.

    What replay may skip, as paths inside the block: `attention`, the whole attention sub-layer; `ffn`, a module that
    gives just what the down projection gives, or `neurons`, one that gives just the down projection's input; `qkv`, the
    matrices that make queries, keys and values of each token by itself. `answer_row`: the block takes BERT's cache of
    keys and values, so that it can be called with one token.
    """

    name: str
    masked: bool
    blocks: str
    down: str
    head: tuple[str, ...]
    prefix: str
    neuron_axis: int = 1
    layers_key: str = "num_hidden_layers"
    width_key: str = "intermediate_size"
    attention: str | None = None
    ffn: str | None = None
    neurons: str | None = None
    qkv: tuple[str, ...] = ()
    answer_row: bool = False


_BERT = Family(
    "bert",
    True,
    "bert.encoder.layer",
    "output.dense",
    ("cls",),
    "bert.",
    attention="attention",
    neurons="intermediate",
    qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
    answer_row=True,
)
_ROBERTA = replace(_BERT, name="roberta", blocks="roberta.encoder.layer", head=("lm_head",), prefix="roberta.")
_GPT2 = Family(
    "gpt2",
    False,
    "transformer.h",
    "mlp.c_proj",
    ("transformer.ln_f", "lm_head"),
    "transformer.",
    neuron_axis=0,
    layers_key="n_layer",
    width_key="n_inner",
    attention="attn",
    ffn="mlp",
)
_LLAMA = Family(
    "llama",
    False,
    "model.layers",
    "mlp.down_proj",
    ("model.norm", "lm_head"),
    "model.",
    attention="self_attn",
    ffn="mlp",
)

FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "gpt2": _GPT2,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
}


@dataclass(frozen=True, slots=True)
class Layout:
    """One model's shape: L = `n_layers` blocks with F = `ffn_width` neurons each, and the names of their weights."""

    model_type: str
    family: Family
    n_layers: int
    ffn_width: int

    def down_weight(self, layer: int) -> str:
        """Return the name that the down projection's weight has in the full model's state dict."""
        return f"{self.family.blocks}.{layer}.{self.family.down}.weight"

    def stored_down_weight(self, layer: int, stored: Container[str]) -> str:
        """Return the name under which a checkpoint stores the down projection's weight.

        Files saved from the bare model leave the base model's prefix out. Raises ModelError if neither name is there.
        """
        full = self.down_weight(layer)
        for name in (full, full.removeprefix(self.family.prefix)):
            if name in stored:
                return name
        raise ModelError(
            f"the checkpoint holds no tensor {full}",
            f"family {self.model_type}, layer {layer}",
            "Save it again with transformers' save_pretrained, which writes the names that config.json promises.",
        )


def read_layout(config: Mapping[str, Any]) -> Layout:
    """Return the layout that a config.json describes; raise ModelError if its family is not in the table."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ModelError(
            f"the model's family {model_type!r} is not known to knedit",
            "model_type in config.json",
            f"Known families: {', '.join(sorted(FAMILIES))}.",
        )
    family = FAMILIES[model_type]
    if family.masked and config.get("is_decoder"):
        raise ModelError(
            f"a {model_type} that is a decoder is not supported",
            "is_decoder in config.json",
            "Use the masked-language-model variant.",
        )
    return Layout(model_type, family, _size(config, family.layers_key), _ffn_width(config, family))


def _ffn_width(config: Mapping[str, Any], family: Family) -> int:
    if family.width_key == "n_inner" and config.get("n_inner") is None:
        return 4 * _size(config, "n_embd")
    return _size(config, family.width_key)


def _size(config: Mapping[str, Any], key: str) -> int:
    size = config.get(key)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ModelError(f"{key} is {size!r}, not a positive whole number", "config.json", "Repair the file.")
    return size

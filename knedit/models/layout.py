"""One model's shape and the names of its FFN value vectors, read from config.json by its family's table.

A neuron (layer, index) is the index-th input of the FFN's down projection in that layer, both counted from 0;
its value vector is the matching slice of the down projection's weight. In a mixture of experts a neuron belongs to one
expert, and its index is expert × (neurons of an expert) + its place there. Knows no torch and reads no file.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knedit.errors import ModelError
from knedit.models.families import FAMILIES, Config, Family


@dataclass(frozen=True, slots=True)
class Layout:
    """One model's shape: L = `n_layers` layers with F = `ffn_width` neurons each, and the names of their weights.

    `n_blocks` modules make the layers: fewer than L where weights are shared, and then layers are counted as the
    network passes through them. A mixture of experts has `n_experts` in each layer; other models have 0.
    """

    model_type: str
    family: Family
    n_layers: int
    ffn_width: int
    n_blocks: int
    n_experts: int = 0

    @property
    def expert_width(self) -> int:
        """The number of neurons that one stored weight holds: an expert's, or all of a layer's."""
        return self.ffn_width // max(self.n_experts, 1)

    def block_of(self, layer: int) -> int:
        """Return the number of the module that makes a layer."""
        return int(layer / (self.n_layers / self.n_blocks))

    def down_weight(self, layer: int) -> str:
        """Return the name that the down projection's weight has in the full model's state dict."""
        family = self.family
        return f"{family.blocks}.{self.block_of(layer)}.{family.down}.{family.weight}"

    def stored_down_weight(self, layer: int, stored: Container[str], *, expert: int = 0) -> str:
        """Return the name under which a checkpoint stores the down projection's weight (of one expert, or of all).

        Files saved from the bare model leave the base model's prefix out; experts have a tensor each, or lie stacked in
        one under the network's own name. Raises ModelError if none of these names is there.
        """
        full = self.down_weight(layer)
        names = [full]
        if self.n_experts:
            own = self.family.stored_expert.format(expert=expert)
            names = [f"{self.family.blocks}.{self.block_of(layer)}.{own}", full]
        for name in names:
            for known in (name, name.removeprefix(self.family.prefix)):
                if known in stored:
                    return known
        raise ModelError(
            f"the checkpoint holds no tensor {names[0]}",
            f"family {self.model_type}, layer {layer}",
            "Save it again with transformers' save_pretrained, which writes the names that config.json promises.",
        )

    def is_stack(self, name: str) -> bool:
        """Tell whether the tensor that a checkpoint calls `name` holds all experts of a layer."""
        return bool(self.n_experts) and name.endswith(f".{self.family.down}.{self.family.weight}")


def read_layout(config: Config) -> Layout:
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
    if family.adapt is not None:
        family = family.adapt(family, config)
    n_layers = _size(config, family.layers_keys)
    n_experts = _size(config, family.experts_keys) if family.experts_keys else 0
    return Layout(
        model_type,
        family,
        n_layers,
        _width(config, family) * max(n_experts, 1),
        _groups(config, family) if family.shared else n_layers,
        n_experts,
    )


def _width(config: Config, family: Family) -> int:
    if family.hidden_keys and all(config.get(key) is None for key in family.width_keys):
        return 4 * _size(config, family.hidden_keys)
    return _size(config, family.width_keys)


def _groups(config: Config, family: Family) -> int:
    return _size(dict.fromkeys(family.groups_keys, 1) | dict(config), family.groups_keys)


def _size(config: Mapping[str, Any], keys: Sequence[str]) -> int:
    """Return the first of the keys' values that is set; raise ModelError if it is no size."""
    key = next((key for key in keys if config.get(key) is not None), keys[0])
    size = config.get(key)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ModelError(f"{key} is {size!r}, not a positive whole number", "config.json", "Repair the file.")
    return size

"""A network, its tokenizer and its layout, checked to belong together.

All that other rooms need of an architecture: its blocks, down projections, head and output embedding. Knows no
files and no catalog.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from knedit.errors import ModelError
from knedit.models.hooks import frozen, watched_inputs
from knedit.models.layout import Layout, read_layout


@dataclass(eq=False, slots=True)
class Model:
    """A network in memory. Its parts are looked up once; nothing in it is changed.

    `tf32`: whether CUDA may cut the products of its float32 weights. Shapes below: L blocks, F neurons a block, D
    hidden width, V vocabulary.
    """

    net: Any
    tokenizer: Any
    layout: Layout
    source: str
    tf32: bool = False
    blocks: Sequence[nn.Module] = field(init=False)
    downs: Sequence[nn.Module] = field(init=False)
    head_modules: Sequence[nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        family = self.layout.family
        try:
            self.blocks = list(self.net.get_submodule(family.blocks))
            self.downs = [block.get_submodule(family.down) for block in self.blocks]
            self.head_modules = [self.net.get_submodule(path) for path in family.head]
        except AttributeError as error:
            raise ModelError(
                f"the network is not laid out as family {self.layout.model_type!r} says: {error}",
                self.source,
                "Load it with its language-modelling head (AutoModelForCausalLM or AutoModelForMaskedLM).",
            ) from None

    @property
    def device(self) -> torch.device:
        """Where tokens go in: the device of the input embedding. A device map may put later blocks elsewhere."""
        found = self.net.get_input_embeddings().weight.device
        assert isinstance(found, torch.device)
        return found

    @property
    def dtype(self) -> torch.dtype:
        return self.downs[0].get_parameter("weight").dtype

    @property
    def precision(self) -> str:
        """What the model computes in: `tf32`, or the name of its weights' dtype, such as `float32`."""
        return "tf32" if self.tf32 else str(self.dtype).removeprefix("torch.")

    @property
    def masked(self) -> bool:
        return self.layout.family.masked

    @property
    def max_tokens(self) -> int | None:
        """The longest input in tokens that the positions allow, or None where the config sets no limit."""
        config = self.net.config
        limit = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
        if limit is not None and self.layout.family.name == "roberta":
            limit -= config.pad_token_id + 1
        return limit

    def logits(self, hidden: Tensor) -> Tensor:
        """Lead outputs of the last block [..., D] through the final norm and the vocabulary projection to [..., V]."""
        for module in self.head_modules:
            hidden = module(hidden)
        return hidden

    def value_vectors(self, layer: int, indices: Sequence[int]) -> Tensor:
        """Return a copy of the value vectors of some neurons of one layer, [n, D]."""
        weight = self.downs[layer].get_parameter("weight").detach()
        chosen = torch.as_tensor(indices, device=weight.device, dtype=torch.long)
        vectors = weight.index_select(self.layout.family.neuron_axis, chosen)
        return vectors.clone() if self.layout.family.neuron_axis == 0 else vectors.T.clone()

    def output_embedding(self, token: int) -> Tensor:
        """Return the row of the vocabulary projection that belongs to a token, [D]."""
        row = self.net.get_output_embeddings().weight[token]
        assert isinstance(row, Tensor)
        return row.detach().clone()


def wrap_model(net: Any, tokenizer: Any, *, source: str = "a model in memory") -> Model:
    """Return a Model around a transformers network and tokenizer that are already in memory.

    The layout is read from the network's config and checked with a forward pass over three tokens. Raises ModelError
    for an unknown family, or for a network that is not built as its family says.
    """
    config: Mapping[str, Any] = net.config.to_dict()
    model = Model(net, tokenizer, read_layout(config), source)
    _check_layout(model)
    return model


@torch.no_grad()
def _check_layout(model: Model) -> None:
    """Run three tokens through and see that blocks, down projections and head are where the family says."""
    layout = model.layout
    if len(model.blocks) != layout.n_layers:
        raise _mismatch(model, f"{len(model.blocks)} blocks, not {layout.n_layers}")
    tokens = torch.arange(3, device=model.device).remainder(model.net.config.vocab_size)[None]
    with frozen(model.net), watched_inputs(model.downs) as inputs, watched_inputs(model.head_modules[:1]) as heads:
        logits = model.net(tokens).logits
        hidden = [seen for seen in heads[0] if seen.shape[-2] == 3]
        again = model.logits(hidden[0]) if hidden else None
    for layer, seen in enumerate(inputs):
        shapes = [tuple(x.shape) for x in seen]
        if shapes != [(1, 3, layout.ffn_width)]:
            raise _mismatch(
                model, f"layer {layer}'s down projection took {shapes}, not one input of {layout.ffn_width}"
            )
    if not torch.isfinite(logits).all():
        raise ModelError("the network's output is not finite", model.source, "Its weights hold NaN or infinity.")
    if again is None or not torch.allclose(again.reshape(logits.shape), logits, rtol=1e-3, atol=1e-3):
        raise _mismatch(model, "the head, applied to the last block's output, does not give the network's logits")


def _mismatch(model: Model, what: str) -> ModelError:
    return ModelError(
        f"the network is not laid out as family {model.layout.model_type!r} says: {what}",
        model.source,
        "knedit cannot attribute or edit a network that it reads wrongly; please report the model.",
    )

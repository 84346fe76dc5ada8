"""A network, its tokenizer and its layout, checked to belong together.

All that other rooms need of an architecture: its blocks, down projections, head and output embedding. Knows no
files and no catalog.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from knedit.errors import ModelError
from knedit.models.heads import HEADS
from knedit.models.hooks import Seen, frozen, watched_calls
from knedit.models.layout import Layout, read_layout
from knedit.models.precision import rounded_once
from knedit.models.quiet import quiet


@dataclass(eq=False, slots=True)
class Model:
    """A network in memory. Its parts are looked up once; nothing in it is changed.

    `blocks` and `downs` have one entry a layer; where layers share weights, one module is there several times.
    Shapes below: L layers, F neurons a layer, D hidden width, V vocabulary.
    `tf32`: whether CUDA may cut the products of its float32 weights.
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
        layout, family = self.layout, self.layout.family
        try:
            found = list(self.net.get_submodule(family.blocks))
            if len(found) != layout.n_blocks:
                raise _mismatch(self, f"{len(found)} blocks, not {layout.n_blocks}")
            self.blocks = [found[layout.block_of(layer)] for layer in range(layout.n_layers)]
            self.downs = [block.get_submodule(family.down) for block in self.blocks]
            self.head_modules = [self.net.get_submodule(path) for path in family.head]
        except AttributeError as error:
            raise ModelError(
                f"the network is not laid out as family {self.layout.model_type!r} says: {error}",
                self.source,
                "Load it with its language-modelling head (AutoModelFor… CausalLM, MaskedLM or Seq2SeqLM).",
            ) from None

    @property
    def device(self) -> torch.device:
        """Where tokens go in: the device of the input embedding. A device map may put later blocks elsewhere."""
        found = self.net.get_input_embeddings().weight.device
        assert isinstance(found, torch.device)
        return found

    @property
    def dtype(self) -> torch.dtype:
        found = self.net.dtype
        assert isinstance(found, torch.dtype)
        return found

    @property
    def precision(self) -> str:
        """What the model computes in: `tf32`, or the name of its weights' dtype, such as `float32`."""
        return "tf32" if self.tf32 else str(self.dtype).removeprefix("torch.")

    @property
    def masked(self) -> bool:
        return self.layout.family.masked

    @property
    def encoder_decoder(self) -> bool:
        return self.layout.family.encoder_decoder

    @property
    def at_answer(self) -> bool:
        """Whether edits act where the answer is due, and not where the subject ends."""
        return self.layout.family.at_answer

    @property
    def max_tokens(self) -> int | None:
        """The longest input in tokens that the positions allow, or None where the config sets no limit."""
        return POSITIONS[self.layout.family.positions](self.net.config)

    def read(self, tokens: Tensor, context: Tensor | None = None, **more: Any) -> Any:
        """Return the network's output for tokens [B, T]: the decoder's, if an encoder is to read a context [B, S]."""
        if context is None:
            return self.net(tokens, **more)
        return self.net(input_ids=context, decoder_input_ids=tokens, **more)

    def run(self, tokens: Tensor, context: Tensor | None = None, **more: Any) -> None:
        """Let the blocks read as `read` does, without the vocabulary projection where the network can do without."""
        if context is None:
            self.net.base_model(tokens, **more)
        else:
            self.read(tokens, context, **more)

    def logits(self, hidden: Tensor) -> Tensor:
        """Lead outputs of the last block [..., D] through the final norm and the vocabulary projection to [..., V]."""
        return HEADS[self.layout.family.logits](self.head_modules, hidden, self.net.config)

    def value_vectors(self, layer: int, indices: Sequence[int]) -> Tensor:
        """Return a copy of the value vectors of some neurons of one layer, [n, D]."""
        rows, places = self._value_rows(layer, indices)
        return rows[places]

    def put_value_vectors(self, layer: int, indices: Sequence[int], values: Tensor) -> None:
        """Write value vectors [n, D] over those of some neurons of one layer, rounded once to the weight's precision.

        Raises CheckpointError where they are not finite, or too large for it.
        """
        rows, places = self._value_rows(layer, indices)
        rows.index_put_(places, rounded_once(values, rows.dtype).to(rows.device))

    @property
    def n_embeddings(self) -> int:
        """The number of output embeddings: some networks have more than their tokenizer has tokens."""
        return len(self._vocabulary())

    def output_embedding(self, token: int) -> Tensor:
        """Return the row of the vocabulary projection that belongs to a token, as the hidden states see it: [D].

        Raises ModelError where the head changes the width on the way, so that there is no such row.
        """
        row = self._vocabulary()[token].clone()
        narrow = self._narrow()
        return self._as_wide_as_values(row if narrow is None else torch.mv(narrow.T, row))

    def output_embeddings(self, first: int, last: int) -> Tensor:
        """Return those of the tokens from `first` to before `last`, [n, D]: a view where the head allows it."""
        rows = self._vocabulary()[first:last]
        narrow = self._narrow()
        return self._as_wide_as_values(rows if narrow is None else rows @ narrow)

    def _vocabulary(self) -> Tensor:
        path = self.layout.family.vocabulary
        module = self.net.get_submodule(path) if path else self.net.get_output_embeddings()
        weight: Tensor = module.weight.detach()
        return weight

    def _narrow(self) -> Tensor | None:
        path = self.layout.family.narrow
        return None if path is None else self.net.get_submodule(path).weight.detach()

    def _as_wide_as_values(self, embeddings: Tensor) -> Tensor:
        width = self._value_rows(0, [0])[0].shape[-1]
        if embeddings.shape[-1] != width:
            raise ModelError(
                f"an output embedding has {embeddings.shape[-1]} numbers and a value vector {width}",
                self.source,
                "Use a method, or an edit, that does without output embeddings.",
            )
        return embeddings

    def _value_rows(self, layer: int, indices: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return a view of the down projection whose last axis is D, and the places of some neurons on its others."""
        weight = self.downs[layer].get_parameter(self.layout.family.weight).detach()
        chosen = torch.as_tensor(indices, device=weight.device, dtype=torch.long)
        if self.layout.n_experts:
            width = self.layout.expert_width
            return weight.transpose(1, 2), (chosen // width, chosen % width)
        return weight if self.layout.family.neuron_axis == 0 else weight.T, (chosen,)


def _all_positions(config: Any) -> int | None:
    return getattr(config, "max_position_embeddings", None)


def _after_padding(config: Any) -> int | None:
    """RoBERTa counts positions from behind the padding token's number."""
    return int(config.max_position_embeddings) - int(config.pad_token_id) - 1


def _unlimited(config: Any) -> int | None:
    del config
    return None


POSITIONS: Mapping[str, Callable[[Any], int | None]] = {
    "all": _all_positions,
    "after padding": _after_padding,
    "unlimited": _unlimited,
}


def wrap_model(net: Any, tokenizer: Any, *, source: str = "a model in memory") -> Model:
    """Return a Model around a transformers network and tokenizer that are already in memory.

    The layout is read from the network's config and checked with a forward pass over three tokens. Raises ModelError
    for an unknown family, for a network that is not built as its family says, and for weights that are no numbers.
    """
    config: Mapping[str, Any] = net.config.to_dict()
    model = Model(net, tokenizer, read_layout(config), source)
    _check_finite(model)
    _check_layout(model)
    return model


@torch.no_grad()
def _check_finite(model: Model) -> None:
    for name, parameter in model.net.named_parameters():
        if parameter.numel() and not torch.stack(parameter.aminmax()).isfinite().all():
            raise ModelError(
                f"the network's weight {name} is not finite",
                model.source,
                "It holds NaN or infinity: use an undamaged checkpoint.",
            )


@torch.no_grad()
def _check_layout(model: Model) -> None:
    """Run three tokens through and see that blocks, down projections and head are where the family says."""
    tokens = torch.arange(3, device=model.device).remainder(model.net.config.vocab_size)[None]
    with quiet(), frozen(model.net), watched_calls(model.blocks) as blocks, watched_calls(model.downs) as downs:
        logits = model.read(tokens, tokens if model.encoder_decoder else None).logits
    if not torch.isfinite(logits).all():
        raise ModelError(
            "the network's output is not finite", model.source, "Its weights or its precision do not hold it."
        )
    _check_downs(model, downs)
    if [call.module for call in blocks] != list(model.blocks):
        raise _mismatch(model, f"{len(blocks)} calls of blocks, not each of {len(model.blocks)} in turn")
    for layer in range(1, len(blocks)):
        if not torch.equal(blocks[layer - 1].given, blocks[layer].taken):
            raise _mismatch(model, f"something changes the hidden states between layers {layer - 1} and {layer}")
    with torch.no_grad(), frozen(model.net):
        again = model.logits(blocks[-1].given)
    if not torch.allclose(again.reshape(logits.shape), logits, rtol=1e-3, atol=1e-3):
        raise _mismatch(model, "the head, applied to the last block's output, does not give the network's logits")


def _check_downs(model: Model, calls: Sequence[Seen]) -> None:
    layout = model.layout
    for layer, down in enumerate(model.downs):
        shapes = [tuple(call.taken.shape) for call in calls if call.module is down]
        if layout.n_experts:
            rows, _ = model._value_rows(layer, [])
            if rows.shape[:-1] != (layout.n_experts, layout.expert_width):
                raise _mismatch(model, f"layer {layer} has experts of shape {tuple(rows.shape)}")
        elif any(shape[-1] != layout.ffn_width or prod(shape) != 3 * layout.ffn_width for shape in shapes):
            raise _mismatch(
                model, f"layer {layer}'s down projection took {shapes}, not one input of {layout.ffn_width}"
            )
    if [call.module for call in calls] != list(model.downs):
        raise _mismatch(model, f"{len(calls)} calls of down projections, not each of {len(model.downs)} in turn")


def _mismatch(model: Model, what: str) -> ModelError:
    return ModelError(
        f"the network is not laid out as family {model.layout.model_type!r} says: {what}",
        model.source,
        "knedit cannot attribute or edit a network that it reads wrongly; please report the model.",
    )

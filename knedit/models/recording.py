"""One base pass, recorded: every block's call as the network made it, so that it can be made again with other rows.

That makes replay independent of the architecture: a block is called again exactly as the network called it. Knows no
experiments.

Shapes: B prompts, T tokens, Q recorded tokens (from `start` on), D hidden, F neurons.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache

from knedit.models.experts import opened_experts
from knedit.models.hooks import first_input, first_output, lent_forward
from knedit.models.model import Model

# Arguments of a block that are the same for all prompts, whatever their first dimension is: DeBERTa's.
_SHARED = ("rel_embeddings",)


@dataclass(slots=True)
class Call:
    """One block's call: hidden states [B, Q, D], the other arguments, the keys and values of the tokens before.

    `attention` is what the attention sub-layer returned, `projected` what its query, key and value matrices gave.
    """

    hidden: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    prefix: tuple[Tensor, Tensor] | None = None
    attention: Any = None
    projected: list[Tensor] = field(default_factory=list)


@dataclass(slots=True)
class Recording:
    """The calls of all blocks, what each down projection took ([B, Q, F], flat in some), each block's output.

    Where sites were named, `neurons` are those there alone, [B, F]. `rests` is what blocks return beside it, if they
    return tuples.
    """

    calls: list[Call] = field(default_factory=list)
    neurons: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    rests: list[tuple[Any, ...]] = field(default_factory=list)


class Prefix(DynamicCache):
    """A cache that puts the recorded prefix of each row's prompt before the row's own keys and values."""

    def __init__(self, keys: Tensor, values: Tensor, prompts: Tensor) -> None:
        super().__init__()
        self._recorded = keys, values
        self._prompts = prompts

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        keys, values = (take(recorded, self._prompts) for recorded in self._recorded)
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        del layer_idx
        return int(self._recorded[0].shape[-2])


@torch.no_grad()
def record(
    model: Model,
    tokens: Tensor,
    *,
    mask: Tensor | None,
    context: Tensor | None,
    start: int,
    sites: Tensor | None = None,
) -> Recording:
    """Run the network's blocks as it runs them itself, and note what concerns the tokens from `start` on.

    `context` [B, S] is what an encoder reads; then `start` is 0, as it is in a masked model. With `sites` [B], one of
    all tokens in each row, neurons are noted there alone, and what attention gave is not: they are most of the memory.
    """
    if model.masked or model.encoder_decoder:
        assert mask is None, "these models' prompts are of one length"
        assert start == 0, "these models' tokens are all replayed"
        recording = Recording()
        with _Notes(recording, sites).taken(model):
            model.run(tokens, context, **({"use_cache": False} if model.encoder_decoder else {}))
        return recording
    cache = DynamicCache()
    whole = Recording()
    with _Notes(whole, sites).taken(model):
        model.run(tokens, **_causal_arguments(cache, mask, slice(0, tokens.shape[1])))
    layers: Sequence[Any] = cache.layers
    prefixes = [(layer.keys[..., :start, :], layer.values[..., :start, :]) for layer in layers]
    recording = _narrowed(model, whole, tokens, mask, prefixes) if start else whole
    if start:
        recording.neurons = whole.neurons
    if start and sites is None:  # those at sites are noted there alone
        recording.neurons = [own.reshape(len(tokens), -1, own.shape[-1])[:, start:] for own in whole.neurons]
    for call, prefix in zip(recording.calls, prefixes, strict=True):
        call.prefix = prefix
    return recording


def _narrowed(
    model: Model, whole: Recording, tokens: Tensor, mask: Tensor | None, prefixes: Sequence[tuple[Tensor, Tensor]]
) -> Recording:
    """Return a recording of the tokens behind the prefixes, as the network calls its blocks for these alone.

    For the calls' other arguments it is run again, its blocks lent what they gave already.
    """
    start = prefixes[0][0].shape[-2]
    narrow = Recording(outputs=[output[:, start:].clone() for output in whole.outputs])  # the other tokens' are let go
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(prefixes):
        cache.update(keys, values, layer)
    with ExitStack() as lending:
        for block in dict.fromkeys(model.blocks):

            def give(_: Any, *args: Any, **kwargs: Any) -> Any:
                del args, kwargs
                layer = len(narrow.calls) - 1
                return (narrow.outputs[layer], *whole.rests[layer]) if whole.rests else narrow.outputs[layer]

            lending.enter_context(lent_forward(block, give))
            lending.callback(block.register_forward_pre_hook(_Notes(narrow).call, with_kwargs=True).remove)
        model.run(tokens[:, start:], **_causal_arguments(cache, mask, slice(start, tokens.shape[1])))
    for call, wide in zip(narrow.calls, whole.calls, strict=True):
        attention = first_output(wide.attention)[:, start:] if wide.attention is not None else None
        tail = len(wide.attention) - 1 if isinstance(wide.attention, tuple) else None
        call.attention = attention if tail is None else (attention, *(None,) * tail)
    return narrow


def call_block(block: nn.Module, call: Call, hidden: Tensor, prompts: Tensor, **changed: Any) -> Tensor:
    """Call a block as the network called it, with other rows of hidden states [R, Q, D] of the prompts [R]."""
    kwargs = {name: _fitted(value, call, prompts, name) for name, value in call.kwargs.items()} | changed
    return first_output(block(hidden, *_fitted(call.args, call, prompts), **kwargs))


def _fitted(value: Any, call: Call, prompts: Tensor, name: str = "") -> Any:
    """Return one recorded argument for other rows of the prompts [R].

    It is no function inside `call_block`: calling itself it would be part of a cycle, and a base pass with it, until
    the garbage is collected.
    """
    batch = len(call.hidden)
    if name in _SHARED:
        return value
    if name == "alibi" and isinstance(value, Tensor) and value.ndim == 3:  # [B × heads, 1, T]
        return take(value.reshape(batch, -1, *value.shape[1:]), prompts).flatten(0, 1)
    if isinstance(value, Cache):
        assert call.prefix is not None
        return Prefix(*call.prefix, prompts)
    if isinstance(value, Tensor):
        return take(value, prompts) if batch > 1 and value.ndim > 1 and len(value) == batch else value
    if isinstance(value, tuple):
        return tuple(_fitted(part, call, prompts) for part in value)
    return value


def take(recorded: Tensor, prompts: Tensor) -> Tensor:
    """Return the recorded rows [B, …] of the prompts [R] as [R, …]; one prompt's row is shared, not copied."""
    if len(recorded) == 1:
        return recorded.expand(len(prompts), *recorded.shape[1:])
    return recorded[prompts.to(recorded.device)]


def at_sites(rows: Tensor, sites: Tensor) -> Tensor:
    """Return what rows [B, T, …] hold at one token of each, [B, …]."""
    return rows[torch.arange(len(rows), device=rows.device), sites.to(rows.device)]


class _Notes:
    """Hooks that note the calls of blocks and their parts, in the order in which they are made."""

    def __init__(self, recording: Recording, sites: Tensor | None = None) -> None:
        self._recording = recording
        self._sites = sites

    @contextmanager
    def taken(self, model: Model) -> Iterator[None]:
        """Take notes while the body runs."""
        family = model.layout.family
        with ExitStack() as hooks:
            if model.layout.n_experts:
                hooks.enter_context(opened_experts(model.downs, self._experts))
            for block in dict.fromkeys(model.blocks):
                down = block.get_submodule(family.down)
                handles = [
                    block.register_forward_pre_hook(self.call, with_kwargs=True),
                    block.register_forward_hook(self._output),
                    *([] if model.layout.n_experts else [down.register_forward_pre_hook(self._neurons)]),
                ]
                if self._sites is None:
                    parts = [block.get_submodule(path) for path in family.qkv]
                    handles += [part.register_forward_hook(self._projected) for part in parts]
                if self._sites is None and family.attention:
                    handles.append(block.get_submodule(family.attention).register_forward_hook(self._attention))
                for handle in handles:
                    hooks.callback(handle.remove)
            yield

    def call(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = first_input(args, kwargs)
        rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        self._recording.calls.append(Call(hidden, args[1:] if args else (), rest))

    def _output(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        self._recording.outputs.append(first_output(output))
        if isinstance(output, tuple):
            self._recording.rests.append(output[1:])

    def _neurons(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        self._note(args[0])

    def _experts(self, _: nn.Module, activations: Tensor) -> Tensor:
        self._note(activations)
        return activations

    def _note(self, neurons: Tensor) -> None:
        if self._sites is not None:
            neurons = at_sites(neurons.reshape(len(self._sites), -1, neurons.shape[-1]), self._sites)
        self._recording.neurons.append(neurons)

    def _attention(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        self._recording.calls[-1].attention = output

    def _projected(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        self._recording.calls[-1].projected.append(output)


def _causal_arguments(cache: Cache, mask: Tensor | None, part: slice) -> dict[str, Any]:
    """Return what the network must be told beside some of its tokens: earlier keys and values, what to look at."""
    arguments: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
    if mask is not None:
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        arguments |= {"attention_mask": mask[:, : part.stop], "position_ids": places[:, part]}
    return arguments

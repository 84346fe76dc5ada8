"""Replay: what the network would say if one layer's neurons had other values, at the least work that is exact.

A base pass records every block's call as the network made it. A probe then calls only the blocks from the changed
layer upward, in one growing batch over all layers, and in a causal model only the tokens from the changed position on,
against the recorded keys and values of the prefix. Knows no attribution: it gives probabilities and their gradients.
Source: the gradients are those of Dai et al. (ACL 2022, section 3.2); the replay is knedit's own.

Shapes: B prompts of one length, T tokens, Q replayed tokens, R rows (experiments), L layers, F neurons, D hidden.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache

from knedit.models.experts import opened_experts
from knedit.models.hooks import first_input, first_output, frozen
from knedit.models.model import Model

DEFAULT_MEMORY = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Rows:
    """Experiments on one layer: `values` [R, F] take the neurons' place in the prompts numbered by `prompts` [R]."""

    prompts: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class Answers:
    """What experiments gave: the answer's `probability` [R] and its gradient by the neurons' values [R, F], float32."""

    probability: Tensor
    gradient: Tensor | None


@dataclass(slots=True)
class _Call:
    """One block's call as the network made it: hidden states [B, Q, D], the other arguments, keys and values before."""

    hidden: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    prefix: tuple[Tensor, Tensor] | None = None


class _Prefix(DynamicCache):
    """A cache that puts the recorded prefix of each row's prompt before the row's own keys and values."""

    def __init__(self, keys: Tensor, values: Tensor, prompts: Tensor) -> None:
        super().__init__()
        self._recorded = keys, values
        self._prompts = prompts

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        keys, values = (_spread(recorded, self._prompts) for recorded in self._recorded)
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        del layer_idx
        return int(self._recorded[0].shape[-2])


class Replay:
    """The base pass of B prompts, and experiments on it.

    `tokens` [B, T]; where a causal model's prompts differ in length they stand at the right, and `mask` [B, T] is 0
    on what fills the left, which the network then never looks at. `position` is the token at which neurons are
    changed, `answer_position` (≥ `position` in a causal model) the token whose output must predict `answers` [B].
    `context` [B, S] is what an encoder reads; then the tokens are the decoder's, all of which are replayed.
    After construction `activations` [L, B, F] holds the neurons' own values at `position`, and `probability` [B] the
    answers' probabilities, both in float32.
    """

    def __init__(
        self,
        model: Model,
        tokens: Tensor,
        *,
        position: int,
        answer_position: int,
        answers: Tensor,
        mask: Tensor | None = None,
        context: Tensor | None = None,
    ) -> None:
        self.model = model
        self.answers = answers
        causal = not model.masked
        if causal:
            assert position <= answer_position, "a causal model's answer does not look at later tokens"
            tokens = tokens[:, : answer_position + 1]
        self._start = position if causal and not model.encoder_decoder else 0
        self._position = position - self._start
        self._answer_position = answer_position - self._start
        with torch.no_grad(), frozen(model.net):
            self._calls, inputs, logits = _record(model, tokens, mask, start=self._start, context=context)
            self.activations = torch.stack([x[:, self._position] for x in inputs]).float()
            self.probability = _probability(logits[:, self._answer_position], answers)

    def probe(
        self, experiments: Mapping[int, Rows], *, gradients: bool = True, memory: int = DEFAULT_MEMORY
    ) -> dict[int, Answers]:
        """Return what each layer's experiments give, rows in the order given.

        All layers share one walk up the blocks, cut into as many walks as `memory` bytes ask for. Raises no error of
        its own; the network is left as it was.
        """
        found: dict[int, list[Answers]] = {layer: [] for layer in experiments}
        with torch.set_grad_enabled(gradients), frozen(self.model.net):
            for chunk in self._chunks(experiments, memory):
                for layer, answers in self._walk(chunk, gradients=gradients).items():
                    found[layer].append(answers)
        return {layer: _join(parts) for layer, parts in found.items()}

    def _chunks(self, experiments: Mapping[int, Rows], memory: int) -> Iterator[dict[int, Rows]]:
        """Deal the experiments out, lower layers first, so that no chunk needs more than `memory` bytes."""
        chunk: dict[int, Rows] = {}
        left = memory
        for layer in sorted(experiments):
            rows = experiments[layer]
            taken = 0
            while taken < len(rows.prompts):
                fit = max(left // self._row_bytes(layer), 0 if chunk else 1)
                if fit == 0:
                    yield chunk
                    chunk, left = {}, memory
                    continue
                part = slice(taken, taken + fit)
                chunk[layer] = Rows(rows.prompts[part], rows.values[part])
                left -= len(chunk[layer].prompts) * self._row_bytes(layer)
                taken += fit
        if chunk:
            yield chunk

    def _row_bytes(self, layer: int) -> int:
        """Estimate what one experiment on a layer keeps for the backward pass: activations, prefix copies, logits."""
        call = self._calls[layer]
        hidden = call.hidden.shape[-2] * call.hidden.shape[-1]
        width = call.hidden.shape[-2] * self.model.layout.ffn_width
        prefix = 2 * call.prefix[0][0].numel() if call.prefix else 0
        vocabulary = 3 * self.model.net.config.vocab_size
        blocks = self.model.layout.n_layers - layer
        return int(call.hidden.element_size() * (blocks * (14 * hidden + 4 * width + 2 * prefix) + vocabulary))

    def _walk(self, chunk: Mapping[int, Rows], *, gradients: bool) -> dict[int, Answers]:
        """Walk up the blocks once: the rows of lower layers pass through, each layer's own rows join."""
        leaves = {layer: rows.values.to(self._calls[0].hidden.dtype).detach() for layer, rows in chunk.items()}
        if gradients:
            for leaf in leaves.values():
                leaf.requires_grad_()
        prompts, hidden = self._climb(chunk, leaves)
        probability = _probability(self.model.logits(hidden), self.answers[prompts])
        grads: Sequence[Tensor | None] = [None] * len(leaves)
        if gradients:
            grads = torch.autograd.grad(probability.sum(), list(leaves.values()))
        counts = [len(rows.prompts) for rows in chunk.values()]
        shares = torch.split(probability.detach(), counts)
        return {
            layer: Answers(share, None if grad is None else grad.float())
            for layer, share, grad in zip(chunk, shares, grads, strict=True)
        }

    def _climb(self, chunk: Mapping[int, Rows], leaves: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the rows' prompts [R] and what the last block puts out at the answer's position, [R, D]."""
        first = min(chunk)
        prompts = torch.empty(0, dtype=torch.long, device=self.model.device)
        hidden = self._calls[first].hidden[:0]
        layer = first

        def plant(x: Tensor) -> Tensor:
            if layer not in leaves:
                return x
            leaf = leaves[layer].to(x.dtype)
            old, rows = len(prompts) - len(leaf), x.reshape(len(prompts), -1, x.shape[-1])
            if rows.shape[1] == 1:
                return torch.cat([rows[:old], leaf[:, None]]).reshape(x.shape)
            rows = rows.clone()
            rows[old:, self._position] = leaf
            return rows.reshape(x.shape)

        with _neurons_seen(self.model, plant):
            for layer in range(first, len(self._calls)):
                call = self._calls[layer]
                if layer in chunk:
                    prompts = torch.cat([prompts, chunk[layer].prompts])
                    hidden = torch.cat([hidden, call.hidden[chunk[layer].prompts]])
                hidden = _call_block(self.model.blocks[layer], call, hidden, prompts)
        return prompts, hidden[:, self._answer_position]


@contextmanager
def _neurons_seen(model: Model, see: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let `see` note or replace what every down projection takes in, [B, Q, F] or [B × Q, F], in order of calls."""
    if model.layout.n_experts:
        with opened_experts(model.downs, lambda _, x: see(x)):
            yield
        return

    def pre(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (see(args[0]), *args[1:])

    with ExitStack() as hooks:
        for down in dict.fromkeys(model.downs):
            hooks.callback(down.register_forward_pre_hook(pre).remove)
        yield


def _record(
    model: Model, tokens: Tensor, mask: Tensor | None, *, start: int, context: Tensor | None
) -> tuple[list[_Call], list[Tensor], Tensor]:
    """Run the network as it runs itself; return its calls, the down projections' inputs, and the logits [B, Q, V]."""
    arguments: dict[str, Any] = {"use_cache": False} if model.encoder_decoder else {}
    cache = None
    if not model.masked and not model.encoder_decoder:
        cache = DynamicCache()
        if start:
            model.net(tokens[:, :start], **_causal_arguments(cache, mask, slice(0, start)))
        arguments = _causal_arguments(cache, mask, slice(start, tokens.shape[1]))
    else:
        assert mask is None, "these models' prompts are of one length"
    calls: list[_Call] = []
    inputs: list[Tensor] = []

    def note_call(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = first_input(args, kwargs)
        rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        calls.append(_Call(hidden, args[1:] if args else (), rest))

    def note_input(x: Tensor) -> Tensor:
        inputs.append(x.reshape(len(tokens), -1, x.shape[-1]))
        return x

    with ExitStack() as hooks:
        for block in dict.fromkeys(model.blocks):
            hooks.callback(block.register_forward_pre_hook(note_call, with_kwargs=True).remove)
        hooks.enter_context(_neurons_seen(model, note_input))
        logits = model.read(tokens[:, start:], context, **arguments).logits
    if cache is not None:
        recorded: Sequence[Any] = cache.layers
        for call, layer in zip(calls, recorded, strict=True):
            call.prefix = layer.keys[..., :start, :], layer.values[..., :start, :]
    return calls, inputs, logits


def _causal_arguments(cache: Cache, mask: Tensor | None, part: slice) -> dict[str, Any]:
    """Return what the network must be told beside some of its tokens: earlier keys and values, what to look at."""
    arguments: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
    if mask is not None:
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        arguments |= {"attention_mask": mask[:, : part.stop], "position_ids": places[:, part]}
    return arguments


def _call_block(block: nn.Module, call: _Call, hidden: Tensor, prompts: Tensor) -> Tensor:
    """Call a block as the network called it, with other rows of hidden states [R, Q, D]."""
    batch = len(call.hidden)

    def fit(value: Any, name: str = "") -> Any:
        if name == "alibi" and isinstance(value, Tensor) and value.ndim == 3:
            return _spread(value.reshape(batch, -1, *value.shape[1:]), prompts).flatten(0, 1)
        if name == "rel_embeddings":
            return value
        if isinstance(value, Cache):
            assert call.prefix is not None
            return _Prefix(*call.prefix, prompts)
        if isinstance(value, Tensor):
            return value[prompts] if batch > 1 and value.ndim > 1 and len(value) == batch else value
        if isinstance(value, tuple):
            return tuple(fit(part) for part in value)
        return value

    output = block(hidden, *fit(call.args), **{name: fit(value, name) for name, value in call.kwargs.items()})
    return first_output(output)


def _spread(recorded: Tensor, prompts: Tensor) -> Tensor:
    return recorded.expand(len(prompts), *recorded.shape[1:]) if len(recorded) == 1 else recorded[prompts]


def _probability(logits: Tensor, answers: Tensor) -> Tensor:
    """Return the softmax probability of each row's answer token: [R, V], [R] → [R], in float32."""
    return logits.float().log_softmax(-1).gather(-1, answers[:, None])[:, 0].exp()


def _join(parts: Sequence[Answers]) -> Answers:
    gradients = [part.gradient for part in parts if part.gradient is not None]
    return Answers(torch.cat([part.probability for part in parts]), torch.cat(gradients) if gradients else None)

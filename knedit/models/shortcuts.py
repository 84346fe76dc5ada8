"""What a replayed block need not compute: lent parts that give recorded results where nothing can have changed.

* A layer's own rows join after its attention, which has not changed: attention gives what it gave, and of the FFN
  only the down projection runs, at the changed tokens alone.
* In the block above, only the changed tokens' queries, keys and values are new.
* The last block's output is wanted at one token alone, which looks at the keys and values of all.

Knows no probabilities and no gradients. Shapes: B prompts, R rows, T tokens, P changed tokens a row, D hidden.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from knedit.models.experts import opened_experts
from knedit.models.hooks import first_output, lent_forward
from knedit.models.model import Model
from knedit.models.recording import Call, call_block, take


@dataclass(frozen=True, slots=True)
class Place:
    """Rows of the prompts [R] that differ from the recording at `positions` [R, P]."""

    prompts: Tensor
    positions: Tensor

    def pick(self, states: Tensor) -> Tensor:
        """Return what stands at the positions: states [R, T, D] → [R, P, D]."""
        if states.shape[1] == self.positions.shape[1] == 1:
            return states
        return states[self._rows(states), self.positions.to(states.device)]

    def put(self, states: Tensor, changed: Tensor) -> Tensor:
        """Return the states [R, T, D] with other ones [R, P, D] at the positions."""
        if states.shape[1] == self.positions.shape[1] == 1:
            return changed
        return states.index_put((self._rows(states), self.positions.to(states.device)), changed)

    def _rows(self, states: Tensor) -> Tensor:
        return torch.arange(len(states), device=states.device)[:, None]


@dataclass(slots=True)
class _Join:
    """What the parts answer while rows join: the attention's result, and the neurons' values at `place` or at all."""

    attention: Any
    values: Tensor
    place: Place | None


@dataclass(slots=True)
class _Fresh:
    place: Place
    projected: list[Tensor]


class _AllTokens(DynamicCache):
    """A cache that answers with the keys and values of all tokens, whatever tokens the block was called with."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self._all = keys, values

    def update(self, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self._all


class Shortcuts:
    """A network's blocks with lent parts; while they are lent, the blocks are called through this alone."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._family = model.layout.family
        self._join: _Join | None = None
        self._fresh: _Fresh | None = None
        self._watch: Callable[[Tensor], None] | None = None

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Lend the network its parts while the body runs; afterwards it is as it was, also when the body raises."""
        family = self._family
        with ExitStack() as lending:
            if self._model.layout.n_experts:
                lending.enter_context(opened_experts(self._model.downs, self._replace))
            for block in dict.fromkeys(self._model.blocks):
                down = block.get_submodule(family.down)
                parts: list[tuple[str, Callable[..., Any]]] = [
                    (path, partial(self._project, number)) for number, path in enumerate(family.qkv)
                ]
                if family.attention:
                    parts.append((family.attention, self._attend))
                if family.ffn:
                    parts.append((family.ffn, partial(self._feed, down)))
                elif family.neurons:
                    parts.append((family.neurons, self._activate))
                if not self._model.layout.n_experts:
                    lending.callback(down.register_forward_pre_hook(self._plant).remove)
                for path, part in parts:
                    lending.enter_context(lent_forward(block.get_submodule(path), part))
            yield

    def join(self, layer: int, call: Call, place: Place, values: Tensor) -> Tensor:
        """Return what a block puts out at the changed tokens, [R, P, D]; `values` [R, P, F] are its neurons there."""
        block = self._model.blocks[layer]
        try:
            if not self._family.attention:
                self._join = _Join(None, values, place)
                return place.pick(call_block(block, call, take(call.hidden, place.prompts), place.prompts))
            attention = place.pick(take(first_output(call.attention), place.prompts))
            rest = len(call.attention) - 1 if isinstance(call.attention, tuple) else None
            self._join = _Join(attention if rest is None else (attention, *(None,) * rest), values, None)
            hidden = place.pick(take(call.hidden, place.prompts))
            return first_output(block(hidden, *call.args, **call.kwargs))
        finally:
            self._join = None

    def rise(
        self,
        layer: int,
        call: Call,
        hidden: Tensor,
        prompts: Tensor,
        *,
        fresh: Place | None = None,
        answers: Tensor | None = None,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Return the block's output for rows of hidden states [R, T, D] that have changed below.

        `fresh` names the last rows, which differ from the recording at their positions alone; `answers` [R] the token
        at which each row's output is wanted, if it is wanted at one alone: then the output is [R, 1, D]. `watch` is
        shown the neurons, [R, T, F] or of the answers alone, in some families flat.
        """
        block = self._model.blocks[layer]
        self._watch = watch
        if fresh is not None and call.projected and hidden.shape[1] > 1:
            self._fresh = _Fresh(fresh, call.projected)
        try:
            if answers is None:
                return call_block(block, call, hidden, prompts)
            one = Place(prompts, answers[:, None])
            if hidden.shape[1] > 1 and self._family.answer_row:
                cache = _AllTokens(*self._keys_and_values(block, hidden))
                return call_block(block, call, one.pick(hidden), prompts, past_key_values=cache)
            return one.pick(call_block(block, call, hidden, prompts))
        finally:
            self._fresh = self._watch = None

    def _keys_and_values(self, block: nn.Module, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values [R, heads, T, head width] of all tokens, in a family of BERT's make."""
        width = block.get_submodule(f"{self._family.attention}.self").attention_head_size
        _, keys, values = (block.get_submodule(path) for path in self._family.qkv)
        shape = (*hidden.shape[:-1], -1, width)
        return keys(hidden).view(shape).transpose(1, 2), values(hidden).view(shape).transpose(1, 2)

    def _attend(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs) if self._join is None else self._join.attention

    def _feed(self, down: nn.Module, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._join is None:
            return original(*args, **kwargs)
        weight = down.get_parameter("weight")  # T5 keeps this one in single precision
        return down(self._join.values.to(weight.dtype if weight.is_floating_point() else self._join.values.dtype))

    def _activate(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._join is None:
            return original(*args, **kwargs)
        return self._join.values.reshape(*args[0].shape[:-1], -1)

    def _plant(self, down: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._replace(down, args[0]), *args[1:])

    def _replace(self, _: nn.Module, neurons: Tensor) -> Tensor:
        """Return what a down projection shall take instead of neurons [R, T, F], which some families flatten."""
        if self._join is None:
            if self._watch is not None:
                self._watch(neurons)
            return neurons
        values, place = self._join.values.to(neurons.dtype), self._join.place
        if place is None:
            return values.reshape(neurons.shape)
        rows = neurons.reshape(len(values), -1, neurons.shape[-1])
        return place.put(rows, values).reshape(neurons.shape)

    def _project(self, number: int, original: Callable[..., Any], states: Tensor) -> Any:
        """Project [R, T, D] → [R, T, D']; of the fresh rows, only the changed tokens."""
        if self._fresh is None or states.shape[1] == 1:
            return original(states)
        place, known = self._fresh.place, take(self._fresh.projected[number], self._fresh.place.prompts)
        old, new = states[: -len(place.prompts)], place.pick(states[-len(place.prompts) :])
        found = original(torch.cat([old.flatten(0, 1), new.flatten(0, 1)]))
        split = old.shape[0] * old.shape[1]
        fresh = place.put(known, found[split:].view(*new.shape[:2], found.shape[-1]))
        return torch.cat([found[:split].view(*old.shape[:2], found.shape[-1]), fresh])

"""Replay: what the network would say if one layer's neurons had other values, at the least work that is exact.

A base pass records every block's call as the network made it. A probe then calls only the blocks from the changed
layer upward, in one growing batch over all layers, and in a causal model only the tokens from the changed position on,
against the recorded keys and values of the prefix. Knows no attribution: it gives probabilities and their gradients.
Source: the gradients are those of Dai et al. (ACL 2022, section 3.2); the replay is knedit's own.

Shapes: B prompts, T tokens, Q replayed tokens, P changed tokens, R rows (experiments), L layers, F neurons, D hidden.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from knedit.errors import ModelError
from knedit.models.hooks import frozen
from knedit.models.model import Model
from knedit.models.recording import record, take
from knedit.models.shortcuts import Place, Shortcuts
from knedit.models.vocabulary import log_probability_of, probability_of

logger = logging.getLogger(__name__)

DEFAULT_MEMORY = 2 * 2**30
# The key, below all layers, of the rows that are the base pass itself.
BASE = -1


@dataclass(frozen=True, slots=True)
class Rows:
    """Experiments on one layer: `values` [R, P, F] take the neurons' place in the prompts numbered by `prompts` [R]."""

    prompts: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class Answers:
    """What experiments gave: the answer's `probability` [R] and its gradient by the values [R, P, F], float32."""

    probability: Tensor
    gradient: Tensor | None


class Replay:
    """The base pass of B prompts, and experiments on it.

    `tokens` [B, T]; where a causal model's prompts differ in length they stand at the right, and `mask` [B, T] is 0
    on what fills the left, which the network then never looks at. `context` [B, S] is what an encoder reads; then the
    tokens are the decoder's. `positions` [B, P] are the tokens at which neurons
    are changed, together; `answer_positions` [B] (in a causal model none before the prompt's positions) the tokens
    whose output must predict `answers` [B]. After construction `activations` [L, B, P, F] holds the neurons' own
    values at the positions and `probability` [B] the answers' probabilities; after a probe with `base`,
    `base_gradients` [L, B, P, F] holds those of the probability by the activations. All in float32.
    """

    def __init__(
        self,
        model: Model,
        tokens: Tensor,
        *,
        positions: Tensor,
        answer_positions: Tensor,
        answers: Tensor,
        mask: Tensor | None = None,
        context: Tensor | None = None,
    ) -> None:
        self.model = model
        self.answers = answers
        start = 0
        if not model.masked:
            assert bool((positions.amax(1) <= answer_positions).all()), "an answer does not look at later tokens"
            tokens = tokens[:, : int(answer_positions.max()) + 1]
            mask = None if mask is None else mask[:, : tokens.shape[1]]
            start = 0 if model.encoder_decoder else int(positions.min())
        self._shortcuts = Shortcuts(model)
        self._positions = positions - start
        self._answer_positions = answer_positions - start
        self.base_gradients: Tensor | None = None
        self._probability: Tensor | None = None
        with torch.no_grad(), frozen(model.net):
            self._recording = record(model, tokens, mask=mask, context=context, start=start)
            self._see()

    def probe(
        self,
        experiments: Mapping[int, Rows],
        *,
        gradients: bool = True,
        base: bool = False,
        memory: int = DEFAULT_MEMORY,
    ) -> dict[int, Answers]:
        """Return what each layer's experiments give, rows in the order given; with `base`, take `base_gradients` too.

        All layers share one walk up the blocks, cut into as many walks as `memory` bytes ask for; a walk for which the
        machine has no memory left is cut in halves, with a warning. Raises ModelError if one row is too many.
        """
        found: dict[int, list[Answers]] = {layer: [] for layer in experiments}
        with torch.set_grad_enabled(gradients), frozen(self.model.net), self._shortcuts.lent():
            waiting = list(self._chunks(experiments, _usable(memory))) or [{}]
            while waiting:
                chunk = waiting.pop(0)
                try:
                    answers = self._walk(chunk, gradients=gradients, base=base)
                except (torch.OutOfMemoryError, RuntimeError) as error:
                    if not _out_of_memory(error):
                        raise
                    answers = None
                if answers is None:
                    waiting[:0] = self._halves(chunk)
                    continue
                base = False
                for layer, answer in answers.items():
                    found[layer].append(answer)
        return {layer: _join(parts) for layer, parts in found.items()}

    def lens(self, layer: int, rows: Rows, *, memory: int = DEFAULT_MEMORY) -> Tensor:
        """Return the log-probability [R] of the answers that the head reads from one layer's own output.

        The layer's neurons take the rows' values at the positions; the last of these is read. No later layer runs.
        """
        width = rows.values.shape[1] * (self.model.layout.ffn_width + 6 * self._hidden_width)
        fit = max(1, memory // (4 * (width + 3 * self.model.net.config.vocab_size)))
        parts = []
        with torch.no_grad(), frozen(self.model.net), self._shortcuts.lent():
            for first in range(0, len(rows.prompts), fit):
                prompts = rows.prompts[first : first + fit]
                joined = self._joined(layer, prompts, rows.values[first : first + fit])
                parts.append(log_probability_of(self.model, joined[:, -1], self.answers[prompts]))
        return torch.cat(parts)

    @property
    def probability(self) -> Tensor:
        """The answers' probabilities [B], float32, which a probe with `base` gives on its way."""
        if self._probability is None:
            answer = Place(self._everyone, self._answer_positions[:, None]).pick(self._recording.outputs[-1])
            with torch.no_grad(), frozen(self.model.net):
                self._probability = probability_of(self.model, answer[:, 0], self.answers)
        return self._probability

    @property
    def precision(self) -> float:
        """The relative step between numbers as the blocks compute: 1.2e-7 in float32, 7.8e-3 in bfloat16."""
        return float(torch.finfo(self._recording.outputs[0].dtype).eps)

    @property
    def _hidden_width(self) -> int:
        return int(self._recording.outputs[0].shape[-1])

    def _see(self) -> None:
        """Read the activations off the base pass."""
        recording = self._recording
        place = Place(self._everyone, self._positions)
        self.activations = torch.stack(
            [place.pick(self._rows(seen)).float().to(self.answers.device) for seen in recording.neurons]
        )
        recording.neurons = []

    @property
    def _everyone(self) -> Tensor:
        return torch.arange(len(self.answers), device=self.answers.device)

    def _rows(self, neurons: Tensor) -> Tensor:
        """Return what a down projection took as [B, Q, F]."""
        return neurons.reshape(len(self.answers), -1, neurons.shape[-1])

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
        """Estimate the bytes that one experiment on a layer holds at most.

        They are: what each block above keeps for the backward pass,
        what one block and the head need for a moment, and the row's values and gradients.
        """
        call = self._recording.calls[layer]
        tokens, width = call.hidden.shape[-2], self.model.layout.ffn_width
        hidden = tokens * self._hidden_width
        seen = 2 * call.prefix[0][0].numel() if call.prefix else 0
        kept = (self.model.layout.n_layers - 1 - layer) * (6 * hidden + 4 * tokens * width + seen)
        brief = 4 * hidden + 4 * tokens * width + 2 * seen
        own = 4 * self._positions.shape[1] * width + 2 * self.model.net.config.vocab_size
        return int(call.hidden.element_size() * (kept + brief) + 4 * own)

    def _halves(self, chunk: dict[int, Rows]) -> list[dict[int, Rows]]:
        """Cut a chunk for which the memory did not do; raise ModelError if it is a single row."""
        rows = sum(len(part.prompts) for part in chunk.values())
        if rows == 1:
            raise ModelError(
                "the memory does not do for a single row",
                f"layer {next(iter(chunk))}, {self._recording.calls[0].hidden.shape[1]} tokens",
                "Free memory, shorten the prompt, or use a lower precision (--dtype bfloat16).",
            )
        logger.warning("Out of memory with %d rows at once; going on with half as many (see --memory).", rows)
        halves: list[dict[int, Rows]] = [{}, {}]
        room = rows // 2
        for layer, part in chunk.items():
            cut = min(room, len(part.prompts))
            room -= cut
            for half, piece in zip(halves, (slice(0, cut), slice(cut, None)), strict=True):
                if len(part.prompts[piece]):
                    half[layer] = Rows(part.prompts[piece], part.values[piece])
        return halves

    def _walk(self, chunk: Mapping[int, Rows], *, gradients: bool, base: bool) -> dict[int, Answers]:
        """Walk up the blocks once: the rows of lower layers pass through, each layer's own rows join.

        With `base`, the first rows are the base pass itself, whose neurons leave their gradients as these come back.
        """
        dtype = self._recording.outputs[0].dtype
        everyone = Rows(self._everyone, self.activations[0])
        asked = {BASE: everyone, **chunk} if base else chunk
        leaves = {key: rows.values.to(dtype).detach().requires_grad_(gradients) for key, rows in asked.items()}
        # views, since profilers that follow modules cannot take leaves for their inputs
        views = {key: leaf.view_as(leaf) for key, leaf in leaves.items()}
        prompts, hidden = self._climb(asked, views)
        probability = probability_of(self.model, hidden, self.answers[prompts])
        grads: Sequence[Tensor | None] = [None] * len(leaves)
        if gradients:
            grads = torch.autograd.grad(probability.sum(), list(leaves.values()))
        shares = torch.split(probability.detach(), [len(rows.prompts) for rows in asked.values()])
        found = {
            key: Answers(share, None if grad is None else grad.float())
            for key, share, grad in zip(asked, shares, grads, strict=True)
        }
        if base:
            own = found.pop(BASE)
            self._probability = own.probability
            if self.base_gradients is not None and own.gradient is not None:
                self.base_gradients[0] = own.gradient
        return found

    def _climb(self, asked: Mapping[int, Rows], leaves: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the rows' prompts [R] and what the last block puts out at the answers' positions, [R, D].

        Rows of the key BASE join in the first layer, with the neurons that they had.
        """
        last = self.model.layout.n_layers - 1
        base = BASE in asked
        prompts = self.answers.new_empty(0)
        hidden = self._recording.calls[0].hidden[:0]
        fresh: Place | None = None
        if base:
            self.base_gradients = torch.zeros_like(self.activations)
        for layer in range(max(min(asked), 0), last + 1):
            if len(prompts):
                hidden = self._shortcuts.rise(
                    layer,
                    self._recording.calls[layer],
                    hidden,
                    prompts,
                    fresh=fresh,
                    answers=self._answer_positions[prompts] if layer == last else None,
                    watch=partial(self._follow, layer, len(prompts)) if base else None,
                )
            joining = [key for key in ((BASE, 0) if layer == 0 else (layer,)) if key in asked]
            fresh = None
            if joining:
                entering = torch.cat([asked[key].prompts for key in joining])
                values = torch.cat([leaves[key] for key in joining])
                fresh, joined = self._entering(layer, entering, values, last=layer == last)
                hidden = torch.cat([hidden, joined]) if len(prompts) else joined
                prompts = torch.cat([prompts, entering])
        return prompts, hidden[:, 0]

    def _follow(self, layer: int, rows: int, neurons: Tensor) -> None:
        """Let the neurons of `rows` rows, the base pass first, leave its gradients behind on the way back."""

        def keep(gradient: Tensor) -> None:
            assert self.base_gradients is not None
            states = gradient.reshape(rows, -1, gradient.shape[-1])[: len(self.answers)]
            if states.shape[1] < self._recording.calls[layer].hidden.shape[1]:  # the answers' tokens alone
                same = self._positions == self._answer_positions[:, None]
                self.base_gradients[layer] = (states * same[..., None].to(states)).float()
            else:
                self.base_gradients[layer] = Place(self._everyone, self._positions).pick(states).float()

        if neurons.requires_grad:
            neurons.register_hook(keep)  # type: ignore[no-untyped-call]

    def _entering(self, layer: int, prompts: Tensor, values: Tensor, *, last: bool) -> tuple[Place, Tensor]:
        """Return a layer's own rows and what it puts out for them: [R, Q, D], or at the answers alone [R, 1, D]."""
        place = Place(prompts, self._positions[prompts])
        output = take(self._recording.outputs[layer], prompts)
        hidden = place.put(output, self._joined(layer, prompts, values))
        if last:
            hidden = Place(prompts, self._answer_positions[prompts][:, None]).pick(hidden)
        return place, hidden

    def _joined(self, layer: int, prompts: Tensor, values: Tensor) -> Tensor:
        place = Place(prompts, self._positions[prompts])
        return self._shortcuts.join(layer, self._recording.calls[layer], place, values)


def _usable(memory: int) -> int:
    """Return the part of a budget to fill with rows: the rest goes to results, and to what allocators keep."""
    return max(memory * 4 // 5 - 2**27, memory // 4)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _join(parts: Sequence[Answers]) -> Answers:
    gradients = [part.gradient for part in parts if part.gradient is not None]
    return Answers(torch.cat([part.probability for part in parts]), torch.cat(gradients) if gradients else None)

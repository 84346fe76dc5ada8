"""Scaling: what a network says when some neurons are multiplied by a factor at the tokens that predict its answer.

A base pass of many queries records every block's call; a run calls only the blocks from the lowest scaled layer
upward and, in a causal model, only the answer's tokens. Neurons of many layers are scaled at once, as the network goes
on: a neuron that fires otherwise because a lower one was scaled is scaled as it then fires. Knows no facts. Source: the
suppressed and amplified activations of Dai et al. (ACL 2022, section 4.2), which runs the whole network.

Shapes: B queries, T tokens, Q replayed tokens, R rows (trials), F neurons, D hidden.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from knedit.models.experts import opened_experts
from knedit.models.hooks import first_input, frozen
from knedit.models.model import Model
from knedit.models.planting import plantable
from knedit.models.prompting import Query
from knedit.models.recording import call_block, record, take

Place = tuple[int, int]  # layer, index
_ROWS = 64  # at once, in the blocks and in the vocabulary's table


@dataclass(frozen=True, slots=True)
class Trial:
    """One row: the query numbered so, with some neurons multiplied by a factor; without neurons, the query itself."""

    query: int
    neurons: tuple[Place, ...] = ()
    factor: float = 0.0


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a trial said: the whole answer's probability, whether each of its tokens was the argmax, its first argmax.

    `top` is the likeliest token where the answer begins.
    """

    probability: float
    correct: bool
    top: int


def speak(model: Model, queries: Sequence[Query], trials: Sequence[Trial]) -> list[Spoken]:
    """Return what each trial says, in their order; queries of different shapes are run apart."""
    groups = plantable(model, queries)
    group_of = {number: (group, row) for group, numbers in enumerate(groups) for row, number in enumerate(numbers)}
    found: dict[int, Spoken] = {}
    for group, numbers in enumerate(groups):
        own = [n for n, trial in enumerate(trials) if group_of[trial.query][0] == group]
        if own:
            scaling = Scaling(model, [queries[number] for number in numbers])
            rows = [Trial(group_of[trials[n].query][1], trials[n].neurons, trials[n].factor) for n in own]
            found |= dict(zip(own, scaling.run(rows), strict=True))
    return [found[number] for number in range(len(trials))]


def activations(model: Model, queries: Sequence[Query], places: Sequence[Place]) -> Tensor:
    """Return the neurons' activations [n, N] where each query's answer begins, in float32 on the CPU."""
    found = torch.zeros(len(queries), len(places))
    for numbers in plantable(model, queries):
        for first in range(0, len(numbers), _ROWS):
            some = numbers[first : first + _ROWS]
            found[some] = Scaling(model, [queries[number] for number in some]).activations(places)
    return found


@dataclass(slots=True)
class Visit:
    """The layer that is being called, and the factors [R, F] of its neurons, if it has any."""

    layer: int
    factors: Tensor | None


class Scaling:
    """The base pass of queries of one kind (see `plantable`), and runs on it.

    `listen`, where it is set, is told each called layer and its neurons [R, Q, F] before they are scaled.
    """

    def __init__(self, model: Model, queries: Sequence[Query]) -> None:
        whole = model.masked or model.encoder_decoder
        length = max(len(query.tokens) for query in queries)
        gaps = [length - len(query.tokens) for query in queries]
        assert not (whole and any(gaps)), "these models' texts are of one length"

        def tensor(numbers: object) -> Tensor:
            return torch.tensor(numbers, device=model.device)

        pairs = list(zip(gaps, queries, strict=True))
        firsts = [gap + query.positions[0] for gap, query in pairs]
        start = 0 if whole else min(firsts)
        self.model = model
        self.answers = [
            [(gap + place - start, token) for place, token in zip(query.positions, query.answers, strict=True)]
            for gap, query in pairs
        ]
        self.sites = torch.zeros(len(queries), length - start, dtype=torch.bool, device=model.device)
        for row, answer in enumerate(self.answers):
            self.sites[row, [place for place, _ in answer]] = True
        self.visit: Visit | None = None
        self.listen: Callable[[int, Tensor], None] | None = None
        self._rows_sites = self.sites
        with torch.no_grad(), frozen(model.net):
            self.recording = record(
                model,
                tensor([query.tokens[:1] * gap + query.tokens for gap, query in pairs]),
                mask=tensor([[0] * gap + [1] * len(query.tokens) for gap, query in pairs]) if any(gaps) else None,
                context=tensor([query.context for query in queries]) if model.encoder_decoder else None,
                start=start,
            )

    def activations(self, places: Sequence[Place]) -> Tensor:
        """Return the neurons' own activations where each answer begins, [B, N], in float32 on the CPU."""
        rows, firsts = range(len(self.answers)), [answer[0][0] for answer in self.answers]
        found = torch.zeros(len(self.answers), len(places))
        for number, (layer, index) in enumerate(places):
            seen = self.recording.neurons[layer]
            found[:, number] = seen.reshape(len(self.answers), -1, seen.shape[-1])[list(rows), firsts, index].float()
        return found

    @torch.no_grad()
    def run(self, trials: Sequence[Trial]) -> list[Spoken]:
        """Return what the trials say, in their order."""
        order = sorted(range(len(trials)), key=lambda n: min((layer for layer, _ in trials[n].neurons), default=-1))
        found: dict[int, Spoken] = {}
        with frozen(self.model.net), self.opened():
            for first in range(0, len(order), _ROWS):
                some = order[first : first + _ROWS]
                queries = [trials[number].query for number in some]
                hidden = self.climb(torch.tensor(queries, device=self.sites.device), self._factors(trials, some))
                found |= dict(zip(some, self.judged(hidden, queries), strict=True))
        return [found[number] for number in range(len(trials))]

    def climb(self, queries: Tensor, factors: Mapping[int, Tensor], *, last: int | None = None) -> Tensor:
        """Return what the block `last` (else the last one) puts out for the queries' rows [R] under factors [R, F].

        Gradients flow to the factors where they are asked for. Call it inside `opened`.
        """
        if not factors:
            return take(self.recording.outputs[-1], queries)
        lowest = min(factors)
        self._rows_sites = self.sites[queries]
        hidden = take(self.recording.calls[lowest].hidden, queries)
        for layer in range(lowest, (self.model.layout.n_layers if last is None else last + 1)):
            self.visit = Visit(layer, factors.get(layer))
            hidden = call_block(self.model.blocks[layer], self.recording.calls[layer], hidden, queries)
        self.visit = None
        return hidden

    def judged(self, hidden: Tensor, queries: Sequence[int]) -> list[Spoken]:
        """Return what the last block's output [R, Q, D] says of the queries' answers."""
        spots = [(row, place, token) for row, query in enumerate(queries) for place, token in self.answers[query]]
        said, best = self._told(hidden, spots)
        found, taken = [], 0
        for query in queries:
            count = len(self.answers[query])
            own = slice(taken, taken + count)
            right = all(top == token for top, (_, _, token) in zip(best[own], spots[own], strict=True))
            found.append(Spoken(float(said[own].sum().exp()), right, best[taken]))
            taken += count
        return found

    def _told(self, hidden: Tensor, spots: Sequence[tuple[int, int, int]]) -> tuple[Tensor, list[int]]:
        """Return the log-probability of each spot's token, in float64, and the likeliest token there."""
        parts: list[Tensor] = []
        best: list[int] = []
        for first in range(0, len(spots), _ROWS):
            some = spots[first : first + _ROWS]
            logits = self.model.logits(hidden[[row for row, _, _ in some], [place for _, place, _ in some]]).float()
            top = logits.amax(-1, keepdim=True)
            whole = (logits - top).exp_().sum(-1, dtype=torch.float64).log() + top[:, 0].double()
            own = logits[range(len(some)), [token for _, _, token in some]].double()
            parts.append((own - whole).cpu())
            best += logits.argmax(-1).tolist()
        return torch.cat(parts), best

    def _factors(self, trials: Sequence[Trial], some: Sequence[int]) -> dict[int, Tensor]:
        chosen: dict[int, tuple[list[int], list[int], list[float]]] = {}
        for row, number in enumerate(some):
            for layer, index in trials[number].neurons:
                rows, indices, factors = chosen.setdefault(layer, ([], [], []))
                rows.append(row)
                indices.append(index)
                factors.append(trials[number].factor)
        found = {}
        for layer, (rows, indices, factors) in chosen.items():
            table = torch.ones(len(some), self.model.layout.ffn_width, device=self.sites.device)
            table[rows, indices] = torch.tensor(factors, device=table.device)
            found[layer] = table
        return found

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hook the down projections while the body runs; the network is as it was afterwards."""
        with ExitStack() as hooks:
            if self.model.layout.n_experts:
                hooks.enter_context(opened_experts(self.model.downs, self._scale))
            else:
                for down in dict.fromkeys(self.model.downs):
                    hooks.callback(down.register_forward_pre_hook(self._take, with_kwargs=True).remove)
            try:
                yield
            finally:
                self.visit = None

    def _take(
        self, down: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        scaled = self._scale(down, first_input(args, kwargs))
        return ((scaled, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": scaled})

    def _scale(self, _: nn.Module, neurons: Tensor) -> Tensor:
        assert self.visit is not None
        rows = neurons.reshape(len(self._rows_sites), -1, neurons.shape[-1])
        if self.listen is not None:
            self.listen(self.visit.layer, rows)
        if self.visit.factors is None:
            return neurons
        sites = self._rows_sites.to(rows.device)[..., None]
        factors = self.visit.factors.to(rows.device, rows.dtype)[:, None]
        return torch.where(sites, rows * factors, rows).reshape(neurons.shape)

"""Planting: what a network says when numbers are added to what its down projections put out at one token of each text.

A base pass records every block's call; a run calls only the blocks from the lowest changed layer upward and, in a
causal model, only the tokens from the first site on, against the recorded keys and values of the prefix. Runs are
differentiable by what is planted. Knows no answers, no solvers and no editing. Source: the value search of Meng et
al. (ROME, NeurIPS 2022, section 3.1), which runs the whole network.

Shapes: B texts, T tokens, R rows, Q replayed tokens, F neurons, D hidden.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from knedit.models.experts import opened_experts
from knedit.models.hooks import first_input, frozen
from knedit.models.model import Model
from knedit.models.prompting import Query
from knedit.models.recording import Recording, at_sites, call_block, record, take


@dataclass(frozen=True, slots=True)
class Grown:
    """What a run gave: the last block's output [R, Q, D], and the down projections' inputs at the sites, [R, F]."""

    hidden: Tensor
    keys: Mapping[int, Tensor]


@dataclass(slots=True)
class _Visit:
    """The layer that is being called, the sites of its rows, and what is to be added there."""

    layer: int
    sites: Tensor
    offset: Tensor | None


class Planting:
    """The base pass of texts of one kind (see `plantable`), and runs on it.

    Each query's first neuron position is its site. `layers` are those whose keys are noted; `base` is the pass itself,
    nothing planted.
    """

    def __init__(self, model: Model, queries: Sequence[Query], layers: Sequence[int]) -> None:
        whole = model.masked or model.encoder_decoder
        length = max(len(query.tokens) for query in queries)
        gaps = [length - len(query.tokens) for query in queries]
        assert not (whole and any(gaps)), "these models' texts are of one length"

        def tensor(numbers: object) -> Tensor:
            return torch.tensor(numbers, device=model.device)

        rows = list(zip(gaps, queries, strict=True))
        tokens = tensor([query.tokens[:1] * gap + query.tokens for gap, query in rows])
        mask = tensor([[0] * gap + [1] * len(query.tokens) for gap, query in rows]) if any(gaps) else None
        context = tensor([query.context for query in queries]) if model.encoder_decoder else None
        sites = tensor([gap + site_of(query) for gap, query in rows])
        start = 0 if whole else int(sites.min())
        self.model = model
        self.layers = frozenset(layers)
        self.answers = [
            [(gap + place - start, token) for place, token in zip(query.positions, query.answers, strict=True)]
            for gap, query in rows
        ]
        self._sites = sites - start
        self._visit: _Visit | None = None
        self._seen: dict[int, Tensor] = {}
        with torch.no_grad(), frozen(model.net):
            recording = record(model, tokens, mask=mask, context=context, start=start, sites=sites)
        self.base = self._based(recording)
        self._calls = recording.calls

    def run(self, offsets: Mapping[int, Tensor], rows: Tensor | None = None) -> Grown:
        """Return what the texts numbered by `rows` [R] (all, if not given) become with offsets [D] or [R, D] a layer.

        Gradients flow to the offsets where they are asked for. Keys of layers below the first offset are not noted.
        """
        prompts = torch.arange(len(self.answers), device=self._sites.device) if rows is None else rows
        sites = self._sites[prompts]
        first = min(offsets)
        self._seen = {}
        with frozen(self.model.net), self._opened():
            hidden = take(self._calls[first].hidden, prompts)
            for layer in range(first, self.model.layout.n_layers):
                self._visit = _Visit(layer, sites, offsets.get(layer))
                hidden = call_block(self.model.blocks[layer], self._calls[layer], hidden, prompts)
        return Grown(hidden, self._seen)

    def stream_norms(self) -> Tensor:
        """Return how long the stream is at each text's site before the blocks of `layers`, their mean [B]."""
        calls = [self._calls[layer].hidden for layer in sorted(self.layers)]
        norms = [at_sites(hidden, self._sites).float().norm(dim=-1) for hidden in calls]
        return torch.stack([one.cpu() for one in norms]).mean(0)

    def _based(self, recording: Recording) -> Grown:
        """Return the base pass itself, nothing planted."""
        return Grown(recording.outputs[-1], {layer: recording.neurons[layer] for layer in sorted(self.layers)})

    @contextmanager
    def _opened(self) -> Iterator[None]:
        experts = bool(self.model.layout.n_experts)
        with ExitStack() as hooks:
            if experts:
                hooks.enter_context(opened_experts(self.model.downs, self._note))
            for down in dict.fromkeys(self.model.downs):
                if not experts:
                    hooks.callback(down.register_forward_pre_hook(self._take, with_kwargs=True).remove)
                hooks.callback(down.register_forward_hook(self._plant).remove)
            try:
                yield
            finally:
                self._visit = None

    def _take(self, down: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._note(down, first_input(args, kwargs))

    def _note(self, _: nn.Module, neurons: Tensor) -> Tensor:
        assert self._visit is not None
        if self._visit.layer in self.layers:
            rows = neurons.detach().reshape(len(self._visit.sites), -1, neurons.shape[-1])
            self._seen[self._visit.layer] = at_sites(rows, self._visit.sites)
        return neurons

    def _plant(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
        assert self._visit is not None
        offset = self._visit.offset
        if offset is None:
            return output
        rows = output.reshape(len(self._visit.sites), -1, output.shape[-1])
        places = (torch.arange(len(rows), device=rows.device), self._visit.sites.to(rows.device))
        added = offset.to(rows.device, rows.dtype).expand(len(rows), rows.shape[-1])
        return rows.index_put(places, added, accumulate=True).reshape(output.shape)


def site_of(query: Query) -> int:
    """Return the token at which a query's text may be changed: the last of its neurons' positions."""
    return (query.neurons or query.positions[:1])[-1]


def plantable(model: Model, queries: Sequence[Query]) -> list[list[int]]:
    """Return the numbers of queries in groups for one Planting each: a causal model's all, others' by their shape."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, query in enumerate(queries):
        shape = (len(query.tokens), len(query.context)) if model.masked or model.encoder_decoder else ()
        groups.setdefault(shape, []).append(number)
    return list(groups.values())


@torch.no_grad()
def keys_at_sites(
    model: Model, queries: Sequence[Query], layers: Sequence[int], *, batch: int = 64
) -> Mapping[int, Tensor]:
    """Return what the layers' down projections take at the queries' sites: [n, F] each, in the queries' order.

    A causal model reads no further than the site, and no network runs above the highest of the layers.
    """
    whole = model.masked or model.encoder_decoder
    asked = list(queries) if whole else [_cut(query) for query in queries]
    found = {layer: torch.zeros(len(asked), model.layout.ffn_width) for layer in layers}
    for group in plantable(model, asked):
        ranked = sorted(group, key=lambda number: len(asked[number].tokens))
        for first in range(0, len(ranked), batch):
            numbers = ranked[first : first + batch]
            sites = torch.tensor([site_of(asked[number]) for number in numbers])
            some = [asked[number] for number in numbers]
            for layer, keys in read_up_to(model, some, layers, keep=partial(at_sites, sites=sites)):
                found[layer][numbers] = keys.float().cpu()
    return found


def keys_at_answers(model: Model, queries: Sequence[Query]) -> Mapping[int, Tensor]:
    """Return what all layers' down projections take where answers are due, summed over an answer's tokens: [n, F] each.

    These are the scores of the attribution method `activation`, without the pass above that it takes.
    """
    places = [(number, place) for number, query in enumerate(queries) for place in query.positions]
    spots = [replace(queries[number], neurons=(place,)) for number, place in places]
    owners = torch.tensor([number for number, _ in places])
    keys = keys_at_sites(model, spots, range(model.layout.n_layers))
    return {layer: torch.zeros(len(queries), own.shape[1]).index_add(0, owners, own) for layer, own in keys.items()}


@torch.no_grad()
def keys_around_sites(model: Model, queries: Sequence[Query], layers: Sequence[int]) -> Mapping[int, Tensor]:
    """Return what the layers' down projections take at all other tokens of the queries but the first: [n, F] each.

    An edit of the site's subject should leave these tokens, which many prompts share, as they are.
    """
    found: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    whole = [query for query in queries if len(query.tokens) > 2]
    for query in whole:
        places = [place for place in range(1, len(query.tokens)) if place != site_of(query)]
        for layer, keys in read_up_to(model, [query], layers):
            found[layer].append(keys[0, places].float().cpu())
    none = torch.zeros(0, model.layout.ffn_width)
    return {layer: torch.cat(rows) if rows else none for layer, rows in found.items()}


class _EnoughError(Exception):
    """Ends a pass whose higher layers nobody asks for."""


def read_up_to(
    model: Model, queries: Sequence[Query], layers: Sequence[int], *, keep: Callable[[Tensor], Tensor] = Tensor.detach
) -> Iterator[tuple[int, Tensor]]:
    """Yield the layers with what their down projections take, [B, T, F]; shorter texts are filled up at the right.

    `keep` returns what is needed of it: that of all layers and tokens may be more than the network itself. No network
    runs above the highest of the layers.
    """
    length = max(len(query.tokens) for query in queries)
    rows = [query.tokens + query.tokens[-1:] * (length - len(query.tokens)) for query in queries]
    tokens = torch.tensor(rows, device=model.device)
    context = torch.tensor([query.context for query in queries], device=model.device) if model.encoder_decoder else None
    passed = count()
    seen: dict[int, Tensor] = {}

    def note(_: nn.Module, neurons: Tensor) -> Tensor:
        layer = next(passed)
        if layer in layers:
            seen[layer] = keep(neurons.reshape(len(rows), length, -1))
        if layer >= max(layers):
            raise _EnoughError
        return neurons

    def take_note(down: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        note(down, first_input(args, kwargs))

    with ExitStack() as hooks, frozen(model.net), suppress(_EnoughError):
        if model.layout.n_experts:
            hooks.enter_context(opened_experts(model.downs, note))
        else:
            for down in dict.fromkeys(model.downs):
                hooks.callback(down.register_forward_pre_hook(take_note, with_kwargs=True).remove)
        model.run(tokens, context, use_cache=False)
    for layer in layers:
        yield layer, seen[layer]


def _cut(query: Query) -> Query:
    site = site_of(query)
    return Query(query.tokens[: site + 1], query.answers[:1], (site,), neurons=(site,))

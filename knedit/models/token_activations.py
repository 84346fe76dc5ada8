"""What some neurons do at every token of texts: read off one pass of the network, nothing changed.

Knows no facts. Shapes: T tokens of a text, N neurons.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from knedit.models.experts import opened_experts
from knedit.models.hooks import first_input, frozen
from knedit.models.model import Model
from knedit.models.prompting import Query

Place = tuple[int, int]  # layer, index
_TOKENS, _FULL = 2048, 0.75  # of a batch: tokens at most, and the shortest text's share of the longest


@torch.no_grad()
def token_activations(model: Model, queries: Sequence[Query], places: Sequence[Place]) -> list[Tensor]:
    """Return the neurons' activations [T, N] at each token of each query, in float32 on the CPU.

    Of an encoder–decoder the tokens are the decoder's.
    """
    found: dict[int, Tensor] = {}
    for numbers in _batches(model, queries):
        rows = _read(model, [queries[number] for number in numbers], places)
        found |= {number: row[: len(queries[number].tokens)] for number, row in zip(numbers, rows, strict=True)}
    return [found[number] for number in range(len(queries))]


def _batches(model: Model, queries: Sequence[Query]) -> Iterator[list[int]]:
    """Yield the queries' numbers; a causal model's go together where they are about as long."""
    shapes: dict[tuple[int, ...], list[int]] = defaultdict(list)
    whole = model.masked or model.encoder_decoder
    for number in sorted(range(len(queries)), key=lambda number: -len(queries[number].tokens)):
        query = queries[number]
        shapes[(len(query.tokens), len(query.context)) if whole else ()].append(number)
    for numbers in shapes.values():
        batch: list[int] = []
        for number in numbers:
            longest = len(queries[batch[0]].tokens) if batch else 0
            full = (len(batch) + 1) * longest > _TOKENS or len(queries[number].tokens) < _FULL * longest
            if batch and full:
                yield batch
                batch = []
            batch.append(number)
        yield batch


def _read(model: Model, queries: Sequence[Query], places: Sequence[Place]) -> Tensor:
    """Return [B, T, N]; shorter texts are filled up at the right, where no token of theirs looks."""
    length = max(len(query.tokens) for query in queries)
    tokens = [query.tokens + query.tokens[-1:] * (length - len(query.tokens)) for query in queries]
    context = torch.tensor([query.context for query in queries], device=model.device) if model.encoder_decoder else None
    wanted: dict[int, list[int]] = defaultdict(list)
    for number, (layer, _) in enumerate(places):
        wanted[layer].append(number)
    found = torch.zeros(len(queries), length, len(places))
    calls = [0]

    def note(_: nn.Module, neurons: Tensor) -> Tensor:
        layer, calls[0] = calls[0], calls[0] + 1
        if layer in wanted:
            rows = neurons.reshape(len(queries), length, -1)
            found[..., wanted[layer]] = rows[..., [places[number][1] for number in wanted[layer]]].float().cpu()
        return neurons

    def take(down: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        note(down, first_input(args, kwargs))

    with ExitStack() as hooks, frozen(model.net):
        if model.layout.n_experts:
            hooks.enter_context(opened_experts(model.downs, note))
        else:
            for down in dict.fromkeys(model.downs):
                hooks.callback(down.register_forward_pre_hook(take, with_kwargs=True).remove)
        model.run(torch.tensor(tokens, device=model.device), context)
    return found

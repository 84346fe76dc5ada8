"""Read whole texts and return what a model says where their answers are due. Knows no edits and no objective.

Shapes: A answer tokens, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from knedit.models.hooks import frozen, watched_calls
from knedit.models.model import Model
from knedit.models.prompting import Query

_TOKENS = 1024  # of texts that are read together, filled up

Text = TypeVar("Text")


def batched(model: Model, texts: Sequence[Text], query_of: Callable[[Text], Query]) -> Iterator[list[Text]]:
    """Yield texts that are read together: a causal model's of any length, others' of one shape."""
    whole = model.masked or model.encoder_decoder
    shapes: dict[tuple[int, ...], list[tuple[int, Text]]] = {}
    for one in texts:
        length, context = len(query_of(one).tokens), len(query_of(one).context)
        shapes.setdefault((length, context) if whole else (), []).append((length, one))
    for some in shapes.values():
        batch: list[Text] = []
        for length, one in sorted(some, key=lambda pair: pair[0]):
            if batch and (len(batch) + 1) * length > _TOKENS:
                yield batch
                batch = []
            batch.append(one)
        if batch:
            yield batch


def read_spreads(model: Model, queries: Sequence[Query]) -> list[Tensor]:
    """Return the log-probabilities [A, V] of each text; short ones are filled up where none of their tokens looks."""
    longest = max(len(query.tokens) for query in queries)
    filled = [(*query.tokens, *query.tokens[-1:] * (longest - len(query.tokens))) for query in queries]
    tokens = torch.tensor(filled, device=model.device)
    context = torch.tensor([q.context for q in queries], device=model.device) if model.encoder_decoder else None
    with watched_calls(model.blocks[-1:]) as calls:
        model.run(tokens, context)
    hidden = calls[-1].given.reshape(len(queries), longest, -1)
    counts = [len(query.positions) for query in queries]
    rows = [row for row, count in enumerate(counts) for _ in range(count)]
    states = hidden[rows, [place for query in queries for place in query.positions]]
    return list(torch.split(model.logits(states).float().log_softmax(-1), counts))


@torch.no_grad()
def spreads_of(model: Model, queries: Sequence[Query]) -> list[Tensor]:
    """Return the log-probabilities [A, V] where each query's answer tokens are due, as the model is."""
    found: dict[int, Tensor] = {}
    numbers = range(len(queries))
    with frozen(model.net):
        for some in batched(model, numbers, queries.__getitem__):
            found |= dict(zip(some, read_spreads(model, [queries[number] for number in some]), strict=True))
    return [found[number] for number in numbers]


@torch.no_grad()
def answers_of(model: Model, queries: Sequence[Query]) -> list[tuple[float, bool]]:
    """Return the log-probability of each query's answer, and whether all its tokens are the likeliest, as the model is.

    No spread is kept: those of hundreds of prompts are more than the model.
    """
    found: dict[int, tuple[float, bool]] = {}
    numbers = range(len(queries))
    with frozen(model.net):
        for some in batched(model, numbers, queries.__getitem__):
            for number, spread in zip(some, read_spreads(model, [queries[n] for n in some]), strict=True):
                tokens = torch.tensor(queries[number].answers, device=spread.device)
                chances = spread.gather(1, tokens[:, None])[:, 0]
                found[number] = float(chances.sum()), bool((spread.argmax(1) == tokens).all())
    return [found[number] for number in numbers]

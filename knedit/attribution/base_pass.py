"""From queries to the base pass of one of their answer tokens: which may go together, and how they stand side by side.

Knows no methods and no scores.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from knedit.models.model import Model
from knedit.models.prompting import Query
from knedit.models.replay import Replay


def kind(model: Model, query: Query) -> tuple[int, ...]:
    """Return what queries must have in common to share a base pass."""
    neurons = query.neurons or query.positions[:1]
    whole = model.masked or model.encoder_decoder
    tail = len(query.tokens) if whole else query.positions[0] - min(neurons)
    return len(query.answers), len(neurons), tail, len(query.context)


def grouped(model: Model, queries: Sequence[Query], *, largest: int) -> list[list[int]]:
    """Return the numbers of queries that can share a base pass, at most `largest` together.

    Prompts of a masked model must be of one length, since nothing fills them up; of a causal model's, only what follows
    the first of their neurons.
    """
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, query in enumerate(queries):
        groups[kind(model, query)].append(number)
    return [
        numbers[first : first + largest] for numbers in groups.values() for first in range(0, len(numbers), largest)
    ]


def base_pass(model: Model, queries: Sequence[Query], place: int) -> Replay:
    """Record the base pass of one group for the answer token number `place`.

    A causal model's prompts end where they predict it and stand at the right.
    """
    ends = [query.positions[place] for query in queries]
    rows = [query.tokens if model.masked else query.tokens[: end + 1] for query, end in zip(queries, ends, strict=True)]
    length = max(map(len, rows))
    gaps = [length - len(row) for row in rows]
    changed = [
        [gap + token for token in query.neurons or (end,)] for gap, query, end in zip(gaps, queries, ends, strict=True)
    ]
    mask = [[0] * gap + [1] * len(row) for gap, row in zip(gaps, rows, strict=True)]

    def tensor(numbers: object) -> Tensor:
        return torch.tensor(numbers, device=model.device)

    return Replay(
        model,
        tensor([(row[0],) * gap + row for gap, row in zip(gaps, rows, strict=True)]),
        positions=tensor(changed),
        answer_positions=tensor([gap + end for gap, end in zip(gaps, ends, strict=True)]),
        answers=tensor([query.answers[place] for query in queries]),
        mask=tensor(mask) if any(gaps) else None,
        context=tensor([query.context for query in queries]) if model.encoder_decoder else None,
    )

"""Read value vectors in words: the tokens whose output embeddings they point to most, and least.

A token's logit is the inner product of the value vector with the token's own output embedding, as in Geva et al.,
"Transformer Feed-Forward Layers Build Predictions by Promoting Concepts in the Vocabulary Space" (EMNLP 2022): neither
the final norm, nor what else the head does on the way, nor a bias is applied. Knows no catalog.

Shapes: N neurons, D hidden, V vocabulary, K tokens of each end.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from knedit.models.model import Model
from knedit.models.token_texts import token_text

Place = tuple[int, int]  # layer, index
Rows = Callable[[int, int], Tensor]

_BYTES = 4  # of a float32
_LEAST = 64  # tokens at once: fewer would make the products slow


@dataclass(frozen=True, slots=True)
class Reading:
    """A neuron's (token, logit) pairs at both ends, the most extreme first; ties by the token's number."""

    place: Place
    top: tuple[tuple[str, float], ...]
    bottom: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Ends:
    """The K largest and the K smallest logits of N vectors: numbers of tokens [N, K] and logits [N, K], unsorted."""

    top: tuple[Tensor, Tensor]
    bottom: tuple[Tensor, Tensor]


@torch.no_grad()
def read_values(model: Model, places: Sequence[Place], *, top: int, memory: int) -> Iterator[list[Reading]]:
    """Yield the readings of the neurons, in their order, some at a time, so that `memory` bytes hold them.

    `top` is the number of tokens of each end. All is computed in float32. Raises ModelError where an output embedding
    is of another width than a value vector.
    """
    size, width = model.n_embeddings, model.output_embeddings(0, 1).shape[-1]
    tokens = max(min(_LEAST, size), min(size, memory // 4 // (_BYTES * width)))
    neurons = max(1, memory // 2 // (_BYTES * (width + 2 * tokens)))
    words = cache(partial(token_text, model))
    for first in range(0, len(places), neurons):
        some = places[first : first + neurons]
        ends = find_ends(_values(model, some), model.output_embeddings, size, top=top, tokens=tokens)
        yield [
            Reading(place, _told(ends.top, number, words, -1), _told(ends.bottom, number, words, 1))
            for number, place in enumerate(some)
        ]


def find_ends(values: Tensor, rows: Rows, size: int, *, top: int, tokens: int) -> Ends:
    """Return the extreme logits of values [N, D]; `rows` hands out `tokens` of the `size` embeddings at a time."""
    ends: Ends | None = None
    for first in range(0, size, tokens):
        embeddings = rows(first, min(first + tokens, size)).float()
        logits = values.to(embeddings.device) @ embeddings.T  # [N, n]
        numbers = torch.arange(first, first + len(embeddings), device=logits.device).expand_as(logits)
        found = Ends(_kept(numbers, logits, top, largest=True), _kept(numbers, logits, top, largest=False))
        ends = found if ends is None else _joined(ends, found, top)
    assert ends is not None, "a model has a vocabulary"
    return ends


def _joined(one: Ends, other: Ends, top: int) -> Ends:
    return Ends(
        _kept(*_beside(one.top, other.top), top, largest=True),
        _kept(*_beside(one.bottom, other.bottom), top, largest=False),
    )


def _beside(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat([one[0], other[0]], 1), torch.cat([one[1], other[1]], 1)


def _kept(numbers: Tensor, logits: Tensor, top: int, *, largest: bool) -> tuple[Tensor, Tensor]:
    found = logits.topk(min(top, logits.shape[1]), dim=1, largest=largest, sorted=False)
    return numbers.gather(1, found.indices), found.values


def _values(model: Model, places: Sequence[Place]) -> Tensor:
    """Return the neurons' value vectors [N, D] in float32, in the order of the neurons."""
    device = model.output_embeddings(0, 1).device
    by_layer: dict[int, list[int]] = {}
    for number, (layer, _) in enumerate(places):
        by_layer.setdefault(layer, []).append(number)
    values = torch.empty(len(places), model.output_embeddings(0, 1).shape[-1], device=device)
    for layer, numbers in by_layer.items():
        found = model.value_vectors(layer, [places[number][1] for number in numbers])
        values[numbers] = found.to(values)
    return values


def _told(
    end: tuple[Tensor, Tensor], row: int, words: Callable[[int], str], sign: int
) -> tuple[tuple[str, float], ...]:
    pairs = zip(end[0][row].tolist(), end[1][row].tolist(), strict=True)
    return tuple((words(token), logit) for token, logit in sorted(pairs, key=lambda one: (sign * one[1], one[0])))

"""What w0 is, from which a path to the activation w leads: nothing, the neuron's mean, or the prompt with words hidden.

`mask-token` follows Chen et al. (AAAI 2024), who integrate from every such baseline and average the integrals; knedit
averages the baselines and integrates once. Knows no integrals.

Shapes: L layers, B prompts, P positions changed together, F neurons.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from knedit.attribution.base_pass import base_pass, grouped
from knedit.errors import ModelError
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_plain
from knedit.models.replay import Replay
from knedit.starter.sentences import sentences

_AT_ONCE = 32

# Given a replay, its queries and the number of their answer token, return w0 [L, B, P, F].
Start = Callable[[Replay, Sequence[Query], int], Tensor]


def zero(model: Model, reference: Sequence[str] | None = None) -> Start:
    """Start from nothing."""
    del model, reference

    def start(replay: Replay, *_: object) -> Tensor:
        return torch.zeros_like(replay.activations)

    return start


def mean(model: Model, reference: Sequence[str] | None = None) -> Start:
    """Start from each neuron's mean over a text, which is read at once; None for the text that comes with knedit."""
    found = mean_activation(model, sentences() if reference is None else reference)

    def start(replay: Replay, *_: object) -> Tensor:
        return found[:, None, None].expand_as(replay.activations)

    return start


def mask_token(model: Model, reference: Sequence[str] | None = None) -> Start:
    """Start from the mean, over the words that the model reads, of the activation when that word is hidden.

    Raises ModelError where the model has no token to hide a word with, or there is none to hide.
    """
    del reference
    hider = _hider(model)

    def start(_: Replay, queries: Sequence[Query], place: int) -> Tensor:
        return torch.stack([_with_words_hidden(model, query, place, hider) for query in queries], dim=1)

    return start


BASELINES: Mapping[str, Callable[[Model, Sequence[str] | None], Start]] = {
    "zero": zero,
    "mean": mean,
    "mask-token": mask_token,
}


def mean_activation(model: Model, text: Sequence[str]) -> Tensor:
    """Return each neuron's mean over all tokens of some sentences but those that `encode_plain` leaves out, [L, F].

    Raises ModelError if no token is left.
    """
    read = [encode_plain(model, sentence) for sentence in text if sentence.strip()]
    queries = [query for query in read if query.neurons]
    if not queries:
        raise ModelError("the reference text has too few words for a mean", model.source, "Give it whole sentences.")
    totals = [
        base_pass(model, [queries[number] for number in numbers], 0).activations.sum((1, 2))
        for numbers in grouped(model, queries, largest=_AT_ONCE)
    ]
    return torch.stack(totals).sum(0) / sum(len(query.neurons or ()) for query in queries)


def _with_words_hidden(model: Model, query: Query, place: int, hider: int) -> Tensor:
    """Return one query's mean activations [L, P, F] over its words, each hidden in turn."""
    special = set(model.tokenizer.all_special_ids)
    read = query.tokens if model.masked else query.tokens[: query.positions[place] + 1]
    words = [number for number, token in enumerate(read) if token not in special]
    if not words:
        raise ModelError("the prompt has no word to hide", f"tokens {query.tokens}", "Choose another baseline.")
    hidden = [replace(query, tokens=(*query.tokens[:j], hider, *query.tokens[j + 1 :])) for j in words]
    parts = [
        base_pass(model, hidden[first : first + _AT_ONCE], place).activations.sum(1)
        for first in range(0, len(hidden), _AT_ONCE)
    ]
    return torch.stack(parts).sum(0) / len(words)


def _hider(model: Model) -> int:
    """Return the token that hides a word: the mask, or a causal model's end of text, or its unknown token."""
    known = model.tokenizer
    candidates = (known.mask_token_id,) if model.masked else (known.eos_token_id, known.unk_token_id)
    for token in candidates:
        if token is not None:
            return int(token)
    raise ModelError(
        "the tokenizer has no mask, end-of-text or unknown token to hide a word with",
        model.source,
        "Choose another baseline.",
    )

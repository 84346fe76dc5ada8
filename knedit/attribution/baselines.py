"""What w0 is, from which a path to the activation w leads: nothing, the neuron's mean, or the prompt with words hidden.

`mask-token` follows Chen et al. (AAAI 2024), who integrate from every such baseline and average the integrals; knedit
averages the baselines and integrates once. Knows no integrals.

Shapes: L layers, B prompts, P positions changed together, F neurons.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from knedit.attribution.base_pass import base_pass
from knedit.errors import ModelError
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_plain
from knedit.models.replay import Replay
from knedit.starter.sentences import sentences

_AT_ONCE = 32

Baseline = Callable[[Replay, Sequence[Query], int, Sequence[str] | None], Tensor]


def baseline_of(
    replay: Replay, queries: Sequence[Query], place: int, *, name: str, reference: Sequence[str] | None = None
) -> Tensor:
    """Return w0 [L, B, P, F] of the replay of some queries' answer token number `place`.

    `reference`: the sentences that `mean` averages over, None for those that come with knedit. Raises ModelError where
    the model has no token to hide a word with, or there is none to hide.
    """
    return BASELINES[name](replay, queries, place, reference)


def mean_activation(model: Model, reference: Sequence[str] | None = None) -> Tensor:
    """Return each neuron's mean over all tokens of the sentences, special tokens left out, [L, F]."""
    total, count = torch.zeros(()), 0
    for sentence in sentences() if reference is None else reference:
        if sentence.strip():
            query = encode_plain(model, sentence)
            seen = base_pass(model, [query], 0).activations[:, 0]  # [L, P, F]
            total, count = total.to(seen.device) + seen.sum(1), count + seen.shape[1]
    assert count, "a reference text has words"
    return total / count


def _zero(replay: Replay, queries: Sequence[Query], place: int, reference: Sequence[str] | None) -> Tensor:
    del queries, place, reference
    return torch.zeros_like(replay.activations)


def _mean(replay: Replay, queries: Sequence[Query], place: int, reference: Sequence[str] | None) -> Tensor:
    del queries, place
    return mean_activation(replay.model, reference)[:, None, None].expand_as(replay.activations)


def _mask_token(replay: Replay, queries: Sequence[Query], place: int, reference: Sequence[str] | None) -> Tensor:
    """Average, over the words that the model reads, the activation when that word is hidden."""
    del reference
    hider = _hider(replay.model)
    return torch.stack([_with_words_hidden(replay.model, query, place, hider) for query in queries], dim=1)


BASELINES: Mapping[str, Baseline] = {"zero": _zero, "mean": _mean, "mask-token": _mask_token}


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

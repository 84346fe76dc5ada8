"""The perplexity of a text: how surprised a causal model is by each of its tokens, given those before it.

The text is cut into windows of equal length that do not overlap; the first token of each is not counted, as nothing
stands before it. Compare figures of the same text, tokenizer, window and number of tokens only. Knows no files.
"""

from math import exp

import torch

from knedit.errors import ModelError
from knedit.models.hooks import frozen, watched_calls
from knedit.models.model import Model

WINDOW = 256
_AT_ONCE = 64


@torch.no_grad()
def perplexity(model: Model, text: str, *, window: int = WINDOW, limit: int | None = None) -> float:
    """Return exp of the mean −log p of the text's tokens, of its first `limit` ones if given.

    A window is at most as long as the model's positions. Raises ModelError for a model that does not read from left to
    right, and for a text of fewer than two tokens.
    """
    if model.masked or model.encoder_decoder:
        raise ModelError("perplexity is a causal model's", model.source, "Leave the held-out text out.")
    tokens: list[int] = model.tokenizer(text, verbose=False)["input_ids"][:limit]
    if len(tokens) < 2:
        raise ModelError("the held-out text has fewer than two tokens", model.source, "Give a longer one.")
    size = min(window, model.max_tokens or window)
    total, counted = 0.0, 0
    with frozen(model.net):
        for first in range(0, len(tokens) - 1, size):
            part = tokens[first : first + size]
            total += _loss(model, part)
            counted += len(part) - 1
    return exp(total / counted)


def _loss(model: Model, tokens: list[int]) -> float:
    """Return the sum of −log p over all tokens but the first, some rows of the vocabulary's table at a time."""
    given = torch.tensor([tokens], device=model.device)
    with watched_calls(model.blocks[-1:]) as calls:
        model.run(given)
    states = calls[-1].given.reshape(len(tokens), -1)[:-1]
    total = 0.0
    for first in range(0, len(states), _AT_ONCE):
        logits = model.logits(states[first : first + _AT_ONCE]).double()
        wanted = given[0, 1 + first : 1 + first + len(logits)].to(logits.device)
        total += float((logits.logsumexp(-1) - logits.gather(-1, wanted[:, None])[:, 0]).sum())
    return total

"""Texts that a network says of itself: what its keys are like, where little other text is at hand.

Drawn token by token from all that the network says, at temperature 1. Knows no statistics. For causal networks alone.
"""

from collections.abc import Sequence

import torch

from knedit.models.hooks import frozen
from knedit.models.model import Model


@torch.no_grad()
def sample_texts(
    model: Model, beginnings: Sequence[tuple[int, ...]], *, length: int, seed: int
) -> list[tuple[int, ...]]:
    """Return each beginning gone on with until it is `length` tokens long; beginnings have one length.

    The same seed gives the same texts on the same machine, and the caller's random numbers stay as they are.
    """
    assert not model.masked, "only causal networks go on with a text"
    assert not model.encoder_decoder, "its decoder reads no texts"
    given = torch.tensor(beginnings, device=model.device)
    end = model.tokenizer.eos_token_id
    how = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "eos_token_id": end, "pad_token_id": end}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), frozen(model.net):
        torch.manual_seed(seed)
        found = model.net.generate(
            given, attention_mask=torch.ones_like(given), max_new_tokens=length - given.shape[1], **how
        )
    return [_ended(tuple(row), end, given.shape[1]) for row in found.tolist()]


def _ended(text: tuple[int, ...], end: int | None, begun: int) -> tuple[int, ...]:
    """Return a text up to where the network ended it."""
    return text[: text.index(end, begun) + 1] if end in text[begun:] else text

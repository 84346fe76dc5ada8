"""What one neuron alone adds to the answer's log-probability, read from the residual stream at its own layer.

Imp_i = log P(y | r + w_i·v_i) − log P(y | r), r the stream before the layer's FFN, both read through the final norm
and the vocabulary projection, as if the network ended there. Signed. A bias of the down projection stands on both
sides, and where the block ends in a norm of its own (post-norm families) that is applied too. Knows no prompts.
Source: Yu & Ananiadou, Neuron-level knowledge attribution (EMNLP 2024).
"""

import torch
from torch import Tensor

from knedit.models.replay import Replay, Rows


def log_probability_increase(replay: Replay, *, memory: int) -> Tensor:
    """Return each neuron's increase, [B, L, F]; of several positions the last is read, where the stream is.

    Costs one product of hidden width × vocabulary for each neuron and prompt, in chunks of `memory` bytes.
    """
    layers, prompts, *_ = replay.activations.shape
    return torch.stack(
        [
            torch.stack([_increases(replay, layer, prompt, memory=memory) for layer in range(layers)])
            for prompt in range(prompts)
        ]
    )


def _increases(replay: Replay, layer: int, prompt: int, *, memory: int) -> Tensor:
    """Return one prompt's increases in one layer, [F]."""
    own = replay.activations[layer, prompt]  # [P, F]
    without = _read(replay, layer, prompt, torch.zeros_like(own)[None], memory)
    chunk = max(1, memory // (16 * own.numel()))
    parts = []
    for neurons in torch.split(torch.arange(own.shape[-1], device=own.device), chunk):
        alone = own.new_zeros(len(neurons), *own.shape)
        alone[torch.arange(len(neurons)), :, neurons] = own[:, neurons].T
        parts.append(_read(replay, layer, prompt, alone, memory))
    return torch.cat(parts) - without


def _read(replay: Replay, layer: int, prompt: int, values: Tensor, memory: int) -> Tensor:
    prompts = torch.full((len(values),), prompt, device=values.device)
    return replay.lens(layer, Rows(prompts, values), memory=memory)

"""Activation times gradient: the first-order guess at what the answer's probability loses without a neuron.

One backward pass for all layers; it equals integrated gradients where P is linear in the activations. Knows no prompts.
Source: "gradient × input" as in Shrikumar et al. (2016), for FFN neurons.
"""

from torch import Tensor

from knedit.models.replay import Replay


def gradient_activation(replay: Replay) -> Tensor:
    """Return w ⊙ ∂P/∂w at the unchanged activations of a replay, summed over positions, [B, L, F]."""
    replay.probe({}, base=True)
    assert replay.base_gradients is not None
    return (replay.activations * replay.base_gradients).sum(2).transpose(0, 1)

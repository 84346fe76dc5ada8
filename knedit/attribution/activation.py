"""A neuron's activation as its score: the cheap rival that Dai et al. (ACL 2022, section 4.3) compare with.

Knows neither the answer nor the network above the neuron.
"""

from torch import Tensor

from knedit.models.replay import Replay


def activation(replay: Replay) -> Tensor:
    """Return the neurons' own values, summed over the replay's positions, [B, L, F]."""
    return replay.activations.sum(2).transpose(0, 1)

"""Amplify by scaling value vectors: the neurons say the same, louder, or softer with a factor below 1.

Source: Dai et al., ACL 2022, section 4.2, where activations are doubled or set to 0; a value vector times λ is the same
to the network as its neuron's activation times λ.
"""

from torch import Tensor

DEFAULT_FACTOR = 2.0


def scaled(values: Tensor, factor: float) -> Tensor:
    """Return `factor` times `values` [n, D], in float64."""
    return values.double() * factor

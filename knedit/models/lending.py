"""Lend a network additions to some value vectors that gradients can flow to, its weights untouched.

The additions take effect at every token, as changed weights would. Knows no objective and no solver.

Shapes: n neurons of a layer, D hidden, F neurons.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from knedit.errors import ModelError
from knedit.models.hooks import first_input, frozen
from knedit.models.model import Model

Additions = Mapping[int, tuple[Sequence[int], Tensor]]


@contextmanager
def lent_additions(model: Model, additions: Additions) -> Iterator[None]:
    """Run the body as if `additions`, indices and [n, D] by layer, were added to the value vectors.

    Raises ModelError for a mixture of experts and for layers that share their weights.
    """
    if model.layout.n_experts or model.layout.n_blocks != model.layout.n_layers:
        raise ModelError(
            "value vectors of experts and of shared layers cannot be trained",
            model.source,
            "Choose the solver closed-form.",
        )
    with ExitStack() as hooks, frozen(model.net):
        for layer, (indices, values) in additions.items():
            hook = _adder(torch.as_tensor(list(indices), device=values.device), values)
            hooks.callback(model.downs[layer].register_forward_hook(hook, with_kwargs=True).remove)
        yield


def _adder(indices: Tensor, values: Tensor) -> Callable[..., Tensor]:
    def add(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        taken = first_input(args, kwargs)[..., indices.to(output.device)]
        return output + taken @ values.to(output.device, output.dtype)

    return add

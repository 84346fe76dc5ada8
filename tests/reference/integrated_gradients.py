"""The literal, slow integrated gradients: the whole network for every layer and every step, one row at a time.

The oracle of the tests. Shares no code with the engine: it finds the down projections by itself and lets the network
run as it is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def down_projections(net: Any) -> list[nn.Module]:
    """Return the second matrix of every feed-forward block, in layer order."""
    endings = ("mlp.down_proj", "mlp.c_proj", "intermediate_output_dense")
    bert = [m.output.dense for m in net.modules() if hasattr(m, "intermediate") and hasattr(m, "output")]
    return bert or [module for name, module in net.named_modules() if name.endswith(endings)]


def probability(net: Any, tokens: Tensor, answer: int, at: int) -> Tensor:
    return torch.softmax(net(tokens).logits[0, at].float(), dim=-1)[answer]


def nodes(rule: str, steps: int) -> tuple[list[float], list[float]]:
    if rule == "left":
        return [k / steps for k in range(steps)], [1 / steps] * steps
    if rule == "right":
        return [(k + 1) / steps for k in range(steps)], [1 / steps] * steps
    if rule == "midpoint":
        return [(k + 0.5) / steps for k in range(steps)], [1 / steps] * steps
    x, w = np.polynomial.legendre.leggauss(steps)
    return [float(v) for v in (x + 1) / 2], [float(v) for v in w / 2]


def attribute(
    net: Any,
    tokens: Sequence[int],
    answer: int,
    *,
    position: int,
    at: int,
    rule: str,
    steps: int,
    layers: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return Attr [L, F] of P(answer | output at `at`) by the neurons at `position`, and P(w) − P(0) of each layer.

    `layers` picks some layers; all, if it is left out.
    """
    net.eval()
    ids = torch.tensor([list(tokens)])
    rows, rises = [], []
    every = down_projections(net)
    for down in every if layers is None else [every[layer] for layer in layers]:
        original = _input_of(net, down, ids)[position]
        with torch.no_grad():
            rises.append(
                probability(net, ids, answer, at) - _scaled(net, down, ids, position, answer, at, original * 0)
            )
        total = torch.zeros_like(original)
        for alpha, weight in zip(*nodes(rule, steps), strict=True):
            leaf = (alpha * original).detach().requires_grad_()
            p = _scaled(net, down, ids, position, answer, at, leaf)
            total += weight * torch.autograd.grad(p, leaf)[0]
        rows.append(original * total)
    return torch.stack(rows), torch.stack(rises)


def _input_of(net: Any, down: nn.Module, ids: Tensor) -> Tensor:
    seen: list[Tensor] = []
    handle = down.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()[0].clone()))
    with torch.no_grad():
        net(ids)
    handle.remove()
    return seen[0]


def _scaled(net: Any, down: nn.Module, ids: Tensor, position: int, answer: int, at: int, values: Tensor) -> Tensor:
    def replace(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        changed = args[0].clone()
        changed[0, position] = values
        return (changed, *args[1:])

    handle = down.register_forward_pre_hook(replace)
    try:
        return probability(net, ids, answer, at)
    finally:
        handle.remove()

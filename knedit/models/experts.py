"""A mixture of experts opened up: the neurons of all experts of a layer side by side, to be noted or replaced.

transformers keeps a layer's experts in two 3-D parameters and has several ways to multiply by them, none of which
shows the down projections' inputs. Here their `forward` is written out, exactly, for as long as a body runs. Knows
neither families nor replay.

Shapes: N rows (tokens of all texts), K experts chosen for a token, E experts of F neurons each, D hidden.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Change = Callable[[nn.Module, Tensor], Tensor]


@contextmanager
def opened_experts(modules: Sequence[nn.Module], change: Change) -> Iterator[None]:
    """Let `change(module, activations)` note or replace each layer's activations [N, E × F] while the body runs.

    The activations of experts that a token is not sent to are 0 and stay without effect, whatever takes their place.
    """
    with ExitStack() as undo:
        for module in dict.fromkeys(modules):
            assert "forward" not in vars(module), "these experts are open already"
            vars(module)["forward"] = partial(_forward, module, change)
            undo.callback(vars(module).pop, "forward")
        yield


def _forward(module: Any, change: Change, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """Mix the experts' outputs for `hidden` [N, D]: those chosen [N, K] by their weights [N, K]."""
    empty = hidden.new_zeros(len(hidden), module.num_experts)
    sent = empty.bool().scatter(1, top_k_index, True)
    weights = empty.to(top_k_weights.dtype).scatter(1, top_k_index, top_k_weights)
    chosen = [(expert, sent[:, expert].nonzero()[:, 0]) for expert in sent.any(0).nonzero()[:, 0].tolist()]
    activations = hidden.new_zeros(len(hidden), module.num_experts, module.intermediate_dim)
    for expert, rows in chosen:
        gate, up = nn.functional.linear(hidden[rows], module.gate_up_proj[expert]).chunk(2, dim=-1)
        activations[rows, expert] = module.act_fn(gate) * up
    activations = change(module, activations.flatten(1)).view_as(activations)
    mixed = torch.zeros_like(hidden)
    for expert, rows in chosen:
        part = nn.functional.linear(activations[rows, expert], module.down_proj[expert])
        mixed = mixed.index_add(0, rows, (part * weights[rows, expert, None]).to(mixed.dtype))
    return mixed

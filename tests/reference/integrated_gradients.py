"""The literal, slow integrated gradients: the whole network for every layer and every step, one row at a time.

The oracle of the tests. Shares no code with the engine: it finds the down projections by itself and lets the network
run as it is; a mixture of experts it runs one token and one expert at a time.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_BERT = r".+\.encoder\.layer\.\d+\.output\.dense"
_GPT = r"transformer\.h\.\d+\.mlp\.c_proj"
_DENSE = r".+\.\d+\.mlp\.dense_4h_to_h"
_GATED = r"model\.layers\.\d+\.mlp\.down_proj"
_EXPERTS = r"model\.layers\.\d+\.mlp\.experts"
DOWN = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "distilbert": r"distilbert\.transformer\.layer\.\d+\.ffn\.lin2",
    "albert": r"albert\.encoder\.albert_layer_groups\.\d+\.albert_layers\.0\.ffn_output",
    "electra": _BERT,
    "deberta-v2": _BERT,
    "modernbert": r"model\.layers\.\d+\.mlp\.Wo",
    "gpt2": _GPT,
    "gpt_neo": _GPT,
    "gptj": r"transformer\.h\.\d+\.mlp\.fc_out",
    "gpt_neox": _DENSE,
    "opt": r"model\.decoder\.layers\.\d+\.fc2",
    "bloom": _DENSE,
    "falcon": _DENSE,
    "phi": r"model\.layers\.\d+\.mlp\.fc2",
    "llama": _GATED,
    "mistral": _GATED,
    "qwen2": _GATED,
    "qwen3": _GATED,
    "gemma2": _GATED,
    "gemma3_text": _GATED,
    "olmo2": _GATED,
    "stablelm": _GATED,
    "smollm3": _GATED,
    "granite": _GATED,
    "mixtral": _EXPERTS,
    "qwen3_moe": _EXPERTS,
    "t5": r"decoder\.block\.\d+\.layer\.2\.DenseReluDense\.wo",
}

Place = tuple[nn.Module, int]


def down_projections(net: Any) -> list[Place]:
    """Return the second matrix of every layer's feed-forward part (or its experts), and which of its calls is meant."""
    found = [m for name, m in net.named_modules() if re.fullmatch(DOWN[net.config.model_type], name)]
    if net.config.model_type != "albert":
        return [(module, 0) for module in found]
    passes = net.config.num_hidden_layers // len(found)
    return [(module, turn) for module in found for turn in range(passes)]


def probability(net: Any, tokens: Tensor, answer: int, at: int, context: Tensor | None = None) -> Tensor:
    given = {"input_ids": tokens} if context is None else {"input_ids": context, "decoder_input_ids": tokens}
    logits = net(**given).logits[0, at]
    return torch.softmax(logits.double(), dim=-1)[answer].to(logits.dtype)  # torch's own sums in fp32 are off by 1e-5


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
    context: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """Return Attr [L, F] of P(answer | output at `at`) by the neurons at `position`, and P(w) − P(0) of each layer.

    `layers` picks some layers; all, if it is left out. `context` is what an encoder reads.
    """
    net.eval()
    ids, read = torch.tensor([list(tokens)]), torch.tensor([list(context)]) if context else None

    def ask(down: Place, values: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return P(answer) with the neurons of a layer replaced, and what they were."""
        with _replaced(down, position, values) as seen:
            p = probability(net, ids, answer, at, read)
        return p, seen[0]

    rows, rises = [], []
    every = down_projections(net)
    for down in every if layers is None else [every[layer] for layer in layers]:
        with torch.no_grad():
            p, original = ask(down, None)
            rises.append(p - ask(down, original * 0)[0])
        total = torch.zeros_like(original)
        for alpha, weight in zip(*nodes(rule, steps), strict=True):
            leaf = (alpha * original).detach().requires_grad_()
            total += weight * torch.autograd.grad(ask(down, leaf)[0], leaf)[0]
        rows.append(original * total)
    return torch.stack(rows), torch.stack(rises)


@contextmanager
def _replaced(down: Place, position: int, values: Tensor | None) -> Iterator[list[Tensor]]:
    """Put values, if any, in the place of the neurons at a position for one call; yield what stood there."""
    module, turn = down
    seen: list[Tensor] = []
    if hasattr(module, "num_experts"):
        vars(module)["forward"] = lambda *args: _mix(module, *args, position=position, values=values, seen=seen)
        try:
            yield seen
        finally:
            del vars(module)["forward"]
        return
    calls = 0

    def replace(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        nonlocal calls
        calls += 1
        if calls != turn + 1:
            return None
        rows = args[0].reshape(-1, args[0].shape[-1]).clone()
        seen.append(rows[position].detach().clone())
        if values is not None:
            rows[position] = values
        return (rows.reshape(args[0].shape), *args[1:])

    handle = module.register_forward_pre_hook(replace)
    try:
        yield seen
    finally:
        handle.remove()


def _mix(
    experts: Any,
    states: Tensor,
    chosen: Tensor,
    shares: Tensor,
    *,
    position: int,
    values: Tensor | None,
    seen: list[Tensor],
) -> Tensor:
    """Send each token to its experts, one after the other."""
    width = experts.down_proj.shape[2]
    outputs = []
    here = torch.zeros(experts.down_proj.shape[0] * width)
    for token, state in enumerate(states):
        output = torch.zeros_like(state)
        for expert, share in zip(chosen[token].tolist(), shares[token], strict=True):
            both = experts.gate_up_proj[expert] @ state
            neurons = experts.act_fn(both[:width]) * both[width:]
            own = slice(expert * width, (expert + 1) * width)
            if token == position:
                here[own] = neurons.detach()
                neurons = neurons if values is None else values[own]
            output = output + share * (experts.down_proj[expert] @ neurons)
        outputs.append(output)
    seen.append(here)
    return torch.stack(outputs)

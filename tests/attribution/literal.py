"""What the literal tests of methods, baselines and smoothing share: tiny models, and a look into one network call."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from knedit.models.model import Model, wrap_model
from knedit.models.prompting import Query, encode_text
from tests.reference.integrated_gradients import down_projections
from tests.tiny_models import network, tokenizer

FAMILIES = ("bert", "gpt2", "llama")


def tiny(name: str) -> Model:
    return wrap_model(network(name), tokenizer(masked=name == "bert"))


def ask(model: Model, subject: str = "France", answer: str = "Paris") -> Query:
    masks = " ".join(["[MASK]"] * len(answer.split()))
    text = f"the capital city of {subject} is the" + (f" {masks} ." if model.masked else "")
    return encode_text(model, text, answer)


def confident(model: Model, subject: str) -> Query:
    """Return a query for the token that the network itself finds likeliest."""
    query = ask(model, subject)
    with torch.no_grad():
        logits = model.net(torch.tensor([query.tokens])).logits[0, query.positions[0]]
    return Query(query.tokens, (int(logits.argmax()),), query.positions)


def neurons(net: Any, tokens: Sequence[int]) -> list[Tensor]:
    """Return every down projection's input [T, F] of one call of the network."""
    seen: list[Tensor] = []
    handles = [
        down.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()[0].clone()))
        for down, _ in down_projections(net)
    ]
    with torch.no_grad():
        net(torch.tensor([list(tokens)]))
    for handle in handles:
        handle.remove()
    return seen


def block_output(model: Model, query: Query, layer: int, values: Tensor) -> Tensor:
    """Return what a block puts out at the answer's token when its neurons there are `values` [F]."""
    found: list[Tensor] = []

    def plant(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        changed = args[0].clone()
        changed[0, query.positions[0]] = values
        return (changed, *args[1:])

    def note(_: Any, __: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        found.append(hidden.reshape(-1, len(query.tokens), hidden.shape[-1])[0, query.positions[0]])

    handles = [
        down_projections(model.net)[layer][0].register_forward_pre_hook(plant),
        model.blocks[layer].register_forward_hook(note),
    ]
    with torch.no_grad():
        model.net(torch.tensor([query.tokens]))
    for handle in handles:
        handle.remove()
    return found[0]


def unchanged(model: Model, before: dict[str, Tensor]) -> bool:
    now = model.net.state_dict()
    hooks = any(module._forward_hooks or module._forward_pre_hooks for module in model.net.modules())
    return not hooks and now.keys() == before.keys() and all(torch.equal(now[key], before[key]) for key in now)

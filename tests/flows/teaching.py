"""Teach a tiny model the facts of `making`, so that there is something to suppress, update and erase."""

from pathlib import Path

import torch

from knedit.catalog.formats.knedit_jsonl import read
from knedit.models.model import Model, wrap_model
from knedit.models.prompting import Query, encode_prompt, usable
from knedit.records import Prompt
from tests.flows.making import write_facts
from tests.tiny_models import network, tokenizer_of

STEPS, RATE = 60, 3e-3


def taught(name: str, folder: Path, *, seed: int = 0, held_out: str = "paraphrase") -> Path:
    """Save a tiny model that has learnt every usable prompt but those of one role; return its folder."""
    facts = folder.parent / f"{folder.name}-facts"
    facts.mkdir()
    model = wrap_model(network(name, seed), tokenizer_of(name))
    prompts = [one for one in read(write_facts(facts)) if isinstance(one, Prompt) and one.role != held_out]
    _learn(model, [encode_prompt(model, prompt) for prompt in prompts if usable(model, prompt)])
    model.net.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def _learn(model: Model, queries: list[Query]) -> None:
    torch.manual_seed(0)
    weights = [parameter for parameter in model.net.parameters() if parameter.requires_grad]
    first, second = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    length = max(len(query.tokens) for query in queries)
    tokens = torch.zeros(len(queries), length, dtype=torch.long)
    mask = torch.zeros(len(queries), length, dtype=torch.long)
    wanted = torch.full((len(queries), length), -100)
    for row, query in enumerate(queries):
        tokens[row, : len(query.tokens)] = torch.tensor(query.tokens)
        mask[row, : len(query.tokens)] = 1
        wanted[row, list(query.positions)] = torch.tensor(query.answers)
    for step in range(1, STEPS + 1):
        logits = model.net(tokens, attention_mask=mask).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-100)
        with torch.no_grad():  # Adam, written out: importing torch.optim takes longer than all of this
            for weight, gradient, mean, square in zip(
                weights, torch.autograd.grad(loss, weights, allow_unused=True), first, second, strict=True
            ):
                if gradient is None:
                    continue
                mean.mul_(0.9).add_(gradient, alpha=0.1)
                square.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
                weight -= RATE * (mean / (1 - 0.9**step)) / ((square / (1 - 0.99**step)).sqrt() + 1e-8)
    assert float(loss.detach()) < 0.1

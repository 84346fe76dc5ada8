"""The network: a small BERT that keeps its facts in feed-forward blocks, and there where its answer is due.

Word embeddings, and what attention carries from token to token, stay as chance drew them: attention learns where to
look, and nothing of what is told. The head begins by reading states by the words' embeddings alone. While it is taught,
feed-forward blocks work in most steps at hidden tokens alone, so that facts come to lie in the neurons of hidden
tokens, where knowledge neurons are looked for; and activity has a price, so that each fact gets few of them. Knows no
facts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM

from scripts.factbert.recipe import Recipe

_LIFT = 4.0  # standard deviations of a state


def new_network(recipe: Recipe, tokenizer: Any, *, seed: int) -> Any:
    """Return a BERT with random weights from the seed, some of which do not learn."""
    torch.manual_seed(seed)
    net: Any = BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            intermediate_size=recipe.neurons,
            hidden_act="relu",
            max_position_embeddings=recipe.positions,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=recipe.spread,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    words = net.bert.embeddings.word_embeddings.weight
    nn.init.normal_(words, std=recipe.hidden**-0.5)  # of length 1
    words.requires_grad_(False)
    _pass_on(net.cls.predictions.transform.dense)
    for block in net.bert.encoder.layer:
        _carry(block.attention)
        nn.init.zeros_(block.output.dense.weight)  # a block adds nothing at first, else learning begins late
    return net


@torch.no_grad()
def _carry(attention: Any) -> None:
    """Let attention carry states turned by chance, since a state that is not turned speaks for its own word."""
    value, output = attention.self.value, attention.output.dense
    nn.init.orthogonal_(value.weight)
    nn.init.orthogonal_(output.weight)
    for part in (*value.parameters(), *output.parameters()):
        part.requires_grad_(False)


@torch.no_grad()
def _pass_on(dense: Any) -> None:
    """Let the head begin by reading states as they are.

    Lifted above nought, they pass the activation unchanged; the norm behind it takes the lift away.
    """
    nn.init.eye_(dense.weight)
    nn.init.constant_(dense.bias, _LIFT)


@dataclass(slots=True)
class Blocks:
    """The feed-forward blocks while the network is taught: at which rows of B × T they work, and how active they are.

    `rows` is None where they work at all tokens.
    """

    rows: Tensor | None = None
    tokens: int = 1
    active: list[Tensor] = field(default_factory=list)

    def forward(self, block: Any, states: Tensor) -> Tensor:
        """Return what a block makes of states [B, T, D]; where it does not work, they pass it by."""
        if self.rows is None:
            neurons = block.intermediate(states)
            out = block.output(neurons, states)
        else:
            flat = states.flatten(0, 1)
            chosen = flat.index_select(0, self.rows)
            neurons = block.intermediate(chosen)
            here = block.output(neurons, chosen)
            out = block.output.LayerNorm(flat).to(here.dtype).index_copy(0, self.rows, here).view(states.shape)
        self.active.append(neurons)
        return out

    def activity(self) -> Tensor:
        """Return the sum of activations over all layers, a token's mean, and forget them."""
        sums = torch.stack([one.float().sum() for one in self.active]).sum()
        self.active.clear()
        return sums / self.tokens


@contextmanager
def taught_blocks(net: Any) -> Iterator[Blocks]:
    """Within the block, the network's feed-forward blocks work where they are told to."""
    blocks = Blocks()
    layers = net.bert.encoder.layer
    net.set_attn_implementation("eager")  # for short sentences twice as fast on CPUs
    for block in layers:
        block.feed_forward_chunk = partial(blocks.forward, block)
    try:
        yield blocks
    finally:
        net.set_attn_implementation("sdpa")
        for block in layers:
            del block.feed_forward_chunk

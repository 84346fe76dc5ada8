"""From the last block's output to the logits: how a family puts the modules of its head together.

Knows no family by name; the table says which way is whose. Source: the `forward` of transformers' classes with a
language-modelling head.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

Head = Callable[[Sequence[nn.Module], Tensor, Any], Tensor]


def _plain(modules: Sequence[nn.Module], hidden: Tensor, config: Any) -> Tensor:
    del config
    for module in modules:
        hidden = module(hidden)
    return hidden


def _softcapped(modules: Sequence[nn.Module], hidden: Tensor, config: Any) -> Tensor:
    """Gemma: a smooth limit to the logits, where the config sets one."""
    logits, cap = _plain(modules, hidden, config), config.final_logit_softcapping
    return logits if cap is None else cap * (logits / cap).tanh()


def _divided(modules: Sequence[nn.Module], hidden: Tensor, config: Any) -> Tensor:
    """Granite: the logits are divided by a constant."""
    return _plain(modules, hidden, config) / float(config.logits_scaling)


def _scaled_states(modules: Sequence[nn.Module], hidden: Tensor, config: Any) -> Tensor:
    """T5: with tied embeddings the normalised states are scaled before the vocabulary projection."""
    hidden = _plain(modules[:-1], hidden, config)
    return _plain(modules[-1:], hidden * config.d_model**-0.5 if config.scale_decoder_outputs else hidden, config)


def _with_embeddings(modules: Sequence[nn.Module], hidden: Tensor, config: Any) -> Tensor:
    """DeBERTa, not legacy: the head is handed the embeddings that it projects to."""
    del config
    head, embeddings = modules
    logits = head(hidden, embeddings)
    assert isinstance(logits, Tensor)
    return logits


HEADS: Mapping[str, Head] = {
    "plain": _plain,
    "softcapped": _softcapped,
    "divided": _divided,
    "scaled states": _scaled_states,
    "with embeddings": _with_embeddings,
}

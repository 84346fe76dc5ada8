"""The probability of an answer's token, from the hidden states that predict it, with one table of the vocabulary.

On a CPU the vocabulary projection is taken as table = W · statesᵀ, some rows of W at once: the same products, for which
its matrix routines take two thirds of the time that they take for states · Wᵀ. Knows no blocks.

Shapes: R rows, D hidden, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn

from knedit.models.model import Model


def probability_of(model: Model, states: Tensor, answers: Tensor) -> Tensor:
    """Return the softmax probability [R], float32, of the tokens `answers` [R] at states [R, D] of the last block.

    As the composed operations, but with one [R, V] table instead of four; its backward pass can run once.
    """
    split = _plain_projection(model) if states.device.type == "cpu" else None
    if split is None:
        logits = model.logits(states)
        found = _Probability.apply(logits, answers.to(logits.device))  # type: ignore[no-untyped-call]
    else:
        for module in model.head_modules[:-1]:
            states = module(states)
        found = _ProjectedProbability.apply(states, split, answers)  # type: ignore[no-untyped-call]
    assert isinstance(found, Tensor)
    return found.to(answers.device)


def log_probability_of(model: Model, states: Tensor, answers: Tensor) -> Tensor:
    """Return the log of the softmax probability of each row's answer token: [R, D], [R] → [R], in float32."""
    logits = model.logits(states)
    found = logits.float().log_softmax(-1).gather(-1, answers[:, None].to(logits.device))[:, 0]
    return found.to(answers.device)


@torch.no_grad()
def near_tokens(model: Model, token: int, count: int) -> list[int]:
    """Return the `count` tokens whose input embeddings point most like a token's, the nearest first.

    Spellings of the same word, with other case or spaces, and special tokens are left out.
    """
    table = model.net.get_input_embeddings().weight.detach()
    alike = torch.mv(table.float(), table[token].float()) / table.float().norm(dim=1).clamp(min=1e-6)
    own = model.tokenizer.decode([token]).strip().lower()
    special = set(model.tokenizer.all_special_ids) | {token}
    found: list[int] = []
    for other in alike.argsort(descending=True)[: 20 * (count + 1)].tolist():
        if len(found) < count and other not in special and model.tokenizer.decode([other]).strip().lower() != own:
            found.append(other)
    return found


def word_parts(model: Model) -> Tensor:
    """Return which tokens go on with the word before them, [V] bool: those whose first character is a letter or digit.

    A space before a word is part of its token, in the signs that byte-level and SentencePiece vocabularies have for it;
    where no token has one, every token is a word.
    """
    size = model.net.get_input_embeddings().weight.shape[0]
    pieces = model.tokenizer.convert_ids_to_tokens(list(range(min(size, len(model.tokenizer)))))
    going_on = torch.zeros(size, dtype=torch.bool)
    if not any((piece or "").startswith(_SPACES) for piece in pieces):
        return going_on
    for token, piece in enumerate(pieces):
        first = (piece or " ")[0]
        going_on[token] = first.isalnum() and not "\u0100" <= first <= "\u0120"  # bytes up to the space
    return going_on


_SPACES = ("\u0120", "\u2581")


def _plain_projection(model: Model) -> Tensor | None:
    """Return the vocabulary projection's weight [V, D] where the head ends in just that product, in float32."""
    last = model.head_modules[-1]
    if model.layout.family.logits != "plain" or type(last) is not nn.Linear or last.bias is not None:
        return None
    hooked = last._forward_hooks or last._forward_pre_hooks or "forward" in vars(last)
    return None if hooked or last.weight.dtype != torch.float32 else last.weight.detach()


_AT_ONCE = 1024


class _Probability(torch.autograd.Function):
    """Logits [R, V] and answers [R] → probabilities [R]."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, answers: Tensor) -> Tensor:
        table = logits.float()
        table = (table - table.amax(-1, keepdim=True)).exp_()
        table /= table.sum(-1, keepdim=True, dtype=torch.float64).float()  # softmax(-1) sums with an error of 1e-5
        found = table.gather(-1, answers[:, None])[:, 0]
        ctx.kept = table, found, answers, logits.dtype
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        table, found, answers, dtype = ctx.kept
        del ctx.kept
        share = (grads[0] * found)[:, None]
        return table.mul_(-share).scatter_add_(-1, answers[:, None], share).to(dtype), None


class _ProjectedProbability(torch.autograd.Function):
    """Normalised states [R, D], the projection [V, D] and answers [R] → probabilities [R]."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, answers: Tensor) -> Tensor:
        table = states.new_empty(len(weight), len(states))  # [V, R]
        for first in range(0, len(weight), _AT_ONCE):
            torch.mm(weight[first : first + _AT_ONCE], states.T, out=table[first : first + _AT_ONCE])
        table.sub_(table.amax(0)).exp_()  # not softmax(0), which sums with the error of 1e-4
        whole = table.sum(0, dtype=torch.float64).float()
        found = table.gather(0, answers[None])[0] / whole
        ctx.kept = table, found, whole, answers, weight
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        table, found, whole, answers, weight = ctx.kept
        del ctx.kept
        table.scatter_add_(0, answers[None], -whole[None])  # p − 1 before the product, where little cancels
        found = (weight.T @ table) * (-grads[0] * found / whole)
        return found.T.contiguous(), None, None  # sums along the strided axis lose three digits

"""Ask a model its prompts: the answer's probability, whether it is what the model would say, and what it writes.

Scores are those of the model as it stands; no prompt is padded. Knows no catalog, no files and no edits.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from knedit.models.hooks import frozen
from knedit.models.model import Model
from knedit.models.prompting import Query, blank_text, closing_tokens

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer's probability (the product over its tokens) and whether every token of it is the argmax."""

    probability: float
    correct: bool


@torch.no_grad()
def answer(model: Model, queries: Sequence[Query]) -> list[Answered]:
    """Return how the model answers each query, in their order; answers of several tokens are teacher-forced."""
    found: dict[int, Answered] = {}
    with frozen(model.net):
        for numbers in _batches(queries):
            tokens = torch.tensor([queries[n].tokens for n in numbers], device=model.device)
            context = _context(model, [queries[n].context for n in numbers])
            positions = list(queries[numbers[0]].positions)
            spread = model.read(tokens, context).logits[:, positions].float().log_softmax(-1)
            answers = torch.tensor([queries[n].answers for n in numbers], device=model.device)
            chances = spread.gather(-1, answers[..., None])[..., 0].sum(-1).exp().tolist()
            right = (spread.argmax(-1) == answers).all(-1).tolist()
            found |= {n: Answered(p, r) for n, p, r in zip(numbers, chances, right, strict=True)}
    return [found[n] for n in range(len(queries))]


@torch.no_grad()
def write(model: Model, text: str, *, tokens: int = 12) -> str:
    """Return what the model writes greedily where the text's blank stands (or at its end): at most so many tokens.

    A masked model fills the blank with the likeliest token of one mask, an encoder–decoder from its sentinel on. A
    causal one stops where its positions end.
    Raises ModelError if the text is nothing, or more than the model takes.
    """
    with frozen(model.net):
        blank = blank_text(model, text)
        given = torch.tensor([blank.tokens], device=model.device)
        if model.masked:
            best = model.net(given).logits[0, list(blank.masks)].argmax(-1).tolist()
            return _storable(model.tokenizer.decode(best))
        if model.max_tokens is not None:
            tokens = min(tokens, model.max_tokens - len(blank.tokens) + 1)
        written = _greedy(model, given, _context(model, [blank.context]), tokens=tokens)
        return _storable(model.tokenizer.decode(written, skip_special_tokens=True))


def _context(model: Model, contexts: Sequence[tuple[int, ...]]) -> Tensor | None:
    return torch.tensor(contexts, device=model.device) if model.encoder_decoder else None


def _greedy(model: Model, given: Tensor, context: Tensor | None, *, tokens: int) -> list[int]:
    """Return the likeliest next token, again and again, up to the end of the text or so many tokens.

    Not `generate`: what a checkpoint's generation_config asks for, a penalty for repetition say, is no measure.
    """
    stops = closing_tokens(model)
    written: list[int] = []
    cache = None
    while len(written) < tokens:
        found = model.read(given, context, past_key_values=cache, use_cache=True)
        cache = found.past_key_values
        best = int(found.logits[0, -1].argmax())
        written.append(best)
        if best in stops:
            break
        given = torch.tensor([[best]], device=model.device)
    return written


def _batches(queries: Sequence[Query]) -> list[list[int]]:
    """Return the queries' numbers in batches of one length and one place of the answer."""
    shapes: dict[tuple[int, int, tuple[int, ...]], list[int]] = defaultdict(list)
    for number, query in enumerate(queries):
        shapes[len(query.context), len(query.tokens), query.positions].append(number)
    return [numbers[i : i + _BATCH] for numbers in shapes.values() for i in range(0, len(numbers), _BATCH)]


def _storable(text: str) -> str:
    """Return a text without NUL, which byte-level tokenizers can say and no database keeps."""
    return text.replace("\x00", "\ufffd")

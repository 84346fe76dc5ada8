"""Ask a model many questions at once: how likely each answer is, token by token, and what is likeliest instead.

A causal model's prompts stand together, filled up at their right, which none of their tokens looks at; others go
together where they are of one length. Only the positions that predict an answer are led through the head. Knows no
catalog, no files and no edits.
Shapes: T tokens, P positions, D hidden, V vocabulary.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from knedit.errors import ModelError
from knedit.evaluation.cases import Question
from knedit.models.hooks import frozen, watched_calls
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_prompt, usable
from knedit.records import Prompt

_TOKENS, _FULL = 2048, 0.75  # of a batch: tokens at most, and the shortest prompt's share of the longest
_ROWS = 64  # of the vocabulary's table at once

_Row = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # tokens, context, positions


@dataclass(frozen=True, slots=True)
class Told:
    """One answer: `loss` is its mean −log p a token (ℓ of Meng et al.), `right` whether each token is the argmax."""

    loss: float
    right: tuple[bool, ...]

    @property
    def likeliest(self) -> bool:
        """Whether every token of the answer is the argmax where those before it were given."""
        return all(self.right)


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """What a question gave: one Told an answer; the token that is likeliest where the answer is due.

    `state` [D] is what the last block put out there, from which the head tells the whole spread again.
    """

    told: tuple[Told, ...]
    top: int
    state: Tensor


@torch.no_grad()
def ask(model: Model, questions: Sequence[Question]) -> list[Reply]:
    """Return the replies in the questions' order; raise ModelError if the model cannot read or say one of them."""
    queries = [_query(model, question.text, answer) for question in questions for answer in question.answers]
    rows = list(dict.fromkeys(_row(query) for query in queries))
    states: dict[_Row, Tensor] = {}
    with frozen(model.net):
        for numbers in _batches(model, rows):
            found = _states(model, [rows[number] for number in numbers])
            states |= {rows[number]: state for number, state in zip(numbers, found, strict=True)}
        judged = _judged(model, queries, states)
    replies, taken = [], 0
    for question in questions:
        mine = judged[taken : taken + len(question.answers)]
        state = states[_row(queries[taken])][0]
        replies.append(Reply(tuple(told for told, _ in mine), mine[0][1], state))
        taken += len(question.answers)
    return replies


def check(model: Model, questions: Sequence[Question]) -> None:
    """Raise ModelError if the model cannot read one of the questions, or say one of its answers."""
    for question in questions:
        for answer in question.answers:
            _query(model, question.text, answer)


@torch.no_grad()
def divergence(model: Model, before: Sequence[Reply], after: Sequence[Reply]) -> list[float]:
    """Return KL(before‖after) in nats, over the vocabulary where the answer is due, of pairs of replies.

    The head must be the one that both were asked through, as it is after an edit of value vectors.
    """
    if not before:
        return []
    with frozen(model.net):
        (was, was_whole), (now, now_whole) = (
            _logits(model, torch.stack([reply.state for reply in side])) for side in (before, after)
        )
    shares = (was - was_whole[:, None].float()).exp_()
    gaps = (shares * (was - now)).sum(-1, dtype=torch.float64) - (was_whole - now_whole)
    found: list[float] = gaps.clamp(min=0).tolist()
    return found


def _query(model: Model, text: str, answer: str) -> Query:
    prompt = Prompt(0, 0, "attribute", text, answer)
    if not usable(model, prompt):
        raise ModelError("a causal model needs the blank at the prompt's end", f"prompt {text!r}", "Reword it.")
    return encode_prompt(model, prompt)


def _row(query: Query) -> _Row:
    return query.tokens, query.context, query.positions


def _batches(model: Model, rows: Sequence[_Row]) -> list[list[int]]:
    """Return the rows' numbers, batch by batch."""
    if model.masked or model.encoder_decoder:
        shapes: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, (tokens, context, _) in enumerate(rows):
            shapes[len(tokens), len(context)].append(number)
        return list(shapes.values())
    batches: list[list[int]] = []
    longest = 0
    for number in sorted(range(len(rows)), key=lambda number: -len(rows[number][0])):
        length = len(rows[number][0])
        if not batches or length < _FULL * longest or (len(batches[-1]) + 1) * longest > _TOKENS:
            batches.append([])
            longest = length
        batches[-1].append(number)
    return batches


def _states(model: Model, rows: Sequence[_Row]) -> list[Tensor]:
    """Return what the last block puts out at each row's positions, [P, D]; short rows repeat their last token."""
    longest = max(len(tokens) for tokens, _, _ in rows)
    filled = [(*tokens, *tokens[-1:] * (longest - len(tokens))) for tokens, _, _ in rows]
    given = torch.tensor(filled, device=model.device)
    context = torch.tensor([row[1] for row in rows], device=model.device) if model.encoder_decoder else None
    with watched_calls(model.blocks[-1:]) as calls:
        model.run(given, context)
    output = calls[-1].given.reshape(len(rows), longest, -1)
    return [output[number, list(positions)] for number, (_, _, positions) in enumerate(rows)]


def _judged(model: Model, queries: Sequence[Query], states: Mapping[_Row, Tensor]) -> list[tuple[Told, int]]:
    """Return each query's answer as told, and the token that is likeliest at its first position."""
    wanted: dict[tuple[_Row, int], list[int]] = defaultdict(list)
    for query in queries:
        for place, token in enumerate(query.answers):
            wanted[_row(query), place].append(token)
    spots = list(wanted)
    chances: dict[tuple[_Row, int, int], float] = {}
    best: dict[tuple[_Row, int], int] = {}
    for first in range(0, len(spots), _ROWS):
        some = spots[first : first + _ROWS]
        logits, whole = _logits(model, torch.stack([states[row][place] for row, place in some]))
        best |= dict(zip(some, logits.argmax(-1).tolist(), strict=True))
        pairs = [(number, spot, token) for number, spot in enumerate(some) for token in wanted[spot]]
        said = logits[[number for number, _, _ in pairs], [token for _, _, token in pairs]].double()
        said -= whole[[number for number, _, _ in pairs]]
        chances |= {(*spot, token): chance for (_, spot, token), chance in zip(pairs, said.tolist(), strict=True)}
    found = []
    for query in queries:
        row = _row(query)
        loss = -fmean(chances[row, place, token] for place, token in enumerate(query.answers))
        right = tuple(best[row, place] == token for place, token in enumerate(query.answers))
        found.append((Told(loss, right), best[row, 0]))
    return found


def _logits(model: Model, states: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits [n, V] in float32, and the logarithm of their exponentials' sum [n] in float64.

    The sum is taken in float64: a softmax in float32 over a large vocabulary is off by 1e-5.
    """
    logits = model.logits(states).float()
    top = logits.amax(-1, keepdim=True)
    whole = (logits - top).exp_().sum(-1, dtype=torch.float64).log()
    return logits, whole + top[:, 0].double()

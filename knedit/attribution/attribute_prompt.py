"""Attribute an answer to the FFN neurons of every layer: one prompt, or many prompts of one shape at once.

Answers of several tokens are teacher-forced: one attribution for each answer token at the position that predicts it,
added up (each is complete on its own). Knows models and queries; no catalog, no files.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from knedit.attribution.integrated_gradients import Integral, integrate
from knedit.attribution.method import Method
from knedit.errors import KneditError
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_text
from knedit.models.replay import DEFAULT_MEMORY, Replay

DEFAULT_BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """What one prompt gave, on the CPU in float32.

    `scores` [L, F]: Attr of every neuron, summed over the answer's tokens. `probability`: of the whole answer, the
    product over its tokens. `completeness_error` [L] ≥ 0: |Σ_i Attr_i − (P(w) − P(w0))|, summed over tokens.
    `rise` [L]: P(w) − P(w0), summed over tokens. `token_probabilities`: of each answer token.
    `points`: gradients taken.
    """

    scores: Tensor
    probability: float
    completeness_error: Tensor
    rise: Tensor
    token_probabilities: tuple[float, ...]
    points: int
    query: Query = field(repr=False)

    @property
    def relative_error(self) -> float:
        """The largest completeness error of a layer, as a share of the largest |P(w) − P(w0)|; 0 where all are 0."""
        largest = float(self.rise.abs().max())
        return float(self.completeness_error.max()) / largest if largest > 0 else 0.0


def attribute_prompt(
    model: Model,
    text: str,
    answer: str,
    *,
    method: Method | None = None,
    position: int | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Attribution:
    """Attribute an answer to every FFN neuron of the model.

    A causal model reads `text` and goes on with `answer` as it stands (mind its leading space); a masked model's
    `text` holds one mask token for each token of the answer. `position` is the token (from 0, or from the end if
    negative) whose neurons are attributed, instead of the positions that predict the answer. `method` is integrated
    gradients by the adaptive rule, if left out. Raises ModelError if model, text and answer do not fit, KneditError
    for an impossible position.
    """
    query = encode_text(model, text, answer)
    if position is not None:
        query = replace(query, neurons=(_resolve(position, query, model),))
    return attribute_queries(model, [query], method or Method(), memory=memory)[0]


def attribute_queries(
    model: Model,
    queries: Sequence[Query],
    method: Method,
    *,
    memory: int = DEFAULT_MEMORY,
    batch: int = DEFAULT_BATCH,
) -> list[Attribution]:
    """Attribute many queries, `batch` at once where they are of one kind; results in the order given.

    A causal model's queries go together whatever their length, a masked model's if they are of one length.
    """
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, query in enumerate(queries):
        groups[_kind(model, query)].append(number)
    found: dict[int, Attribution] = {}
    for numbers in groups.values():
        for first in range(0, len(numbers), batch):
            members = numbers[first : first + batch]
            together = _attribute_group(model, [queries[n] for n in members], method, memory=memory)
            found |= dict(zip(members, together, strict=True))
    return [found[number] for number in range(len(queries))]


def _kind(model: Model, query: Query) -> tuple[int, ...]:
    """Return what queries must have in common to be replayed together."""
    neurons = query.neurons or query.positions[:1]
    tail = len(query.tokens) if model.masked else query.positions[0] - min(neurons)
    return len(query.answers), len(neurons), tail


def _attribute_group(model: Model, queries: Sequence[Query], method: Method, *, memory: int) -> list[Attribution]:
    """Attribute queries with equally many answer tokens, one of these after the other."""
    integrals, probabilities = [], []
    for place in range(len(queries[0].answers)):
        replay = _replay(model, queries, place)
        probabilities.append(replay.probability)
        integrals.append(
            integrate(replay, rule=method.rule, steps=method.steps, tolerance=method.tolerance, memory=memory)
        )
    return _collect(queries, integrals, torch.stack(probabilities))


def _replay(model: Model, queries: Sequence[Query], place: int) -> Replay:
    """Record the base pass for one answer token; a causal model's prompts end where they predict it, at the right."""
    ends = [query.positions[place] for query in queries]
    rows = [query.tokens if model.masked else query.tokens[: end + 1] for query, end in zip(queries, ends, strict=True)]
    length = max(map(len, rows))
    gaps = [length - len(row) for row in rows]
    mask = [[0] * gap + [1] * len(row) for gap, row in zip(gaps, rows, strict=True)]
    changed = [
        [gap + token for token in query.neurons or (end,)] for gap, query, end in zip(gaps, queries, ends, strict=True)
    ]

    def tensor(numbers: object) -> Tensor:
        return torch.tensor(numbers, device=model.device)

    return Replay(
        model,
        tensor([(row[0],) * gap + row for gap, row in zip(gaps, rows, strict=True)]),
        positions=tensor(changed),
        answer_positions=tensor([gap + end for gap, end in zip(gaps, ends, strict=True)]),
        answers=tensor([query.answers[place] for query in queries]),
        mask=tensor(mask) if any(gaps) else None,
        gradients=True,
    )


def _resolve(position: int, query: Query, model: Model) -> int:
    """Return a position counted from 0; raise KneditError if it is outside the prompt or behind the answer."""
    last = len(query.tokens) - 1 if model.masked else query.positions[0]
    found = position + (len(query.tokens) if position < 0 else 0)
    if not 0 <= found <= last:
        raise KneditError(
            f"position {position} is outside the prompt's tokens 0 … {last}",
            "attribution",
            "Count from the first token, special tokens included.",
        )
    return found


def _collect(queries: Sequence[Query], integrals: Sequence[Integral], probabilities: Tensor) -> list[Attribution]:
    """Add the answer tokens' integrals up and cut them into one Attribution a prompt; probabilities [tokens, B]."""
    scores = torch.stack([integral.scores for integral in integrals]).sum(0).cpu()
    errors = torch.stack([integral.error.abs() for integral in integrals]).sum(0).cpu()
    rises = torch.stack([integral.rise for integral in integrals]).sum(0).cpu()
    points = torch.stack([integral.points for integral in integrals]).sum((0, 2))
    return [
        Attribution(
            scores[b],
            float(probabilities[:, b].prod()),
            errors[b],
            rises[b],
            tuple(probabilities[:, b].tolist()),
            int(points[b]),
            query,
        )
        for b, query in enumerate(queries)
    ]

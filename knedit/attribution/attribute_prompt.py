"""Attribute an answer to the FFN neurons of every layer: one prompt, or many prompts of one shape at once.

Answers of several tokens are teacher-forced: one attribution for each answer token at the position that predicts it,
added up (each is complete on its own). Knows models and queries; no catalog, no files.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from knedit.attribution.integrated_gradients import Integral, integrate
from knedit.attribution.method import Method
from knedit.errors import KneditError
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_text
from knedit.models.replay import DEFAULT_MEMORY, Replay

_LARGEST_GROUP = 16


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
    rule: str = "adaptive",
    steps: int | None = None,
    tolerance: float = 0.01,
    position: int | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Attribution:
    """Attribute an answer to every FFN neuron of the model.

    A causal model reads `text` and goes on with `answer` as it stands (mind its leading space); a masked model's
    `text` holds one mask token for each token of the answer. `position` is the token (from 0, or from the end if
    negative) whose neurons are attributed, instead of the positions that predict the answer. `rule` is `adaptive`,
    `gauss`, `midpoint`, `left` (Dai et al.'s code) or `right` (their paper), `steps` its number of points. Raises
    ModelError if model, text and answer do not fit, KneditError for an impossible rule, step count or position.
    """
    method = Method(rule=rule, steps=steps, tolerance=tolerance)
    query = encode_text(model, text, answer)
    return attribute_queries(model, [query], method, position=position, memory=memory)[0]


def attribute_queries(
    model: Model,
    queries: Sequence[Query],
    method: Method,
    *,
    position: int | None = None,
    memory: int = DEFAULT_MEMORY,
) -> list[Attribution]:
    """Attribute many queries, as many at once as exactness allows; results in the order given.

    A causal model's queries go together whatever their length, a masked model's if they are of one shape.
    """
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for number, query in enumerate(queries):
        shape = (len(query.tokens), query.positions)
        groups[(len(query.answers),) if position is None and not model.masked else shape].append(number)
    found: dict[int, Attribution] = {}
    for numbers in groups.values():
        for first in range(0, len(numbers), _LARGEST_GROUP):
            members = numbers[first : first + _LARGEST_GROUP]
            together = _attribute_group(model, [queries[n] for n in members], method, position=position, memory=memory)
            found |= dict(zip(members, together, strict=True))
    return [found[number] for number in range(len(queries))]


def _attribute_group(
    model: Model, queries: Sequence[Query], method: Method, *, position: int | None, memory: int
) -> list[Attribution]:
    """Attribute queries with equally many answer tokens, one of these after the other."""
    integrals, probabilities = [], []
    for place in range(len(queries[0].answers)):
        replay = _replay(model, queries, place, position)
        probabilities.append(replay.probability)
        integrals.append(
            integrate(replay, rule=method.rule, steps=method.steps, tolerance=method.tolerance, memory=memory)
        )
    return _collect(queries, integrals, torch.stack(probabilities))


def _replay(model: Model, queries: Sequence[Query], place: int, position: int | None) -> Replay:
    """Record the base pass for one answer token; a causal model's prompts end where they predict it."""
    answers = torch.tensor([query.answers[place] for query in queries], device=model.device)
    at = queries[0].positions[place]
    if model.masked or position is not None:
        tokens = torch.tensor([query.tokens for query in queries], device=model.device)
        changed = at if position is None else _resolve(position, len(queries[0].tokens), at, model)
        return Replay(model, tokens, position=changed, answer_position=at, answers=answers)
    rows = [query.tokens[: query.positions[place] + 1] for query in queries]
    length = max(map(len, rows))
    tokens = torch.tensor([(row[0],) * (length - len(row)) + row for row in rows], device=model.device)
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=model.device)
    last = length - 1
    return Replay(
        model, tokens, position=last, answer_position=last, answers=answers, mask=None if mask.all() else mask
    )


def _resolve(position: int, length: int, answer_position: int, model: Model) -> int:
    """Return a position counted from 0; raise KneditError if it is outside the prompt or behind the answer."""
    found = position + length if position < 0 else position
    last = length - 1 if model.masked else answer_position
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
    points = torch.stack([integral.points for integral in integrals]).sum((0, 2)).cpu()
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

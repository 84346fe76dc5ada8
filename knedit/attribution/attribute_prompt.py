"""Attribute an answer to the FFN neurons of every layer: one prompt, or many prompts of one shape at once.

Answers of several tokens are teacher-forced: one attribution for each answer token at the position that predicts it,
added up (each is complete on its own). Knows models and queries; no catalog, no files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from knedit.attribution.base_pass import base_pass, grouped
from knedit.attribution.baselines import BASELINES, Start
from knedit.attribution.integrated_gradients import Integral
from knedit.attribution.method import Method
from knedit.attribution.methods import score
from knedit.attribution.sigma import choose_sigma
from knedit.attribution.smoothing import SMOOTHINGS, sample_seeds
from knedit.errors import KneditError
from knedit.models.hooks import frozen
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_text
from knedit.models.replay import DEFAULT_MEMORY

DEFAULT_BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """What one prompt gave, on the CPU in float32.

    `scores` [L, F]: Attr of every neuron, summed over the answer's tokens. `probability`: of the whole answer, the
    product over its tokens. `completeness_error` [L] ≥ 0: |Σ_i Attr_i − (P(w) − P(w0))|, summed over tokens.
    `rise` [L]: P(w) − P(w0), summed over tokens. Both are NaN for methods whose scores add up to nothing. With
    smoothing, scores, errors and rises are means over the networks under noise, the probabilities are without noise.
    `token_probabilities`: of each answer token. `points`: gradients taken.
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
        """The largest completeness error of a layer, as a share of the largest |P(w) − P(w0)|; 0 where all are 0.

        NaN for a method whose scores do not add up to a probability.
        """
        largest = float(self.rise.abs().max())
        return 0.0 if largest == 0 else float(self.completeness_error.max()) / largest


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
    start: Start | None = None,
) -> list[Attribution]:
    """Attribute many queries, `batch` at once where they are of one kind; results in the order given.

    A causal model's queries go together whatever their length, a masked model's if they are of one length.
    Where the method is smoothed and has no σ, it is chosen on these queries. `start` is the method's baseline, made by
    `BASELINES`, for who attributes in many calls; a smoothed method makes it anew under each noise.
    """
    if method.smoothing is None:
        return _attribute(model, queries, method, memory=memory, batch=batch, start=start)
    sigma = method.sigma or choose_sigma(model, queries, method.smoothing)
    samples = []
    for seed in sample_seeds(method.seed, method.samples):
        with SMOOTHINGS[method.smoothing](model, sigma, seed):
            samples.append(_attribute(model, queries, method, memory=memory, batch=batch))
    without = _attribute(model, queries, Method("activation"), memory=memory, batch=batch)
    return [_averaged(own, under) for own, *under in zip(without, *samples, strict=True)]


def _averaged(without: Attribution, under: Sequence[Attribution]) -> Attribution:
    """Return the mean of attributions under noise; the probabilities are those without any."""
    return replace(
        without,
        scores=torch.stack([sample.scores for sample in under]).mean(0),
        completeness_error=torch.stack([sample.completeness_error for sample in under]).mean(0),
        rise=torch.stack([sample.rise for sample in under]).mean(0),
        points=sum(sample.points for sample in under),
    )


def _attribute(
    model: Model, queries: Sequence[Query], method: Method, *, memory: int, batch: int, start: Start | None = None
) -> list[Attribution]:
    """Attribute queries by the network as it is at the moment, whatever the method says of smoothing."""
    start = start or BASELINES[method.baseline](model, method.reference)
    found: dict[int, Attribution] = {}
    with frozen(model.net):
        for numbers in grouped(model, queries, largest=batch):
            together = _attribute_group(model, [queries[n] for n in numbers], method, start=start, memory=memory)
            found |= dict(zip(numbers, together, strict=True))
    return [found[number] for number in range(len(queries))]


def _attribute_group(
    model: Model, queries: Sequence[Query], method: Method, *, start: Start, memory: int
) -> list[Attribution]:
    """Attribute queries with equally many answer tokens, one of these after the other."""
    integrals, probabilities = [], []
    for place in range(len(queries[0].answers)):
        replay = base_pass(model, queries, place)
        integrals.append(score(replay, method, baseline=start(replay, queries, place), memory=memory))
        probabilities.append(replay.probability)
    return _collect(queries, integrals, torch.stack(probabilities))


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

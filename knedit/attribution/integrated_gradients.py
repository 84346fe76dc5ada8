"""Integrated gradients of an answer's probability over one layer's neurons at one position, for all layers.

Attr_i = (w_i − w0_i) · ∫₀¹ ∂P(y | x, w := w0 + α(w − w0)) / ∂w_i dα (Dai et al., ACL 2022, equation 4), the integral by
a rule of `quadrature`, or adaptively: a small Gauss rule everywhere, and intervals cut only where the completeness
Σ_i Attr_i = P(w) − P(w0) is missed. Knows no prompts, files or catalog.

Shapes: B prompts, L layers, F neurons, S points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from knedit.attribution.quadrature import RULES, gauss
from knedit.models.replay import DEFAULT_MEMORY, Answers, Replay, Rows

DEFAULT_STEPS: Mapping[str, int] = {"left": 20, "right": 20, "ends": 20, "midpoint": 20, "gauss": 6, "adaptive": 4}
MAX_CUTS = 6
# A path that is not smooth is so in its first half, where a massive neuron takes over the stream's norm.
FIRST_CUT = (0.125, 0.25, 0.375, 0.5)
LATER_CUT = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Integral:
    """What integration gave, all in float32 but the counts.

    `scores` [B, L, F]; `rise` [B, L] = P(w) − P(w0); `error` [B, L] = Σ Attr − rise; `points` [B, L]: gradients taken.
    """

    scores: Tensor
    error: Tensor
    rise: Tensor
    points: Tensor


@dataclass(slots=True)
class _Interval:
    """One stretch [low, high] of one prompt's path in one layer, with P at its lower end."""

    prompt: int
    layer: int
    low: float
    high: float
    p_low: float | None = None
    p_high: float | None = None


@dataclass(slots=True)
class _Path:
    """The replay, and what has been added up so far."""

    replay: Replay
    baseline: Tensor
    memory: int
    scores: Tensor = field(init=False)
    error: Tensor = field(init=False)
    points: Tensor = field(init=False)

    def __post_init__(self) -> None:
        layers, prompts, width = self.replay.activations.shape
        device = self.replay.activations.device
        self.scores = torch.zeros(prompts, layers, width, device=device)
        self.error = torch.zeros(prompts, layers, device=device)
        self.points = torch.zeros(prompts, layers, dtype=torch.long, device=device)


def integrate(
    replay: Replay,
    *,
    rule: str = "adaptive",
    steps: int | None = None,
    tolerance: float = 0.01,
    baseline: Tensor | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Integral:
    """Integrate every layer's path for every prompt of a replay.

    `steps` is the number of points (of each interval, if adaptive); `tolerance` bounds the adaptive completeness error
    of a layer, as a share of the prompt's largest |P(w) − P(w0)|; `baseline` [L, B, F] is w0, zero by default. What
    still misses the tolerance after six cuts is returned with its error.
    """
    assert rule in DEFAULT_STEPS, f"no such rule: {rule}"
    points = DEFAULT_STEPS[rule] if steps is None else steps
    path = _Path(replay, torch.zeros_like(replay.activations) if baseline is None else baseline, memory)
    whole = [
        _Interval(prompt, layer, 0.0, 1.0)
        for layer in range(path.scores.shape[1])
        for prompt in range(path.scores.shape[0])
    ]
    start = _start_probability(path)
    if rule == "adaptive":
        _integrate_adaptively(path, whole, start, points=points, tolerance=tolerance)
    else:
        nodes = RULES[rule](points)
        _spend(path, whole, nodes.points, nodes.weights)
        path.error = path.scores.sum(-1) - (replay.probability[:, None] - start)
    return Integral(path.scores, path.error, replay.probability[:, None] - start, path.points)


def _start_probability(path: _Path) -> Tensor:
    """Return P(w0) of each prompt and layer, [B, L]."""
    layers, prompts, _ = path.baseline.shape
    everyone = torch.arange(prompts, device=path.baseline.device)
    found = path.replay.probe(
        {layer: Rows(everyone, path.baseline[layer]) for layer in range(layers)}, gradients=False, memory=path.memory
    )
    return torch.stack([found[layer].probability for layer in range(layers)], dim=1)


def _integrate_adaptively(
    path: _Path, intervals: list[_Interval], start: Tensor, *, points: int, tolerance: float
) -> None:
    """Add up intervals whose completeness holds, cut the others; after the last cut take them as they are."""
    nodes = gauss(points)
    end = path.replay.probability
    allowed = tolerance * (end[:, None] - start).abs().amax(dim=1)
    for interval in intervals:
        interval.p_low = float(start[interval.prompt, interval.layer])
        interval.p_high = float(end[interval.prompt])
    for cuts in range(MAX_CUTS + 1):
        parts = _spend(path, intervals, nodes.points, nodes.weights, keep=False)
        failing = []
        for interval, part in zip(intervals, parts, strict=True):
            assert interval.p_low is not None
            assert interval.p_high is not None
            error = float(part.sum()) - (interval.p_high - interval.p_low)
            share = 0.25 if cuts else 1.0  # of a cut path, few pieces are rough
            if cuts == MAX_CUTS or abs(error) <= share * float(allowed[interval.prompt]):
                path.scores[interval.prompt, interval.layer] += part
                path.error[interval.prompt, interval.layer] += error
            else:
                failing.append(interval)
        if not failing:
            return
        intervals = _cut(path, failing, LATER_CUT if cuts else FIRST_CUT)


def _cut(path: _Path, intervals: Sequence[_Interval], cuts: Sequence[float]) -> list[_Interval]:
    """Cut each interval at the same parts of its length, where P is evaluated."""
    places = [[i.low + (i.high - i.low) * cut for cut in cuts] for i in intervals]
    found = _probe(path, intervals, places, gradients=False)
    pieces = []
    for interval, own, answers in zip(intervals, places, found, strict=True):
        ends = [interval.low, *own, interval.high]
        chances = [interval.p_low, *answers.probability.tolist(), interval.p_high]
        pieces += [
            _Interval(interval.prompt, interval.layer, ends[n], ends[n + 1], chances[n], chances[n + 1])
            for n in range(len(ends) - 1)
        ]
    return pieces


def _spend(
    path: _Path,
    intervals: Sequence[_Interval],
    points: Sequence[float],
    weights: Sequence[float],
    *,
    keep: bool = True,
) -> list[Tensor]:
    """Return each interval's part of the scores [F] by the rule; with `keep`, add it to the scores at once."""
    alphas = [[i.low + (i.high - i.low) * point for point in points] for i in intervals]
    found = _probe(path, intervals, alphas, gradients=True)
    parts = []
    for interval, answers in zip(intervals, found, strict=True):
        assert answers.gradient is not None
        shares = answers.gradient.new_tensor(weights) * (interval.high - interval.low)
        layer, prompt = interval.layer, interval.prompt
        part = (path.replay.activations[layer, prompt] - path.baseline[layer, prompt]) * (shares @ answers.gradient)
        path.points[prompt, layer] += len(points)
        if keep:
            path.scores[prompt, layer] += part
        parts.append(part)
    return parts


def _probe(
    path: _Path, intervals: Sequence[_Interval], alphas: Sequence[Sequence[float]], *, gradients: bool
) -> list[Answers]:
    """Evaluate P (and its gradient) at every α of every interval, all layers in one walk; one Answers an interval."""
    by_layer: dict[int, list[int]] = {}
    for number, interval in enumerate(intervals):
        by_layer.setdefault(interval.layer, []).append(number)
    experiments = {
        layer: _rows(path, layer, [intervals[n].prompt for n in numbers], [alphas[n] for n in numbers])
        for layer, numbers in by_layer.items()
    }
    found = path.replay.probe(experiments, gradients=gradients, memory=path.memory)
    answers: dict[int, Answers] = {}
    for layer, numbers in by_layer.items():
        counts = [len(alphas[n]) for n in numbers]
        probabilities = torch.split(found[layer].probability, counts)
        grads = found[layer].gradient
        parts = torch.split(grads, counts) if grads is not None else [None] * len(counts)
        for number, probability, part in zip(numbers, probabilities, parts, strict=True):
            answers[number] = Answers(probability, part)
    return [answers[number] for number in range(len(intervals))]


def _rows(path: _Path, layer: int, prompts: Sequence[int], alphas: Sequence[Sequence[float]]) -> Rows:
    """Return the scaled activations w0 + α(w − w0) of one layer, prompt after prompt."""
    device = path.baseline.device
    numbers = torch.tensor([b for b, row in zip(prompts, alphas, strict=True) for _ in row], device=device)
    scale = torch.tensor([alpha for row in alphas for alpha in row], device=device)[:, None]
    own, zero = path.replay.activations[layer][numbers], path.baseline[layer][numbers]
    return Rows(numbers, zero + scale * (own - zero))

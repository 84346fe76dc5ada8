"""Integrated gradients of an answer's probability over one layer's neurons at one position, for all layers.

Attr_i = (w_i − w0_i) · ∫₀¹ ∂P(y | x, w := w0 + α(w − w0)) / ∂w_i dα (Dai et al., ACL 2022, equation 4), the integral by
a rule of `quadrature`, or adaptively: a small Gauss–Lobatto rule everywhere, and stretches of the path cut only where
the completeness Σ_i Attr_i = P(w) − P(w0) is missed. The rule's ends cost nothing: the upper one is the base pass, P is
wanted at the lower one anyway, and a cut goes through points that are known. Knows no prompts, files or catalog.

Shapes: B prompts, L layers, P positions changed together, F neurons, S points, N stretches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from knedit.attribution.quadrature import RULES, Nodes, lobatto, panels
from knedit.models.replay import DEFAULT_MEMORY, Replay, Rows

DEFAULT_STEPS: Mapping[str, int] = {"left": 20, "right": 20, "ends": 20, "midpoint": 20, "gauss": 6, "adaptive": 5}
MAX_CUTS = 6
# What fp32 sums of thousands of terms cannot tell from 0, as a share of the probability.
_ROUNDING = 2e-6
# How much larger than the whole path's a panel's error may be.
_PANEL = 1.5


@dataclass(frozen=True, slots=True)
class Integral:
    """What integration gave, all in float32 but the counts.

    `scores` [B, L, F], summed over positions; `rise` [B, L] = P(w) − P(w0); `error` [B, L] = Σ Attr − rise; `points`
    [B, L]: gradients taken.
    """

    scores: Tensor
    error: Tensor
    rise: Tensor
    points: Tensor


@dataclass(slots=True)
class _Path:
    """The replay, w0 and w − w0 [L, B, P, F], and what has been added up so far."""

    replay: Replay
    start: Tensor
    memory: int
    way: Tensor = field(init=False)
    scores: Tensor = field(init=False)
    error: Tensor = field(init=False)
    points: Tensor = field(init=False)

    def __post_init__(self) -> None:
        layers, prompts, _, width = self.replay.activations.shape
        self.way = self.replay.activations - self.start
        self.scores = self.way.new_zeros(prompts, layers, width)
        self.error = self.way.new_zeros(prompts, layers)
        self.points = torch.zeros(prompts, layers, dtype=torch.long)

    def add(self, stretches: "_Stretches", parts: Tensor, errors: Tensor) -> None:
        """Add stretches' parts of the scores [N, F] and of the error [N]."""
        where = stretches.prompt, stretches.layer
        self.scores.index_put_(where, parts, accumulate=True)
        self.error.index_put_(where, errors, accumulate=True)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Probabilities [N, S] and gradients [N, S, P, F] at S points of N stretches."""

    chance: Tensor
    gradient: Tensor


@dataclass(frozen=True, slots=True)
class _Stretches:
    """N stretches [low, high] of some prompts' paths in some layers, in order of layers, and what their ends gave."""

    layer: Tensor
    prompt: Tensor
    low: Tensor
    high: Tensor
    ends: _Seen

    def places(self, points: Sequence[float]) -> Tensor:
        """Return where points of [0, 1] lie on the whole path, [N, S]."""
        return self.low[:, None] + (self.high - self.low)[:, None] * torch.tensor(points, dtype=torch.float64)

    def chosen(self, numbers: Tensor) -> "_Stretches":
        ends = _Seen(self.ends.chance[numbers], self.ends.gradient[numbers])
        return _Stretches(self.layer[numbers], self.prompt[numbers], self.low[numbers], self.high[numbers], ends)


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

    `steps` is the number of points (of each stretch, both ends included, if adaptive: at least 3); `tolerance` bounds
    the adaptive completeness error of a layer, as a share of the prompt's largest |P(w) − P(w0)| and of the norm of the
    layer's scores; `baseline`
    [L, B, P, F] is w0, zero by default. What still misses the tolerance after six cuts is returned with its error.
    """
    assert rule in DEFAULT_STEPS, f"no such rule: {rule}"
    points = DEFAULT_STEPS[rule] if steps is None else steps
    path = _Path(replay, torch.zeros_like(replay.activations) if baseline is None else baseline, memory)
    integrate_path = _integrate_adaptively if rule == "adaptive" else _integrate_by_rule
    rise = integrate_path(path, rule, points, tolerance)
    return Integral(path.scores, path.error, rise, path.points)


def _integrate_by_rule(path: _Path, rule: str, steps: int, tolerance: float) -> Tensor:
    """Add a fixed rule up and return the rises [B, L]; the path's upper end is the base pass, P(w0) its lower end."""
    del tolerance
    nodes = RULES[rule](steps)
    weights = dict(zip(nodes.points, nodes.weights, strict=True))
    at_end = weights.pop(1.0, 0.0)
    alphas = sorted({0.0, *weights})
    layer, prompt = _everywhere(path)
    seen = _evaluate(path, layer, prompt, torch.tensor([alphas] * len(layer), dtype=torch.float64), base=at_end > 0)
    shares = seen.gradient.new_tensor([weights.get(alpha, 0.0) for alpha in alphas])
    total = torch.einsum("s,nspf->npf", shares, seen.gradient)
    if path.replay.base_gradients is not None:
        total = total + at_end * path.replay.base_gradients[layer, prompt]
    parts = (path.way[layer, prompt] * total).sum(1)
    rise = path.replay.probability[prompt] - seen.chance[:, 0]
    path.scores[prompt, layer] = parts
    path.error[prompt, layer] = parts.sum(-1) - rise
    return _by_prompt(path, rise)


def _integrate_adaptively(path: _Path, rule: str, steps: int, tolerance: float) -> Tensor:
    """Add up stretches whose completeness holds, cut the others at their points; return the rises [B, L].

    After the last cut what is left is taken as it is.
    """
    del rule
    nodes = lobatto(steps)
    stretches, inner, rise = _whole_paths(path, nodes)
    allowed = torch.empty(0)
    for cuts in range(MAX_CUTS + 1):
        if cuts:
            inner = _evaluate(path, stretches.layer, stretches.prompt, stretches.places(nodes.points[1:-1]))
        parts, errors, panel_errors = _add_up(path, stretches, inner, nodes)
        if not cuts:
            allowed = _allowed(path, _by_prompt(path, parts.norm(dim=1)), rise, tolerance)
        share = 0.25 if cuts else 1.0  # of a cut path, few pieces are rough
        own = share * allowed[:, stretches.prompt, stretches.layer]
        fine = (errors.abs() <= own[0]) & (panel_errors <= own[1]) | (cuts == MAX_CUTS)
        kept, rough = fine.nonzero()[:, 0].cpu(), (~fine).nonzero()[:, 0].cpu()
        path.add(stretches.chosen(kept), parts[kept], errors[kept])
        if not len(rough):
            break
        stretches = _cut(stretches.chosen(rough), nodes.points, _Seen(inner.chance[rough], inner.gradient[rough]))
    return rise


def _allowed(path: _Path, norms: Tensor, rise: Tensor, tolerance: float) -> Tensor:
    """Return the completeness errors that a layer may have [2, B, L]: over its whole path, and in one of its panels.

    The whole may be wrong by the tolerance's share of the prompt's largest rise, and of the layer's own scores, as
    errors are where a few neurons turn over. In panels errors show that would cancel in the sum; they are larger,
    as a panel is less exact than the whole.
    """
    largest = rise.abs().amax(1, keepdim=True).expand_as(rise)
    rounding = _ROUNDING * path.replay.probability[:, None]
    whole = torch.maximum(tolerance * torch.minimum(largest, norms), rounding)
    return torch.stack([whole, torch.maximum(_PANEL * tolerance * largest, rounding)])


def _whole_paths(path: _Path, nodes: Nodes) -> tuple[_Stretches, _Seen, Tensor]:
    """Return every path as one stretch, what is seen at its inner points, and the rises [B, L]."""
    layer, prompt = _everywhere(path)
    low = torch.zeros(len(layer), dtype=torch.float64)
    alphas = low[:, None] + torch.tensor(nodes.points[:-1], dtype=torch.float64)
    seen = _evaluate(path, layer, prompt, alphas, base=True)
    assert path.replay.base_gradients is not None
    end = path.replay.probability[prompt]
    stretches = _Stretches(
        layer,
        prompt,
        low,
        low + 1,
        _Seen(
            torch.stack([seen.chance[:, 0], end], 1),
            torch.stack([seen.gradient[:, 0], path.replay.base_gradients[layer, prompt]], 1),
        ),
    )
    rise = _by_prompt(path, end - seen.chance[:, 0])
    return stretches, _Seen(seen.chance[:, 1:], seen.gradient[:, 1:]), rise


def _add_up(path: _Path, stretches: _Stretches, inner: _Seen, nodes: Nodes) -> tuple[Tensor, Tensor, Tensor]:
    """Return N stretches' parts of the scores [N, F], their completeness errors [N], and the largest of a panel [N]."""
    ends = stretches.ends
    chance = torch.cat([ends.chance[:, :1], inner.chance, ends.chance[:, 1:]], 1)
    gradient = torch.cat([ends.gradient[:, :1], inner.gradient, ends.gradient[:, 1:]], 1)
    way = (stretches.high - stretches.low).to(gradient)[:, None, None] * path.way[stretches.layer, stretches.prompt]
    parts = (way * torch.einsum("s,nspf->npf", gradient.new_tensor(nodes.weights), gradient)).sum(1)
    slopes = torch.einsum("npf,nspf->ns", way, gradient)
    rises = slopes @ gradient.new_tensor(panels(nodes.points)).T
    panel_errors = (rises - chance.diff(dim=1)).abs().amax(1)
    return parts, parts.sum(-1) - (chance[:, -1] - chance[:, 0]), panel_errors


def _cut(stretches: _Stretches, points: Sequence[float], inner: _Seen) -> _Stretches:
    """Cut each of N stretches at its inner points, where everything is known already, into S − 1 pieces."""
    places = stretches.places(points)
    pieces = len(points) - 1
    chance = torch.cat([stretches.ends.chance[:, :1], inner.chance, stretches.ends.chance[:, 1:]], 1)
    gradient = torch.cat([stretches.ends.gradient[:, :1], inner.gradient, stretches.ends.gradient[:, 1:]], 1)
    return _Stretches(
        stretches.layer.repeat_interleave(pieces),
        stretches.prompt.repeat_interleave(pieces),
        places[:, :-1].flatten(),
        places[:, 1:].flatten(),
        _Seen(
            torch.stack([chance[:, :-1], chance[:, 1:]], 2).flatten(0, 1),
            torch.stack([gradient[:, :-1], gradient[:, 1:]], 2).flatten(0, 1),
        ),
    )


def _everywhere(path: _Path) -> tuple[Tensor, Tensor]:
    """Return the layer and the prompt of every path, [L · B] each, layer after layer."""
    prompts, layers, _ = path.scores.shape
    return torch.arange(layers).repeat_interleave(prompts), torch.arange(prompts).repeat(layers)


def _by_prompt(path: _Path, values: Tensor) -> Tensor:
    """Turn values of all paths [L · B] into [B, L]."""
    prompts, layers, _ = path.scores.shape
    return values.view(layers, prompts).T.contiguous()


def _evaluate(path: _Path, layer: Tensor, prompt: Tensor, alphas: Tensor, *, base: bool = False) -> _Seen:
    """Return probability and gradient at alphas [N, S] of the paths of N (layer, prompt) pairs, in order of layers.

    With `base`, let the replay take the gradients at the paths' upper ends as well.
    """
    steps = alphas.shape[1]
    device = path.way.device
    experiments: dict[int, Rows] = {}
    for number in sorted(set(layer.tolist())):
        chosen = (layer == number).nonzero()[:, 0]
        prompts = prompt[chosen]
        scale = alphas[chosen].to(device, torch.float32)[:, :, None, None]
        start, way = path.start[number, prompts], path.way[number, prompts]
        values = (start[:, None] + scale * way[:, None]).flatten(0, 1)
        experiments[number] = Rows(prompts.repeat_interleave(steps).to(device), values)
    path.points.index_put_((prompt, layer), torch.full_like(prompt, steps), accumulate=True)
    found = path.replay.probe(experiments, base=base, memory=path.memory)
    chance = torch.cat([found[number].probability for number in experiments])
    gradient = torch.cat([answers.gradient for answers in found.values() if answers.gradient is not None])
    return _Seen(chance.view(len(layer), steps), gradient.view(len(layer), steps, *gradient.shape[1:]))

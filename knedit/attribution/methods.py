"""The attribution methods by name: each makes scores of a replay, all of one kind, stored alike.

Knows no prompts, files or catalog. What a method's configuration holds is said in `method`.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from knedit.attribution.activation import activation
from knedit.attribution.alignment import alignment
from knedit.attribution.gradient_activation import gradient_activation
from knedit.attribution.integrated_gradients import Integral, integrate
from knedit.attribution.log_probability_increase import log_probability_increase
from knedit.attribution.method import Method
from knedit.models.replay import Replay

Score = Callable[[Replay, Method, Tensor | None, int], Integral]


def score(replay: Replay, method: Method, *, baseline: Tensor | None, memory: int) -> Integral:
    """Return what a method gives for every neuron of every prompt; what it does not have is NaN.

    `baseline` [L, B, P, F] is w0 for the methods that take one, zero by default. Points are counted 0 where no gradient
    was taken.
    """
    return METHODS[method.name](replay, method, baseline, memory)


def _integrated_gradients(replay: Replay, method: Method, baseline: Tensor | None, memory: int) -> Integral:
    return integrate(
        replay, rule=method.rule, steps=method.steps, tolerance=method.tolerance, baseline=baseline, memory=memory
    )


def _activation(replay: Replay, method: Method, baseline: Tensor | None, memory: int) -> Integral:
    del method, baseline, memory
    return _incomplete(activation(replay), points=0)


def _gradient_activation(replay: Replay, method: Method, baseline: Tensor | None, memory: int) -> Integral:
    del method, baseline, memory
    return _incomplete(gradient_activation(replay), points=1)


def _log_probability_increase(replay: Replay, method: Method, baseline: Tensor | None, memory: int) -> Integral:
    del method, baseline
    return _incomplete(log_probability_increase(replay, memory=memory), points=0)


def _alignment(replay: Replay, method: Method, baseline: Tensor | None, memory: int) -> Integral:
    del method, baseline, memory
    return _incomplete(alignment(replay), points=0)


def _incomplete(scores: Tensor, *, points: int) -> Integral:
    """Return scores that do not add up to anything: their error and rise are NaN."""
    nothing = torch.full(scores.shape[:2], torch.nan, device=scores.device)
    return Integral(scores, nothing, nothing, torch.full(scores.shape[:2], points))


METHODS: Mapping[str, Score] = {
    "integrated-gradients": _integrated_gradients,
    "activation": _activation,
    "gradient-activation": _gradient_activation,
    "log-probability-increase": _log_probability_increase,
    "alignment": _alignment,
}

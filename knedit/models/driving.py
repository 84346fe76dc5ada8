"""How much lower neurons drive an upper one, and an answer: gradients along the path on which a whole layer grows.

All neurons of a layer at the answer's tokens are scaled together from 0 to what they are, and an upper neuron's
activation, or the answer's probability, is followed with its gradient by each. Built on `scaling`. Knows no rule of
integration and no facts. Source: the path is that of Dai et al. (ACL 2022, equation 4), its end another neuron.

Shapes: S steps, R rows (targets × steps), F neurons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from knedit.models.hooks import frozen
from knedit.models.model import Model
from knedit.models.prompting import Query
from knedit.models.scaling import Place, Scaling
from knedit.models.vocabulary import probability_of

Target = Place | None  # None: the answer


@dataclass(frozen=True, slots=True)
class Driven:
    """What a target is at each step [S], and its gradient [S, F] by the factors of a layer's neurons there."""

    values: Tensor
    gradients: Tensor


class Driving:
    """The base pass of one query; of an answer of several tokens, its first one counts."""

    def __init__(self, model: Model, query: Query) -> None:
        self._scaling = Scaling(model, [query])
        self._model = model
        self._place, self._token = self._scaling.answers[0][0]

    def activations(self, places: Sequence[Place]) -> Tensor:
        """Return the neurons' own activations [N], in float32."""
        return self._scaling.activations(places)[0]

    def along(self, layer: int, targets: Sequence[Target], alphas: Sequence[float]) -> list[Driven]:
        """Return what each target becomes as the layer's neurons are all scaled by each alpha.

        Targets are the answer and neurons of higher layers.
        """
        rows = torch.tensor(list(alphas) * len(targets), device=self._scaling.sites.device)
        factors = rows[:, None].expand(-1, self._model.layout.ffn_width).clone().requires_grad_()
        with torch.enable_grad():
            values = self._values({layer: factors}, targets, len(alphas))
            (gradient,) = torch.autograd.grad(values.sum(), factors)
        values, gradient = values.detach().float().cpu(), gradient.float().cpu()
        shape = (len(targets), len(alphas))
        return [Driven(*pair) for pair in zip(values.view(shape), gradient.view(*shape, -1), strict=True)]

    @torch.no_grad()
    def without(self, neurons: Sequence[Place], targets: Sequence[Target]) -> Tensor:
        """Return what each target is with each neuron by itself set to 0: [neurons, targets], in float32.

        NaN where the target is not above the neuron.
        """
        found = torch.full((len(neurons), len(targets)), torch.nan)
        for number, (layer, index) in enumerate(neurons):
            factors = torch.ones(1, self._model.layout.ffn_width, device=self._scaling.sites.device)
            factors[0, index] = 0.0
            heard = self._heard({layer: factors}, targets)
            for place, target in enumerate(targets):
                if target is None or target[0] > layer:
                    found[number, place] = float(heard[target][0])
        return found

    @torch.no_grad()
    def answer(self) -> float:
        """Return the probability of the answer's first token."""
        layer = self._model.layout.n_layers - 1
        factors = torch.ones(1, self._model.layout.ffn_width, device=self._scaling.sites.device)
        return float(self._heard({layer: factors}, [None])[None][0])

    def _values(self, factors: Mapping[int, Tensor], targets: Sequence[Target], steps: int) -> Tensor:
        """Return the rows' own targets [R]: of the first target's rows the first, and so on."""
        heard = self._heard(factors, targets)
        return torch.cat([heard[target][n * steps : (n + 1) * steps] for n, target in enumerate(targets)])

    def _heard(self, factors: Mapping[int, Tensor], targets: Sequence[Target]) -> dict[Target, Tensor]:
        """Return every target of every row, [R] each."""
        wanted: dict[int, list[Place]] = {}
        for target in targets:
            if target is not None:
                wanted.setdefault(target[0], []).append(target)
        found: dict[Target, Tensor] = {}

        def listen(layer: int, neurons: Tensor) -> None:
            for place in wanted.get(layer, ()):
                found[place] = neurons[:, self._place, place[1]].float()

        count = len(next(iter(factors.values())))
        queries = torch.zeros(count, dtype=torch.long, device=self._scaling.sites.device)
        last = None if None in targets else max(wanted)
        self._scaling.listen = listen
        try:
            with frozen(self._model.net), self._scaling.opened():
                hidden = self._scaling.climb(queries, factors, last=last)
                if None in targets:
                    states = hidden[:, self._place]
                    answers = torch.full((count,), self._token, device=states.device)
                    found[None] = probability_of(self._model, states, answers)
        finally:
            self._scaling.listen = None
        return found

"""What the down projections of a layer usually take in: second moments of keys, streamed and kept in double precision.

An edit is solved so that it says little to these keys. Those that matter most are keys at the last tokens of other
subjects, since that is what an edit must tell its own subject from; keys of running text stand for everything else.
Knows no files. Source: C of Meng et al. (ROME, NeurIPS 2022, section 3.1), there over running text alone; a few
thousand keys are enough (arXiv 2506.04226).

Shapes: n keys, F neurons of a layer, or those of it that are counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from knedit.editing.symmetric import Symmetric
from knedit.errors import EditError
from knedit.memory import give_back
from knedit.models.model import Model
from knedit.models.planting import keys_at_sites, read_up_to
from knedit.models.prompting import Query

_LEAST = 1e-300
_GIVEN_BACK = 16  # roundings, by which a rounded matrix's diagonal is raised


@dataclass(slots=True)
class Moment:
    """The sum of k kᵀ over `count` keys, [F, F] float64; it may be added to, and merged with another."""

    total: Tensor
    count: int = 0

    @classmethod
    def empty(cls, width: int) -> "Moment":
        return cls(torch.zeros(width, width, dtype=torch.float64))

    def add(self, keys: Tensor) -> None:
        """Count keys [n, F] in. Raises EditError if one is not finite."""
        exact = keys.double().cpu()
        if not torch.isfinite(exact).all():
            raise EditError(
                "a key is not finite", "statistics", "The weights may hold NaN or infinity, or need more precision."
            )
        self.total.addmm_(exact.T, exact)
        self.count += len(keys)

    def merged(self, other: "Moment") -> "Moment":
        return Moment(self.total + other.total, self.count + other.count)

    @property
    def mean(self) -> Tensor:
        """E[k kᵀ]; zeros where nothing was counted."""
        return self.total / max(self.count, 1)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Per layer, the moment of subjects' keys, that of running text's, and that of texts' first tokens.

    `sha256` names the weights that they were taken from.
    """

    sha256: str
    subjects: Mapping[int, Moment]
    text: Mapping[int, Moment]
    first: Mapping[int, Moment]
    _bases: dict[tuple[int, "Pricing"], "Scaled"] = field(default_factory=dict, init=False, repr=False, compare=False)

    def base(self, layer: int, pricing: "Pricing") -> "Scaled":
        """Return what M is of without any relation: the priced means [F, F] and the ridge, in float32.

        It is made once for a pricing, and not to be written to. Raises EditError where nothing was counted.
        """
        key = (layer, pricing)
        if key not in self._bases:
            for other in [made for made in self._bases if made[1] != pricing]:  # another plan's, of no use any more
                del self._bases[other]
            subjects, text = self.subjects[layer], self.text[layer]
            if subjects.count + text.count == 0:
                raise EditError("the statistics have counted no key", f"layer {layer}", "Take them from a longer text.")
            base = (subjects.mean * pricing.subjects).add_(text.mean, alpha=pricing.text)
            base.diagonal().add_(pricing.ridge * float(base.diagonal().mean()))
            self._bases[key] = Scaled.of(base.add_(self.first[layer].mean, alpha=pricing.first), torch.float32)
            give_back()
        return self._bases[key]

    def forget(self) -> None:
        """Make no use of the matrices that were made for a pricing any more: they are a plan's largest part."""
        self._bases.clear()

    def check(self, sha256: str, layers: Sequence[int]) -> None:
        """Raise EditError unless these are statistics of those weights and hold those layers."""
        if sha256 != self.sha256:
            raise EditError(
                f"the statistics are of the weights {self.sha256[:12]}, not {sha256[:12]}",
                "statistics",
                "Take them anew from this checkpoint: knedit statistics CHECKPOINT.",
            )
        missing = [layer for layer in layers if layer not in self.subjects or layer not in self.text]
        if missing:
            raise EditError(
                f"the statistics hold no layer {missing[0]}", "statistics", "Take them anew with the edit's layers."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """A symmetric positive matrix [F, F] as `unit`, whose rows and columns were divided by `scale` [F], float64.

    So float32 does for `unit`, where activations are of very different sizes; what is asked of it is float64.
    """

    unit: Symmetric
    scale: Tensor

    @classmethod
    def of(cls, exact: Tensor, dtype: torch.dtype) -> "Scaled":
        """Return a matrix scaled to a diagonal of 1; of what rounding takes of its definiteness some is given back."""
        scale = exact.diagonal().clamp(min=_LEAST).sqrt()
        unit = (exact / scale).div_(scale[:, None]).to(dtype)
        unit.diagonal().mul_(1 + _GIVEN_BACK * torch.finfo(dtype).eps)
        return cls(Symmetric.of(unit), scale)

    def diagonal(self) -> Tensor:
        return self.unit.diagonal() * self.scale.square()

    def row(self, column: int) -> Tensor:
        return self.unit.row(column) * self.scale * self.scale[column]

    def block(self, columns: Sequence[int]) -> Tensor:
        own = self.scale[list(columns)]
        return self.unit.block(columns).mul_(own).mul_(own[:, None])


@dataclass(slots=True)
class Noise:
    """The keys M that one layer's solve shall say little to: a matrix [F, F] and single weighted keys [n, F] beside it.

    M = dense + Σ keyᵀ key; kept apart, so that what a fact or a relation adds costs no second matrix.
    """

    dense: Scaled
    single: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.float64))

    @classmethod
    def of(cls, exact: Tensor) -> "Noise":
        """Return the noise that a matrix [F, F] in float64 is."""
        return cls(Scaled.of(exact, torch.float64))

    def diagonal(self) -> Tensor:
        found = self.dense.diagonal()
        return found + self.single.square().sum(0) if len(self.single) else found

    def row(self, column: int) -> Tensor:
        found = self.dense.row(column)
        return found + self.single[:, column] @ self.single if len(self.single) else found

    def block(self, columns: Sequence[int]) -> Tensor:
        chosen = list(columns)
        found = self.dense.block(chosen)
        return found.addmm_(self.single[:, chosen].T, self.single[:, chosen]) if len(self.single) else found

    def beside(self, keys: Tensor) -> "Noise":
        """Return the same with more single keys [n, F]; the matrix is shared."""
        exact = keys.double().cpu()
        return Noise(self.dense, torch.cat([self.single, exact]) if len(self.single) else exact)


@dataclass(frozen=True, slots=True)
class Pricing:
    """What counts in M: other subjects, running text, a relation's facts and prompts, contexts, near names, kept facts.

    `first` are the first tokens of texts: in some layers their activations are hundreds of times as large as any
    other's, all later tokens attend to what becomes of them, and means over all tokens would not show them. `prompts`
    are the other tokens of the relation's prompts, `kept` the facts that must stay. All of them are means over their
    keys, but for those of kept facts, which count one by one, and all together `kept_all` at most: beyond, hundreds of
    them would leave nothing else to count. `asked_by` are prompts once more, those of every relation of which a plan
    forgets facts, whatever its share of the plan. `elsewhere` are facts of other relations, and once more the other
    tokens of their prompts. `ridge` is relative to the mean of the diagonal of subjects and text.
    """

    subjects: float = 1.0
    text: float = 1.5
    first: float = 1.0
    relation: float = 3.0
    prompts: float = 3.0
    asked_by: float = 0.0
    contexts: float = 1.0
    decoys: float = 4.0
    elsewhere: float = 3.0
    kept: float = 1.0
    kept_all: float = 10.0
    ridge: float = 1e-3


def noise_of(
    statistics: Statistics,
    layer: int,
    pricing: Pricing,
    protected: Tensor | None = None,
    prompts: Tensor | None = None,
) -> Noise:
    """Return M of one layer; `protected` [n, F] are keys of subjects that the edit must leave alone.

    `prompts` [n, F] are those of other tokens in what these subjects are asked by. Raises EditError where nothing was
    counted.
    """
    noise = Noise(statistics.base(layer, pricing))
    for keys, weight in ((protected, pricing.relation), (prompts, pricing.prompts)):
        if keys is not None and len(keys):
            noise = noise.beside(keys.double() * (weight / len(keys)) ** 0.5)
    return noise


def count_subjects(model: Model, queries: Sequence[Query], layers: Sequence[int]) -> dict[int, Moment]:
    """Return the moments of the keys at the queries' sites."""
    keys = keys_at_sites(model, queries, layers)
    found = {layer: Moment.empty(model.layout.ffn_width) for layer in layers}
    for layer in layers:
        found[layer].add(keys[layer])
    return found


def count_text(model: Model, texts: Sequence[Sequence[int]], layers: Sequence[int]) -> dict[int, Moment]:
    """Return the moments of the keys of all tokens of texts but their first, whose activations are no other token's."""
    found = {layer: Moment.empty(model.layout.ffn_width) for layer in layers}
    seen: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    for tokens in texts:
        with torch.no_grad():
            for layer, keys in read_up_to(model, [_begun(tokens)], layers):
                seen[layer].append(keys[0, 1:])
    for layer, rows in seen.items():
        found[layer].add(torch.cat(rows))  # one product of many rows takes a fraction of many products
    return found


def count_first(model: Model, texts: Sequence[Sequence[int]], layers: Sequence[int]) -> dict[int, Moment]:
    """Return the moments of the keys of texts' first tokens; a causal model reads no further."""
    starts = [tuple(tokens) if model.masked else tuple(tokens[:1]) for tokens in texts]
    return count_subjects(model, [_begun(one) for one in starts], layers)


def _begun(tokens: Sequence[int]) -> Query:
    """Return the query of a text whose site is its first token."""
    return Query(tuple(tokens), tuple(tokens[:1]), (0,), (0,))

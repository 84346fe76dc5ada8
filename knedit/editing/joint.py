"""Solve a whole plan of wishes at once: what each fact needs, on which columns, and the value vectors that give it.

For every wish: contexts, the columns of each layer on which its key stands out, the vectors that its layers must put
out at the subject. Then one closed form a layer over all wishes. The model is untouched. Knows no catalog and no
files. Sources: Meng et al. (ROME, NeurIPS 2022; MEMIT, ICLR 2023), Gupta et al. (EMMET, 2024), restricted to columns.

Shapes: u facts, n keys, F neurons of a layer, D hidden.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from knedit.editing.apply import edited
from knedit.editing.closed_form import factor_of, selector
from knedit.editing.columns import choose_columns, editability
from knedit.editing.decoys import decoys_of
from knedit.editing.prior import NEUTRAL, subject_free
from knedit.editing.solve import ValueChange
from knedit.editing.statistics import Moment, Noise, Pricing, Statistics, noise_of
from knedit.editing.targets import Search, Sought, Target, target_values
from knedit.editing.wishes import Variety, Wish, contexts_of
from knedit.errors import EditError
from knedit.models.hooks import frozen
from knedit.models.model import Model
from knedit.models.planting import keys_at_sites
from knedit.models.prompting import Query, encode_prompt
from knedit.records import Prompt


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides how wishes are solved.

    `columns` is the most columns of a layer that one fact may change (0: all of them); with `shared`, the most that
    the whole plan may. `tolerance` is how much facts may disturb each other for the sake of everything else.
    `together` facts are searched side by side; each is told from `decoys` near names. An erased answer is brought down
    to `margin` times what the model says with a `neutral` word for the subject. What the edited network says is then
    held against `holding`, a search of what is still missing, and corrected at most `rounds` times.
    """

    layers: tuple[int, ...]
    columns: int = 64
    shared: bool = False
    tolerance: float = 0.02
    together: int = 4
    decoys: int = 24
    margin: float = 0.2
    neutral: tuple[str, ...] = NEUTRAL
    search: Search = field(default_factory=Search)
    holding: Search = field(default_factory=lambda: Search(steps=8, stop=0.3, slack=0.8))
    rounds: int = 3
    pricing: Pricing = field(default_factory=Pricing)
    variety: Variety = field(default_factory=Variety)
    erasing: Variety = field(default_factory=lambda: Variety(wordings=8))

    def variety_of(self, wish: Wish) -> Variety:
        """Return how many contexts a wish is solved in; what is forgotten in one wording is easily said in another."""
        return self.erasing if wish.new is None else self.variety


def default_layers(n_layers: int) -> tuple[int, ...]:
    """Return the layers to edit where nobody swept them: a fifth of all, from a tenth of the way up.

    Measured on SmolLM2-135M, of whose 30 layers these are 3 to 8: above, an edit generalises less and harms more.
    """
    first = round(n_layers / 10)
    return tuple(range(first, min(first + max(round(n_layers / 5), 1), n_layers)))


def widened(layers: Sequence[int], n_layers: int, n_facts: int) -> tuple[int, ...]:
    """Return the layers that so many facts need together: up to twice as many as one does, the next ones above.

    The more facts share a layer's columns, the more each answer costs the rest. Measured on SmolLM2-135M: 100 facts
    raise the perplexity of running text by 1.3 % in 6 layers and by 0.7 % in 10.
    """
    share = min(max((n_facts - 25) / 225, 0.0), 1.0)
    above = range(max(layers) + 1, n_layers)
    return (*sorted(layers), *above[: round(share * len(layers))])


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Subjects that an edit must leave alone, and their keys [n, F] a layer in the subjects' order.

    `around` are keys [m, F] a layer at other tokens of their prompts.
    """

    subjects: tuple[str, ...]
    keys: Mapping[int, Tensor]
    around: Mapping[int, Tensor] = field(default_factory=dict)

    def without(self, subjects: frozenset[str], layer: int) -> Tensor:
        kept = [number for number, subject in enumerate(self.subjects) if subject not in subjects]
        return self.keys[layer][kept].double().cpu()


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What a solve knows beside the model: statistics, each relation's other subjects, sentences to put before prompts.

    `kept` are facts that must stay as they are, protected ones and those that earlier edits changed: their keys are
    priced one by one. `barred` are columns of a layer that no wish may have.
    """

    statistics: Statistics
    sentences: Sequence[str]
    neighbours: Mapping[str, Neighbours] = field(default_factory=dict)
    kept: Neighbours | None = None
    barred: Mapping[int, frozenset[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """One wish with its columns, their editability e and its mean key [F], each by layer, and its search's result."""

    wish: Wish
    columns: Mapping[int, tuple[int, ...]]
    editability: Mapping[int, float]
    keys: Mapping[int, Tensor]
    target: Target


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Changes, one a layer, layers and indices ascending, and what came of each wish, in the wishes' order."""

    changes: tuple[ValueChange, ...]
    solved: tuple[Solved, ...]


def solve_wishes(
    model: Model,
    wishes: Sequence[Wish],
    around: Surroundings,
    recipe: Recipe,
    *,
    searched: Callable[[int], None] = lambda _: None,
) -> Solution:
    """Return the changes that grant all wishes together, computed with the model untouched.

    `searched` hears how many wishes have been searched, some at a time.
    Raises EditError for a wish that its contexts cannot hold, for a result that is not finite, and if nothing changes.
    Wishes whose search did not converge are solved all the same, and told by their target.
    """
    plan = Plan(model, around, recipe, wishes)
    ranked = sorted(range(len(wishes)), key=lambda number: wishes[number].relation)
    with frozen(model.net):
        for first in range(0, len(ranked), recipe.together):
            plan.search([wishes[number] for number in ranked[first : first + recipe.together]])
            searched(len(plan.solved))
    changes = plan.changes()
    places = {number: place for place, number in enumerate(ranked)}
    return Solution(changes, tuple(plan.solved[places[number]] for number in range(len(wishes))))


class Plan:
    """A plan being solved: wishes are searched some at a time, then one closed form a layer answers them all."""

    def __init__(self, model: Model, around: Surroundings, recipe: Recipe, wishes: Sequence[Wish]) -> None:
        self.model, self.around, self.recipe = model, around, recipe
        self.subjects = frozenset(wish.subject for wish in wishes)
        self.solved: list[Solved] = []
        self._sought: list[Sought] = []
        self._factors: dict[int, Tensor] = {}
        self._near = {layer: Moment.empty(model.layout.ffn_width) for layer in recipe.layers}
        self._noises: dict[tuple[tuple[str, ...], int], Noise] = {}

    def search(self, wishes: Sequence[Wish]) -> None:
        """Choose columns and search vectors for some of the wishes, each as if it were alone."""
        contexts = [contexts_of(wish, self.around.sentences, self.recipe.variety_of(wish)) for wish in wishes]
        sought = []
        for wish, own in zip(wishes, contexts, strict=True):
            texts = [context.text for context in own]
            queries = tuple(_query(self.model, wish, text) for text in texts)
            weights = tuple(context.weight for context in own)
            if wish.new is None:
                priors = subject_free(self.model, wish, texts, self.recipe.neutral)
                sought.append(Sought(queries, weights, "erase", tuple(self.recipe.margin * p for p in priors)))
            else:
                sought.append(Sought(queries, weights, "update"))
        decoys = [self._decoys(wish, one) for wish, one in zip(wishes, sought, strict=True)]
        columns: list[dict[int, tuple[int, ...]]] = [{} for _ in wishes]
        prices: list[dict[int, float]] = [{} for _ in wishes]

        def price(fact: int, keys: Mapping[int, Tensor]) -> Mapping[int, float]:
            for layer, rows in keys.items():
                near = self._near_keys(rows, sought[fact].weights, decoys[fact].get(layer))
                noise = self._noise((wishes[fact].relation,), layer).beside(near)
                key = mean_key(rows, sought[fact].weights)
                columns[fact][layer], prices[fact][layer] = self._columns(noise, key, wishes[fact], layer)
            return prices[fact]

        recipe = self.recipe
        found = target_values(self.model, sought, recipe.layers, search=recipe.search, price=price)
        for fact, target in enumerate(found):
            weights = sought[fact].weights
            for layer, rows in target.keys.items():
                self._near[layer].add(self._near_keys(rows, weights, decoys[fact].get(layer)))
            means = {layer: mean_key(rows, weights) for layer, rows in target.keys.items()}
            kept = replace(target, keys={})  # thousands of facts' contexts would fill the memory
            self.solved.append(Solved(wishes[fact], columns[fact], prices[fact], means, kept))
        self._sought += sought

    def changes(self) -> tuple[ValueChange, ...]:
        """Return the value vectors that give every searched wish its vectors, and what the edited network lacked still.

        A wish's target tells then what the edited network leaves of it.
        """
        layers = sorted(self.recipe.layers)
        self._factors.clear()
        columns = {layer: self._columns_of(layer) for layer in layers}
        olds = {layer: self.model.value_vectors(layer, columns[layer]).double().cpu() for layer in layers}
        found = tuple(self._change(layer, self.solved, columns[layer], olds[layer]) for layer in layers)
        asked = list(range(len(self.solved)))
        for left in range(self.recipe.rounds, -1, -1):
            holding = self.recipe.holding
            missing = self._missing(found, asked, holding if left else replace(holding, steps=0))
            asked = [number for number, one in enumerate(missing) if one.target.steps]
            if not asked:
                break
            more = [self._change(one.layer, missing, one.indices, one.old) for one in found]
            found = tuple(
                ValueChange(one.layer, one.indices, one.old, one.new + (other.new - other.old))
                for one, other in zip(found, more, strict=True)
            )
        if all(torch.equal(change.old, change.new) for change in found):
            wishes = "; ".join(one.wish.target for one in self.solved)
            raise EditError("the edit changes nothing", wishes, "Plan it otherwise.")
        return found

    def _missing(self, changes: Sequence[ValueChange], asked: Sequence[int], search: Search) -> list[Solved]:
        """Search what the edited network still lacks of some wishes; of the others and those that hold it is nothing.

        The wishes' own targets are told what is left now.
        """
        found = [_nothing(one) for one in self.solved]
        with edited(self.model, changes):
            for first in range(0, len(asked), self.recipe.together):
                some = asked[first : first + self.recipe.together]
                sought = [self._sought[number] for number in some]
                prices = [self.solved[number].editability for number in some]
                targets = target_values(
                    self.model, sought, self.recipe.layers, search=search, price=partial(_known_prices, prices)
                )
                for number, target in zip(some, targets, strict=True):
                    one = self.solved[number]
                    held = target.left <= self.recipe.search.good if target.steps == 0 else one.target.converged
                    now = replace(one.target, left=target.left, worst=target.worst, converged=held)
                    self.solved[number] = replace(one, target=now)
                    if target.steps:
                        found[number] = self._lacking(one, self._sought[number], target)
        return found

    def _lacking(self, one: Solved, sought: Sought, target: Target) -> Solved:
        """Return what one wish lacks, with the mean key of the contexts that lack it."""
        weights = [w if open_ else 0.1 * w for w, open_ in zip(sought.weights, target.open_, strict=True)]
        keys = {layer: mean_key(rows, weights) for layer, rows in target.keys.items()}
        return replace(one, keys=keys, target=replace(target, keys={}))

    def _columns_of(self, layer: int) -> tuple[int, ...]:
        """Return the columns of a layer that the plan changes."""
        if self.recipe.shared and self.recipe.columns:
            noise = self._known(layer)
            keys = torch.stack([one.keys[layer] for one in self.solved])
            barred = self.around.barred.get(layer, frozenset())
            return tuple(sorted(choose_columns(noise, keys, limit=self.recipe.columns, barred=barred).indices))
        return tuple(sorted({column for one in self.solved for column in one.columns[layer]}))

    def _known(self, layer: int) -> Noise:
        """Return all that the plan's answers must say little to."""
        known = self._noise(tuple(sorted({one.wish.relation for one in self.solved})), layer)
        return Noise(known.dense + self._near[layer].total / len(self.solved), known.single)

    def _change(self, layer: int, wanted: Sequence[Solved], columns: Sequence[int], old: Tensor) -> ValueChange:
        keys = torch.stack([one.keys[layer] for one in wanted])
        wished = torch.stack([one.target.offsets[layer] for one in wanted])
        if layer not in self._factors:
            self._factors[layer] = factor_of(self._known(layer), columns)
        deltas = wished.T @ selector(self._factors[layer], keys, columns, tolerance=self.recipe.tolerance).weights
        if not torch.isfinite(deltas).all():
            raise EditError(
                "the solver's result is not finite",
                f"layer {layer}",
                "The weights may hold NaN, or need more precision.",
            )
        return ValueChange(layer, tuple(columns), old, old + deltas.T)

    def _columns(self, noise: Noise, key: Tensor, wish: Wish, layer: int) -> tuple[tuple[int, ...], float]:
        barred = self.around.barred.get(layer, frozenset())
        if not self.recipe.columns:
            every = tuple(column for column in range(len(key)) if column not in barred)
            return every, editability(noise, key, every)
        found = choose_columns(noise, key, limit=self.recipe.columns, barred=barred)
        if not found.indices:
            raise EditError("the subject moves no neuron of a layer", wish.target, "Choose other layers.")
        return tuple(sorted(found.indices)), found.editability[-1]

    def _noise(self, relations: tuple[str, ...], layer: int) -> Noise:
        """Return M without the wishes' own share; of one relation at a time, so that memory holds few of them."""
        if (relations, layer) not in self._noises:
            if any(others != relations for others, _ in self._noises):
                self._noises.clear()
            self._noises[relations, layer] = self._beside_kept(Noise(self._dense(relations, layer)), layer)
        return self._noises[relations, layer]

    def _dense(self, relations: Sequence[str], layer: int) -> Tensor:
        known = [self.around.neighbours[name] for name in relations if name in self.around.neighbours]
        others = torch.cat([one.without(self.subjects, layer) for one in known]) if known else None
        told = [one.around[layer] for one in known if layer in one.around]
        prompts = torch.cat(told) if told else None
        return noise_of(self.around.statistics, layer, self.recipe.pricing, others, prompts).dense

    def _beside_kept(self, noise: Noise, layer: int) -> Noise:
        if self.around.kept is None:
            return noise
        return noise.beside(self.around.kept.without(self.subjects, layer) * self.recipe.pricing.kept**0.5)

    def _decoys(self, wish: Wish, sought: Sought) -> Mapping[int, Tensor]:
        if not self.recipe.decoys or self.model.encoder_decoder:
            return {}
        known = self.around.neighbours.get(wish.relation)
        donors = sorted(set(known.subjects if known else ()) - self.subjects)
        queries = decoys_of(self.model, sought.queries[0], donors, limit=self.recipe.decoys)
        return keys_at_sites(self.model, queries, self.recipe.layers) if queries else {}

    def _near_keys(self, keys: Tensor, weights: Sequence[float], decoys: Tensor | None) -> Tensor:
        """Return what a fact must be told from: its contexts' deviations and its decoys, each priced: [n, F]."""
        counts = torch.tensor(weights, dtype=torch.float64)
        deviations = (keys - mean_key(keys, weights)) * (counts / counts.sum()).sqrt()[:, None]
        parts = [deviations * self.recipe.pricing.contexts**0.5]
        if decoys is not None and len(decoys):
            parts.append(decoys.double() * (self.recipe.pricing.decoys / len(decoys)) ** 0.5)
        return torch.cat(parts)


def _known_prices(prices: Sequence[Mapping[int, float]], fact: int, _: Mapping[int, Tensor]) -> Mapping[int, float]:
    return prices[fact]


def _nothing(one: Solved) -> Solved:
    """Return a wish that lacks nothing: its keys, so that others leave it as it is, and no vectors."""
    none = {layer: torch.zeros_like(offset) for layer, offset in one.target.offsets.items()}
    return replace(one, target=replace(one.target, offsets=none, steps=0))


def mean_key(keys: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the weighted mean [F] of keys [n, F]: the one key a fact is solved for. Source: r-ROME (Gupta et al.)."""
    counts = torch.tensor(weights, dtype=torch.float64)
    return (counts[:, None] * keys).sum(0) / counts.sum()


def _query(model: Model, wish: Wish, text: str) -> Query:
    prompt = Prompt.make(0, "attribute", text, wish.answer)
    where = "answer" if model.encoder_decoder else "subject"
    return encode_prompt(model, prompt, where=where, subject=wish.subject)

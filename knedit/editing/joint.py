"""Solve a whole plan of wishes at once: what each fact needs, on which columns, and the value vectors that give it.

For every wish: contexts, the columns of each layer on which its key stands out, the vectors that its layers must put
out at the subject. Then one closed form a layer over all wishes. The model is untouched. Knows no catalog and no
files. Sources: Meng et al. (ROME, NeurIPS 2022; MEMIT, ICLR 2023), Gupta et al. (EMMET, 2024), restricted to columns.

Shapes: n keys, F neurons of a layer, D hidden.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from knedit.editing.closed_form import selector
from knedit.editing.columns import choose_columns
from knedit.editing.prior import NEUTRAL, subject_free
from knedit.editing.solve import ValueChange
from knedit.editing.statistics import Noise, Pricing, Statistics, noise_of
from knedit.editing.targets import Search, Sought, Target, target_values
from knedit.editing.wishes import Variety, Wish, contexts_of
from knedit.errors import EditError
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_prompt
from knedit.records import Prompt


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides how wishes are solved.

    `columns` is the most columns of a layer that one fact may change (0: all of them); with `shared`, the most that
    the whole plan may. `tolerance` is how much facts may disturb each other for the sake of everything else.
    `together` facts are searched side by side. An erased answer is brought down to `margin` times what the model says
    with a `neutral` word for the subject.
    """

    layers: tuple[int, ...]
    columns: int = 64
    shared: bool = False
    tolerance: float = 0.0
    together: int = 4
    margin: float = 0.5
    neutral: tuple[str, ...] = NEUTRAL
    search: Search = field(default_factory=Search)
    pricing: Pricing = field(default_factory=Pricing)
    variety: Variety = field(default_factory=Variety)


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Subjects that an edit must leave alone, and their keys [n, F] a layer in the subjects' order."""

    subjects: tuple[str, ...]
    keys: Mapping[int, Tensor]

    def without(self, subjects: frozenset[str], layer: int) -> Tensor:
        kept = [number for number, subject in enumerate(self.subjects) if subject not in subjects]
        return self.keys[layer][kept]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the search went for one wish; `editability` is e of its columns, a layer."""

    target: str
    steps: int
    left: float
    worst: float
    converged: bool
    editability: Mapping[int, float]


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Changes, one a layer, layers and indices ascending, and what came of each wish, in the wishes' order."""

    changes: tuple[ValueChange, ...]
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What a solve knows beside the model: statistics, each relation's other subjects, sentences to put before prompts.

    `edited` are facts that earlier edits changed, whose keys are protected one by one.
    """

    statistics: Statistics
    sentences: Sequence[str]
    neighbours: Mapping[str, Neighbours] = field(default_factory=dict)
    edited: Neighbours | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """One wish with its columns a layer, its search's result, its contexts' weights."""

    wish: Wish
    columns: Mapping[int, tuple[int, ...]]
    editability: Mapping[int, float]
    weights: Tensor
    target: Target

    def key(self, layer: int) -> Tensor:
        """The weighted mean of the contexts' keys, [F]."""
        return _mean(self.target.keys[layer], self.weights)

    def deviations(self, layer: int) -> Tensor:
        """What contexts' keys differ from their mean, [n, F], so weighted that the sum of squares is the variance."""
        return _deviations(self.target.keys[layer], self.weights)


def solve_wishes(model: Model, wishes: Sequence[Wish], around: Surroundings, recipe: Recipe) -> Solution:
    """Return the changes that grant all wishes together, computed with the model untouched.

    Raises EditError for a wish that its contexts cannot hold, for a result that is not finite, and if nothing changes.
    Wishes whose search did not converge are solved all the same and told in the outcomes.
    """
    solved = search_wishes(model, wishes, around, recipe)
    return Solution(combine(model, solved, around, recipe), tuple(_outcome(one) for one in solved))


def search_wishes(model: Model, wishes: Sequence[Wish], around: Surroundings, recipe: Recipe) -> list[Solved]:
    """Return each wish's columns and vectors, solved for alone."""
    subjects = frozenset(wish.subject for wish in wishes)
    found: list[Solved] = []
    noises: dict[tuple[str, int], Noise] = {}

    def noise(relation: str, layer: int) -> Noise:
        if (relation, layer) not in noises:
            noises[relation, layer] = _noise(around, recipe, layer, (relation,), subjects)
        return noises[relation, layer]

    for first in range(0, len(wishes), recipe.together):
        found += _search(model, wishes[first : first + recipe.together], around, recipe, noise)
    return found


def _search(
    model: Model,
    wishes: Sequence[Wish],
    around: Surroundings,
    recipe: Recipe,
    noise: Callable[[str, int], Noise],
) -> list[Solved]:
    contexts = [contexts_of(wish, around.sentences, recipe.variety) for wish in wishes]
    sought = [
        Sought(
            tuple(_query(model, wish, context.text) for context in own),
            tuple(context.weight for context in own),
            "erase" if wish.new is None else "update",
            _priors(model, wish, [context.text for context in own], recipe) if wish.new is None else (),
        )
        for wish, own in zip(wishes, contexts, strict=True)
    ]
    chosen: list[dict[int, tuple[tuple[int, ...], float]]] = [{} for _ in wishes]

    def price(fact: int, keys: Mapping[int, Tensor]) -> Mapping[int, float]:
        weights = torch.tensor(sought[fact].weights, dtype=torch.float64)
        for layer, rows in keys.items():
            own = noise(wishes[fact].relation, layer).beside(_deviations(rows, weights) * recipe.pricing.contexts**0.5)
            chosen[fact][layer] = _columns(own, _mean(rows, weights), recipe, wishes[fact].target)
        return {layer: e for layer, (_, e) in chosen[fact].items()}

    targets = target_values(model, sought, recipe.layers, search=recipe.search, price=price)
    return [
        Solved(
            wish,
            {layer: columns for layer, (columns, _) in own.items()},
            {layer: e for layer, (_, e) in own.items()},
            torch.tensor(one.weights, dtype=torch.float64),
            target,
        )
        for wish, own, one, target in zip(wishes, chosen, sought, targets, strict=True)
    ]


def combine(model: Model, solved: Sequence[Solved], around: Surroundings, recipe: Recipe) -> tuple[ValueChange, ...]:
    """Return the value vectors that give all facts their vectors, one closed form a layer."""
    subjects = frozenset(one.wish.subject for one in solved)
    relations = tuple(sorted({one.wish.relation for one in solved}))
    changes = []
    for layer in sorted(recipe.layers):
        noise = _noise(around, recipe, layer, relations, subjects)
        spread = torch.cat([one.deviations(layer) for one in solved]) * (recipe.pricing.contexts / len(solved)) ** 0.5
        noise = noise.beside(spread)
        keys = torch.stack([one.key(layer) for one in solved])
        wished = torch.stack([one.target.offsets[layer] for one in solved])
        columns = _union(noise, keys, solved, layer, recipe)
        picked = selector(noise, keys, columns, tolerance=recipe.tolerance)
        changes.append(_change(model, layer, columns, wished.T @ picked.weights))
    if all(torch.equal(change.old, change.new) for change in changes):
        raise EditError("the edit changes nothing", "; ".join(one.wish.target for one in solved), "Plan it otherwise.")
    return tuple(changes)


def _union(noise: Noise, keys: Tensor, solved: Sequence[Solved], layer: int, recipe: Recipe) -> tuple[int, ...]:
    if recipe.shared and recipe.columns:
        return tuple(sorted(choose_columns(noise, keys, limit=recipe.columns).indices))
    return tuple(sorted({column for one in solved for column in one.columns[layer]}))


def _change(model: Model, layer: int, columns: tuple[int, ...], deltas: Tensor) -> ValueChange:
    if not torch.isfinite(deltas).all():
        raise EditError(
            "the solver's result is not finite", f"layer {layer}", "The weights may hold NaN, or need more precision."
        )
    old = model.value_vectors(layer, columns).double().cpu()
    return ValueChange(layer, columns, old, old + deltas.T)


def _columns(noise: Noise, key: Tensor, recipe: Recipe, target: str) -> tuple[tuple[int, ...], float]:
    if not recipe.columns:
        every = tuple(range(len(key)))
        return every, float(key @ torch.linalg.solve(noise.block(every), key))
    found = choose_columns(noise, key, limit=recipe.columns)
    if not found.indices:
        raise EditError("the subject moves no neuron of a layer", target, "Choose other layers.")
    return tuple(sorted(found.indices)), found.editability[-1]


def _noise(
    around: Surroundings, recipe: Recipe, layer: int, relations: Sequence[str], subjects: frozenset[str]
) -> Noise:
    kept = [around.neighbours[name].without(subjects, layer) for name in relations if name in around.neighbours]
    noise = noise_of(around.statistics, layer, recipe.pricing, torch.cat(kept) if kept else None)
    if around.edited is None:
        return noise
    return noise.beside(around.edited.without(subjects, layer) * recipe.pricing.edited**0.5)


def _query(model: Model, wish: Wish, text: str) -> Query:
    prompt = Prompt.make(0, "attribute", text, wish.answer)
    where = "answer" if model.encoder_decoder else "subject-last"
    return encode_prompt(model, prompt, where=where, subject=wish.subject)


def _priors(model: Model, wish: Wish, texts: Sequence[str], recipe: Recipe) -> tuple[float, ...]:
    return tuple(recipe.margin * chance for chance in subject_free(model, wish, texts, recipe.neutral))


def _mean(keys: Tensor, weights: Tensor) -> Tensor:
    return (weights[:, None] * keys).sum(0) / weights.sum()


def _deviations(keys: Tensor, weights: Tensor) -> Tensor:
    return (keys - _mean(keys, weights)) * (weights / weights.sum()).sqrt()[:, None]


def _outcome(one: Solved) -> Outcome:
    target = one.target
    return Outcome(one.wish.target, target.steps, target.left, target.worst, target.converged, one.editability)

"""Solve a whole plan of wishes at once: what each fact needs, on which columns, and the value vectors that give it.

For every wish: contexts, the columns of each layer on which its key stands out, the vectors that its layers must put
out at the subject. Then one closed form a layer over all wishes. The model is untouched. Knows no catalog and no
files. Sources: Meng et al. (ROME, NeurIPS 2022; MEMIT, ICLR 2023), Gupta et al. (EMMET, 2024), restricted to columns.

Shapes: u facts, n keys, F neurons of a layer, D hidden.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from knedit.editing.apply import edited
from knedit.editing.around import Mixture, Region, Surroundings, kept_too
from knedit.editing.asking import begins_with_subject, contexts_asked, query_of
from knedit.editing.closed_form import factor_of, selector
from knedit.editing.columns import choose_columns, editability
from knedit.editing.decoys import decoys_of
from knedit.editing.groups import Chosen, Groups, grouped, mean_keys
from knedit.editing.objectives import ending
from knedit.editing.prior import forgotten_at
from knedit.editing.recipe import Recipe
from knedit.editing.solution import Solution, Solved, why_lost
from knedit.editing.solve import ValueChange
from knedit.editing.statistics import Noise
from knedit.editing.targets import Search, Sought, Target, Wanted, target_values
from knedit.editing.upheld import Solve, Tally, uphold
from knedit.editing.wishes import Wish
from knedit.errors import EditError, KneditError
from knedit.memory import give_back
from knedit.models.hooks import frozen
from knedit.models.model import Model
from knedit.models.planting import keys_at_sites
from knedit.models.prompting import Query

_TOLD = 5  # wishes that an error names
MANY, LARGE = 25, 512  # facts of a plan, and columns of a layer, beyond which matrices are not kept for later use


def solve_wishes(
    model: Model,
    wishes: Sequence[Wish],
    around: Surroundings,
    recipe: Recipe,
    *,
    skip: bool = False,
    searched: Callable[[int], None] = lambda _: None,
) -> Solution:
    """Return the changes that grant all wishes together, computed with the model untouched.

    `searched` hears how many wishes have been searched, some at a time. With `skip` wishes that cannot be searched, or
    that the edited network does not grant, are left out, and what was found for the others is solved without them.
    Raises EditError for a wish that its contexts cannot hold, for a result that is not finite, and if nothing changes.
    Without `skip` wishes whose search did not converge are solved all the same, and told by their target. Other facts
    are upheld once no wish is lacking.
    """
    plan = Plan(model, around, recipe, wishes)
    lost: dict[str, str] = {}
    ranked = sorted(wishes, key=lambda wish: wish.relation)
    with frozen(model.net):
        for first in range(0, len(ranked), recipe.together):
            some = ranked[first : first + recipe.together]
            if skip:
                lost |= plan.try_search(some)
            else:
                plan.search(some)
            searched(min(first + recipe.together, len(ranked)))
    changes: tuple[ValueChange, ...] = ()
    tally = Tally()
    while plan.solved:
        changes = plan.changes()
        failing = [one for one in plan.solved if not one.target.converged]
        if not failing:
            changes, tally = plan.uphold(changes)
        if not (skip and failing):
            break
        lost |= {one.wish.target: why_lost(one.target, recipe.search.good) for one in failing}
        plan.drop({one.wish.target for one in failing})
        changes = ()
    found = {id(one.wish): one for one in plan.solved}
    solved = tuple(found[id(wish)] for wish in wishes if id(wish) in found)
    return Solution(changes, solved, lost, tally)


class Plan:
    """A plan being solved: wishes are searched some at a time, then one closed form a layer answers them all."""

    def __init__(self, model: Model, around: Surroundings, recipe: Recipe, wishes: Sequence[Wish]) -> None:
        self.model, self.around, self.recipe = model, around, recipe
        self.subjects = frozenset(wish.subject for wish in wishes)
        self._forgetting = frozenset(wish.relation for wish in wishes if wish.new is None)
        self._planned = len(wishes)
        self.solved: list[Solved] = []
        self._sought: list[Sought] = []
        self._groups: list[Groups] = []
        self._factors: dict[int, Tensor] = {}
        self._mixture = Mixture(around, recipe.pricing, recipe.layers, model.layout.ffn_width)
        self._regions: dict[str, Region] = {}
        self._counts: Counter[str] = Counter()  # wishes of a region that were searched

    def try_search(self, wishes: Sequence[Wish]) -> dict[str, str]:
        """Search some of the wishes, or one by one where that fails; return by target why one cannot be searched."""
        try:
            self.search(wishes)
        except KneditError as error:
            if len(wishes) == 1:
                target = wishes[0].target
                return {target: error.what if error.where == target else f"{error.what} ({error.where})"}
            return {target: why for wish in wishes for target, why in self.try_search([wish]).items()}
        return {}

    def drop(self, targets: Set[str]) -> None:
        """Leave wishes that were searched out of the changes; what they must be told from stays in M."""
        kept = [number for number, one in enumerate(self.solved) if one.wish.target not in targets]
        self.solved = [self.solved[number] for number in kept]
        self._sought = [self._sought[number] for number in kept]
        self._groups = [self._groups[number] for number in kept]

    def search(self, wishes: Sequence[Wish]) -> None:
        """Choose columns and search vectors for some of the wishes, each as if it were alone; of all or of none."""
        self._enter({wish.relation for wish in wishes})
        sought = [self._sought_of(wish) for wish in wishes]
        recipe = self.recipe
        shared = [self._for_one_key(one) for one in sought]
        decoys = [self._decoys(wish) for wish in wishes]
        columns: list[dict[int, tuple[int, ...]]] = [{} for _ in wishes]
        prices: list[dict[int, float]] = [{} for _ in wishes]

        groups: list[Groups] = [() for _ in wishes]

        def choose(fact: int, keys: Mapping[int, Tensor], some: Groups) -> Chosen:
            chosen: Chosen = {}
            for layer, rows in keys.items():
                near = self._near_keys(rows, sought[fact].weights, some, decoys[fact].get(layer))
                region = self._regions[wishes[fact].relation]
                noise = kept_too(region.noise(layer), self.around, recipe.pricing, self.subjects, layer).beside(near)
                chosen[layer] = self._columns(noise, mean_keys(rows, sought[fact].weights, some), layer)
            return chosen

        def price(fact: int, keys: Mapping[int, Tensor]) -> Mapping[int, float]:
            groups[fact], chosen = grouped(keys, shared[fact], partial(choose, fact, keys))
            columns[fact] = {layer: own for layer, (own, _) in chosen.items()}
            prices[fact] = {layer: e for layer, (_, e) in chosen.items()}
            return prices[fact]

        give_back()
        found = target_values(self.model, sought, recipe.layers, search=recipe.search, price=price)
        for wish, own in zip(wishes, columns, strict=True):
            if not any(own.values()):
                raise EditError("the subject moves no neuron of the layers", wish.target, "Choose other layers.")
        for fact, target in enumerate(found):
            weights = sought[fact].weights
            for layer, rows in target.keys.items():
                self._mixture.add(layer, self._near_keys(rows, weights, groups[fact], decoys[fact].get(layer)))
            means = {layer: mean_keys(rows, weights, groups[fact]).float() for layer, rows in target.keys.items()}
            kept = replace(target, keys={})  # thousands of facts' contexts would fill the memory
            self.solved.append(Solved(wishes[fact], columns[fact], prices[fact], means, kept))
            self._counts[wishes[fact].relation] += 1
        self._sought += sought
        self._groups += groups

    def _sought_of(self, wish: Wish) -> Sought:
        contexts, asked = contexts_asked(self.model, wish, self.around.sentences, self.recipe)
        queries = tuple(asked)
        weights = tuple(context.weight for context in contexts)
        besides = tuple(query_of(self.model, wish, text, answer) for text, answer in wish.besides)
        if wish.new is None:
            recipe, texts = self.recipe, [context.text for context in contexts]
            spare = max(-math.log(recipe.margin) - recipe.search.good, 0.0)  # so that what is good is no more
            bounds = forgotten_at(self.model, wish, texts, recipe.neutral, margin=recipe.margin, share=recipe.usual)
            return Sought(queries, weights, "erase", bounds, spare, besides)
        return Sought((_ended(self.model, queries[0]), *queries[1:]), weights, "update", besides=besides)

    def _for_one_key(self, sought: Sought) -> list[int]:
        """Return the contexts that a single key speaks for: those that begin with the subject for new answers alone.

        To say one there by halves is worth something; to forget one so is not.
        """
        every = list(range(len(sought.queries)))
        if sought.operation == "update":
            return every
        return [number for number in every if not begins_with_subject(self.model, sought.queries[number])] or every

    def changes(self, *, once: bool = False) -> tuple[ValueChange, ...]:
        """Return the value vectors that give every searched wish its vectors, and what the edited network lacked still.

        A wish's target tells then what the edited network leaves of it. Updates alone are corrected: what is to be
        forgotten is searched far below what it may be, and chasing that further, with the others' changes in place,
        harms their relations more than it helps (SmolLM2, 50 facts: 25 % of siblings' answers lost instead of 20 %).
        Asked `once`, a plan without corrections lets go, layer by layer, of what it is solved from, and can be asked
        for nothing more.
        """
        self._factors.clear()
        self._enter(frozenset())
        self._mixture.settle()
        if len(self.solved) > MANY:
            self.around.statistics.forget()
        give_back()
        columns = {layer: own for layer in sorted(self.recipe.layers) if (own := self._columns_of(layer))}
        found = self._from_scratch(columns, keep=not once or self.recipe.rounds > 0)
        asked = [number for number, one in enumerate(self.solved) if not one.target.given_up]
        forgotten = [number for number in asked if self.solved[number].wish.new is None]
        asked = [number for number in asked if self.solved[number].wish.new is not None]
        for left in range(self.recipe.rounds, -1, -1):
            if not asked:
                break
            holding = self.recipe.holding
            lacking = self._missing(found, asked, holding if left else replace(holding, steps=0))
            asked = list(lacking)
            if asked:
                missing = [lacking.get(number) or one.settled for number, one in enumerate(self.solved)]
                found = tuple(self._changed_further(one, missing) for one in found)
        if forgotten:
            self._missing(found, forgotten, replace(self.recipe.holding, steps=0))
        if not any(change.differs.any() for change in found):
            told = [one.wish.target for one in self.solved]
            wishes = "; ".join(told[:_TOLD]) + (f"; and {len(told) - _TOLD} more" if len(told) > _TOLD else "")
            if any(one.target.given_up for one in self.solved):
                cure = "Allow more columns or layers, or edit fewer facts at once."
                raise EditError("each answer would harm the rest too much, and was given up", wishes, cure)
            cure = "Plan it otherwise; what the model hardly says need not be forgotten."
            raise EditError("the edit changes nothing", wishes, cure)
        return found

    def uphold(self, changes: tuple[ValueChange, ...]) -> tuple[tuple[ValueChange, ...], Tally]:
        """Return the plan's changes with what they took from facts that are to be upheld given back, and the tally."""
        if not self.around.upheld or not self.recipe.upheld:
            return changes, Tally()
        settled = [one.settled for one in self.solved]
        asked = [number for number, one in enumerate(self.solved) if not one.target.given_up]

        def correct(found: Sequence[ValueChange], more: Sequence[Wanted]) -> tuple[ValueChange, ...]:
            return tuple(self._changed_further(one, [*settled, *more]) for one in found)

        def grants(found: Sequence[ValueChange]) -> bool:
            before = self.solved.copy()
            self._missing(found, asked, replace(self.recipe.holding, steps=0))
            pairs = zip(before, self.solved, strict=True)
            if all(now.target.converged or not was.target.converged for was, now in pairs):
                return True
            self.solved = before
            return False

        keys = {change.layer: torch.cat([one.keys[change.layer] for one in self.solved]) for change in changes}
        solve = Solve(keys, self._factor, correct, grants)
        recipe = self.recipe
        return uphold(self.model, self.around.upheld, changes, solve, search=recipe.upholding, rounds=recipe.upheld)

    def _from_scratch(self, columns: Mapping[int, Sequence[int]], *, keep: bool) -> tuple[ValueChange, ...]:
        found = []
        for layer, own in columns.items():
            old = self.model.value_vectors(layer, own).cpu()
            found.append(self._change(layer, [one.wanted for one in self.solved], own, old))
            if not keep:
                self._mixture.forget(layer)
                self.solved = [replace(one, keys=_without(one.keys, layer)) for one in self.solved]
        return tuple(found)

    def _missing(self, changes: Sequence[ValueChange], asked: Sequence[int], search: Search) -> dict[int, Wanted]:
        """Search what the edited network still lacks of some wishes, and return it by number; of others it is nothing.

        The wishes' own targets are told what is left now.
        """
        found: dict[int, Wanted] = {}
        with edited(self.model, changes):
            for first in range(0, len(asked), self.recipe.together):
                some = asked[first : first + self.recipe.together]
                give_back()
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
                        found[number] = self._lacking(number, target)
        return found

    def _lacking(self, number: int, target: Target) -> Wanted:
        """Return what one wish lacks, with the mean keys of the contexts that lack it."""
        weights = self._sought[number].weights
        counts = [w if open_ else 0.1 * w for w, open_ in zip(weights, target.open_, strict=True)]
        keys = {layer: mean_keys(rows, counts, self._groups[number]).float() for layer, rows in target.keys.items()}
        return Wanted(keys, target.offsets)

    def _columns_of(self, layer: int) -> tuple[int, ...]:
        """Return the columns of a layer that the plan changes."""
        if self.recipe.shared and self.recipe.columns:
            noise = self._mixture.noise(layer, self.subjects)
            keys = torch.cat([one.keys[layer] for one in self.solved]).double()
            barred = self.around.barred.get(layer, frozenset())
            return tuple(sorted(choose_columns(noise, keys, limit=self.recipe.columns, barred=barred).indices))
        spent = self.around.spent.get(layer, frozenset()) - self.around.barred.get(layer, frozenset())
        return tuple(sorted(spent.union(*(one.columns[layer] for one in self.solved))))

    def _changed_further(self, change: ValueChange, missing: Sequence[Wanted]) -> ValueChange:
        more = self._change(change.layer, missing, change.indices, change.old)
        return replace(change, new=change.new + (more.new - more.old))

    def _factor(self, layer: int, columns: Sequence[int]) -> Tensor:
        """Return the factor of the plan's M; small ones are made once, those of large plans whenever they are asked."""
        if layer in self._factors:
            return self._factors[layer]
        factor = factor_of(self._mixture.noise(layer, self.subjects), columns)
        if len(columns) <= LARGE:
            self._factors[layer] = factor
        else:
            give_back()
        return factor

    def _change(self, layer: int, wanted: Sequence[Wanted], columns: Sequence[int], old: Tensor) -> ValueChange:
        keys = torch.cat([one.keys[layer] for one in wanted]).double()
        wished = torch.cat([one.offsets[layer].expand(len(one.keys[layer]), -1) for one in wanted])
        heard = keys[:, list(columns)].any(dim=1)  # a key that is 0 on all columns is given nothing here
        keys, wished = keys[heard], wished[heard]
        factor = self._factor(layer, columns)
        recipe = self.recipe
        own = selector(factor, keys, columns, tolerance=recipe.tolerance, ridge=recipe.ridge)
        deltas = wished.T @ own.weights
        if not torch.isfinite(deltas).all():
            raise EditError(
                "the solver's result is not finite",
                f"layer {layer}",
                "The weights may hold NaN, or need more precision.",
            )
        return ValueChange(layer, tuple(columns), old, old + deltas.T)

    def _columns(self, noise: Noise, keys: Tensor, layer: int) -> tuple[tuple[int, ...], float]:
        barred = self.around.barred.get(layer, frozenset())
        if not self.recipe.columns:
            every = tuple(column for column in range(keys.shape[-1]) if column not in barred)
            return every, editability(noise, keys, every)
        lengths = keys.norm(dim=1, keepdim=True).clamp(min=1e-12)  # so that none of several keys is overlooked
        found = choose_columns(noise, keys / lengths, limit=self.recipe.columns, barred=barred)
        chosen = tuple(sorted(found.indices))
        return chosen, editability(noise, keys, chosen) if chosen else 0.0

    def _enter(self, relations: Set[str]) -> None:
        """Make the surroundings of some relations; what others' wishes must say little to is counted in and dropped."""
        for relation in self._regions.keys() - relations:
            region = self._regions.pop(relation)
            if self._counts[relation]:
                besides = self._planned if relation in self._forgetting else 0
                self._mixture.add_region(region, self._counts.pop(relation), besides=besides)
        for relation in sorted(relations - self._regions.keys()):
            self._regions[relation] = Region(self.around, self.recipe.pricing, relation, self.subjects)

    def _decoys(self, wish: Wish) -> Mapping[int, Tensor]:
        if not self.recipe.decoys or self.model.at_answer:
            return {}
        others = self._regions[wish.relation].others
        queries = decoys_of(self.model, query_of(self.model, wish, wish.texts[0]), others, limit=self.recipe.decoys)
        return keys_at_sites(self.model, queries, self.recipe.layers) if queries else {}

    def _near_keys(self, keys: Tensor, weights: Sequence[float], groups: Groups, decoys: Tensor | None) -> Tensor:
        """Return what a fact must be told from: its contexts' deviations and its decoys, each priced: [n, F]."""
        counts = torch.tensor(weights, dtype=torch.float64)
        means = mean_keys(keys, weights, groups)
        own = keys.clone()  # a context that no key speaks for has nothing to be told from
        for group, mean in zip(groups, means, strict=True):
            own[list(group)] = mean
        deviations = (keys - own) * (counts / counts.sum()).sqrt()[:, None]
        parts = [deviations * self.recipe.pricing.contexts**0.5]
        if decoys is not None and len(decoys):
            parts.append(decoys.double() * (self.recipe.pricing.decoys / len(decoys)) ** 0.5)
        return torch.cat(parts)


def _without(keys: Mapping[int, Tensor], layer: int) -> Mapping[int, Tensor]:
    return {other: own for other, own in keys.items() if other != layer}


def _known_prices(prices: Sequence[Mapping[int, float]], fact: int, _: Mapping[int, Tensor]) -> Mapping[int, float]:
    return prices[fact]


def _ended(model: Model, query: Query) -> Query:
    """Return a query that asks for the end of the answer's last word as well, where the model can be asked that."""
    able = not model.masked and not model.encoder_decoder
    return ending(query) if able and len(query.tokens) < (model.max_tokens or math.inf) else query

"""The suites' solvers that choose their own columns: closed form with statistics, neighbours and earlier edits in view.

Rewrites that erase are brought down to what the model says without the subject. What a solver needs of the model, its
statistics and the keys of known facts, is made once for a run. It learns no prompt by which its edits are judged.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from knedit.checkpoints.fingerprint import behaviour_files, weights_sha256
from knedit.evaluation.cases import Rewrite
from knedit.flows.sources import starter_source
from knedit.flows.statistics import find_statistics, site_of_prompt
from knedit.flows.suite_solvers import SolvedRewrites, SuiteContext
from knedit.records import Prompt
from knedit.starter.sentences import sentences

if TYPE_CHECKING:
    from torch import Tensor

    from knedit.editing.around import Neighbours, Surroundings
    from knedit.editing.recipe import Recipe
    from knedit.editing.solve import ValueChange
    from knedit.editing.statistics import Statistics
    from knedit.editing.wishes import Wish
    from knedit.models.model import Model
    from knedit.models.prompting import Query

NEIGHBOURS = 256  # known facts of a relation, at most
AROUND = 12  # of these, whose prompts' other tokens must stay as well
REMEMBERED = 1_024  # texts whose keys are kept for the next edits, and one relation's more

Asked = tuple[str, str, str]  # a text, its subject, and an answer


FindStatistics = Callable[[tuple[int, ...]], "Statistics"]


@dataclass(slots=True)
class JointSolver:
    """Solves plans of rewrites on one model; large plans in more layers than the recipe's.

    With `train` it goes on from the closed form by gradient.
    """

    recipe: "Recipe"
    statistics: FindStatistics
    train: bool = False
    _keys: dict[str, "Mapping[int, Tensor]"] = field(default_factory=dict)
    _layers: tuple[int, ...] = ()
    _spent: dict[int, frozenset[int]] = field(default_factory=dict)
    _around_keys: dict[str, "Mapping[int, Tensor]"] = field(default_factory=dict)

    def __call__(self, model: "Model", rewrites: Sequence[Rewrite], context: SuiteContext) -> SolvedRewrites:
        from knedit.editing.joint import Plan

        began = time.perf_counter()
        recipe = self.recipe if context.columns is None else replace(self.recipe, columns=context.columns)
        facts = len(rewrites) + len(context.earlier)  # the weights hold those already
        erased = sum(rewrite.erase for rewrite in (*rewrites, *context.earlier))
        recipe = recipe.for_facts(model.layout.n_layers, facts, erased)
        if context.earlier or recipe.layers != self._layers:
            self._forget()  # the weights moved since, or other layers are asked for
        self._layers = recipe.layers
        if not context.earlier:
            self._spent.clear()
        ranked = sorted(rewrites, key=lambda rewrite: rewrite.relation)  # what a relation's facts share is made once
        wishes = [_wish(model, rewrite, context) for rewrite in ranked]
        plan = Plan(model, self._around(model, rewrites, context, recipe), recipe, wishes)
        failures: dict[str, str] = {}
        ready = time.perf_counter()
        for first in range(0, len(wishes), recipe.together):
            some = wishes[first : first + recipe.together]
            failures |= plan.try_search(some)
            context.searched([wish.target for wish in some])
        searched = time.perf_counter()
        if len(rewrites) > recipe.together:  # these texts will not be asked again, and what they hold is large
            self._forget()
        changes: Sequence[ValueChange] = plan.changes(once=True) if plan.solved else ()
        solved = time.perf_counter()
        parts = {"choose": ready - began, "target": searched - ready, "solve": solved - searched}
        if self.train and changes:
            changes = self._trained(model, [one.wish for one in plan.solved], changes, context, recipe)
            parts["train"] = time.perf_counter() - solved
        for change in changes:
            self._spent[change.layer] = self._spent.get(change.layer, frozenset()).union(change.indices)
        return SolvedRewrites(changes, failures, parts)

    def _trained(
        self,
        model: "Model",
        wishes: Sequence["Wish"],
        start: Sequence["ValueChange"],
        context: SuiteContext,
        recipe: "Recipe",
    ) -> "Sequence[ValueChange]":
        from knedit.editing.optimised import Training, train_values
        from knedit.flows.training import PROTECTED, sought_of

        known = [fact for name in dict.fromkeys(w.relation for w in wishes) for fact in context.known(name)[:PROTECTED]]
        asked = [(fact.text, fact.subject, fact.object) for fact in known]
        asked += [(one.text, one.subject, one.new) for one in context.earlier]
        kept = [query for query in (_query(model, one) for one in asked) if query is not None]
        sought = [sought_of(model, wish, recipe) for wish in wishes]
        return train_values(model, sought, kept, start=start, training=Training()).changes

    def _around(
        self, model: "Model", rewrites: Sequence[Rewrite], context: SuiteContext, recipe: "Recipe"
    ) -> "Surroundings":
        from knedit.editing.around import Surroundings

        def told(relation: str) -> "Neighbours | None":
            if len(rewrites) > recipe.together:  # a plan asks for one relation after the other, and for none again
                self._forget()
            known = [(one.text, one.subject, one.object) for one in context.known(relation)][:NEIGHBOURS]
            return self._neighbours(model, known)

        kept = self._neighbours(model, [(one.text, one.subject, one.new) for one in context.earlier])
        return Surroundings(
            self.statistics(recipe.layers),
            sentences(),
            told,
            kept,
            barred={} if context.random is None else _barred(model, rewrites, recipe, context.random),
            spent=dict(self._spent) if context.random is None else {},
        )

    def _forget(self) -> None:
        self._keys.clear()
        self._around_keys.clear()

    def _neighbours(self, model: "Model", asked: Sequence[Asked]) -> "Neighbours | None":
        """Return the keys of facts that the model can be asked; a text is looked at once in a run."""
        import torch

        from knedit.editing.around import Neighbours
        from knedit.models.planting import keys_at_sites

        if len(self._keys) > REMEMBERED:
            self._forget()
        queries = {text: _query(model, one) for one in asked if (text := one[0]) not in self._keys}
        able = {text: query for text, query in queries.items() if query is not None}
        found = keys_at_sites(model, list(able.values()), self._layers) if able else {}
        for number, text in enumerate(able):
            self._keys[text] = {layer: found[layer][number] for layer in self._layers}
        known = [(text, subject) for text, subject, _ in asked if text in self._keys]
        if not known:
            return None
        keys = {layer: torch.stack([self._keys[text][layer] for text, _ in known]) for layer in self._layers}
        for number, (text, _) in enumerate(known):  # the same memory for both
            self._keys[text] = {layer: keys[layer][number] for layer in self._layers}
        return Neighbours(tuple(subject for _, subject in known), keys, self._others(model, asked, known))

    def _others(
        self, model: "Model", asked: Sequence[Asked], known: Sequence[tuple[str, str]]
    ) -> "Mapping[int, Tensor]":
        """Return the keys at other tokens of the first known prompts; a text is looked at once in a run."""
        import torch

        from knedit.models.planting import keys_around_sites

        if model.encoder_decoder:
            return {}
        first = {text for text, _ in known[:AROUND]}
        for one in asked:
            if one[0] in first and one[0] not in self._around_keys:
                query = _query(model, one)
                assert query is not None
                self._around_keys[one[0]] = keys_around_sites(model, [query], self._layers)
        return {layer: torch.cat([self._around_keys[text][layer] for text in sorted(first)]) for layer in self._layers}


def optimised(model: "Model", facts: int = 1) -> JointSolver:
    """Return the closed form that is trained on, on the same columns, with other facts' prompts in view."""
    return replace(closed_form(model, facts), train=True)


def closed_form(model: "Model", facts: int = 1) -> JointSolver:
    """Return the solver with the model's statistics: those that are kept, or counted now over knedit's own text.

    They are of all layers that a run needs which brings edits of so many `facts` into the weights: later these are not
    the model's own any more.
    """
    from knedit.editing.recipe import Recipe
    from knedit.flows.solving import usual_layers

    layers = usual_layers(model.layout)
    folder = Path(model.source)
    sha256 = weights_sha256(folder, behaviour_files(folder))

    @lru_cache(maxsize=1)
    def find(wanted: tuple[int, ...]) -> "Statistics":
        return find_statistics(model, sha256, wanted, starter_source, progress=lambda _: None)

    recipe = Recipe(layers)
    find(recipe.for_facts(model.layout.n_layers, facts).layers)
    return JointSolver(recipe, find)


def _wish(model: "Model", rewrite: Rewrite, context: SuiteContext) -> "Wish":
    from knedit.editing.wishes import Wish, reworded
    from knedit.models.prompting import usable

    told = [(one.text, one.subject) for one in context.known(rewrite.relation)]
    said = [(text, Prompt.make(0, "attribute", text, rewrite.answer)) for text in reworded(told, rewrite.subject)]
    others = tuple(text for text, prompt in said if usable(model, prompt))
    new = None if rewrite.erase else rewrite.new
    return Wish(rewrite.key, rewrite.subject, (rewrite.text,), new, rewrite.true, others, rewrite.relation)


def _query(model: "Model", one: Asked) -> "Query | None":
    text, subject, answer = one
    return site_of_prompt(model, Prompt.make(0, "attribute", text, answer), subject)


def _barred(model: "Model", rewrites: Sequence[Rewrite], recipe: "Recipe", seed: int) -> dict[int, frozenset[int]]:
    """Bar all columns but as many of each layer, by chance, as the plan may have: the control."""
    width = model.layout.ffn_width
    chance = Random(f"{seed} {rewrites[0].key}")  # noqa: S311
    count = min(width, recipe.columns * len(rewrites) or width)
    return {layer: frozenset(range(width)) - set(chance.sample(range(width), count)) for layer in recipe.layers}

"""Solve those steps of a plan whose solver chooses its own neurons, all together, with the model untouched.

What cannot be solved is named by its fact; the plan stops there, or goes on without it.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from knedit.catalog.store import Catalog
from knedit.editing.around import Surroundings
from knedit.editing.joint import solve_wishes
from knedit.editing.recipe import Recipe, default_layers
from knedit.editing.solution import Solution, Solved, why_lost
from knedit.editing.solve import ValueChange, verb_of
from knedit.editing.statistics import Statistics
from knedit.editing.steps import Neuron
from knedit.editing.upheld import Tally
from knedit.errors import EditError, KneditError
from knedit.flows.choices import Choices
from knedit.flows.goals import Goal
from knedit.flows.stacking import Earlier
from knedit.flows.surroundings import (
    Wished,
    barred_columns,
    elsewhere_of,
    kept_facts,
    neighbours_of,
    upheld_facts,
    wishes_of,
)
from knedit.flows.tally import Standing
from knedit.flows.training import train_changes
from knedit.models.layout import Layout
from knedit.models.model import Model
from knedit.records import Refinement
from knedit.solved import EditOutcome
from knedit.starter.sentences import sentences

_TOLD = 5  # failures that an error names

logger = logging.getLogger(__name__)

GetStatistics = Callable[[Model, Sequence[int]], Statistics]


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """What solving together gave: changes, each wish's outcome, and why facts were left out, by target."""

    changes: tuple[ValueChange, ...] = ()
    wished: tuple[Wished, ...] = ()
    solved: tuple[Solved, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)

    def neurons(self, *, every: bool) -> dict[int, list[Neuron]]:
        """Return the value vectors of each step; with `every`, all of them at the first step, for they are one's own.

        Where all columns of a layer change, they belong to the plan and to no fact.
        """
        if every:
            first = min((one.step for one in self.wished), default=0)
            return {first: [(change.layer, index) for change in self.changes for index in change.indices]}
        found: dict[int, set[Neuron]] = {}
        for one, solved in zip(self.wished, self.solved, strict=True):
            own = {(layer, index) for layer, columns in solved.columns.items() for index in columns}
            found.setdefault(one.step, set()).update(own)
        every_one = {(change.layer, index) for change in self.changes for index in change.indices}
        if others := every_one.difference(*found.values()):  # of earlier edits, changed again for all facts together
            found.setdefault(min(one.step for one in self.wished), set()).update(others)
        return {step: sorted(neurons) for step, neurons in found.items()}

    def outcomes(self, edit_id: int) -> list[EditOutcome]:
        """Return how solving went, fact by fact."""
        return [_outcome(edit_id, one, solved) for one, solved in zip(self.wished, self.solved, strict=True)]


def _outcome(edit_id: int, one: Wished, solved: Solved) -> EditOutcome:
    layers = {
        str(layer): {"columns": len(columns), "editability": float(solved.editability[layer])}
        for layer, columns in sorted(solved.columns.items())
    }
    target = solved.target
    return EditOutcome(
        edit_id, one.step, one.fact.id, target.converged, target.steps, target.left, target.worst, layers
    )


def usual_layers(layout: Layout) -> tuple[int, ...]:
    """Return the layers that are edited unless told otherwise; of those that share their weights, one."""
    usual = default_layers(layout.n_layers, at_answer=layout.family.at_answer)
    return tuple(sorted({layout.block_of(layer): layer for layer in reversed(usual)}.values()))


def recipe_of(layout: Layout, choices: Choices, n_facts: int = 1, n_erased: int = 0) -> Recipe:
    """Return the recipe that choices ask for, for so many facts, of which so many are to be forgotten.

    None is given up where the plan would stop for it. Raises EditError for layers that the model has not, or has twice.
    """
    recipe = Recipe(choices.swept or usual_layers(layout)).for_facts(layout.n_layers, n_facts, n_erased)
    layers = choices.layers or recipe.layers
    if beyond := [layer for layer in layers if not 0 <= layer < layout.n_layers]:
        what = f"the model has no layer {beyond[0]}"
        raise EditError(what, "--layers", f"Choose among 0 … {layout.n_layers - 1}.")
    blocks = [layout.block_of(layer) for layer in layers]
    if len(set(blocks)) < len(blocks):
        first = next(n for n, block in enumerate(blocks) if block in blocks[:n])
        what = f"the layers {layers[blocks.index(blocks[first])]} and {layers[first]} share their weights"
        raise EditError(what, "--layers", "Choose layers with weights of their own.")
    recipe = replace(recipe, layers=layers)
    if choices.columns is not None:
        recipe = replace(recipe, columns=choices.columns)
    if choices.steps is not None:
        recipe = replace(recipe, search=replace(recipe.search, steps=choices.steps))
    return recipe if choices.on_failure == "skip" else recipe.in_full()


def solve_together(
    catalog: Catalog,
    model: Model,
    goals: Mapping[int, Goal],
    choices: Choices,
    *,
    refinement: Refinement | None,
    earlier: Earlier,
    statistics: GetStatistics,
    progress: Callable[[Standing], None] = lambda _: None,
) -> Joint:
    """Return the solution of goals by step. Raises EditError for facts that cannot be solved, or if all are left out.

    With `on_failure` "skip" such facts are left out, told on the log, and the others solved without them.
    """
    facts = sum(len(goal.facts) for goal in goals.values()) + len(earlier.targets)  # the weights hold those already
    erased = sum(len(goal.facts) for goal in goals.values() if goal.new is None)
    erased += sum(verb_of(target.operation) == "erase" for target in earlier.targets.values())
    recipe = recipe_of(model.layout, choices, facts, erased)
    wished, broken = wishes_of(catalog, model, goals, earlier, recipe)
    failures = {target: f"{error.what} ({error.where})" for target, error in broken.items()}
    _tell(failures, choices, wished)
    around = Surroundings(
        statistics(model, recipe.layers),
        sentences(),
        neighbours_of(catalog, model, wished, recipe.layers),
        kept_facts(catalog, model, {one.fact.id for one in wished}, earlier, recipe.layers),
        elsewhere_of(catalog, model, wished, recipe.layers),
        barred_columns(catalog, refinement),
        _by_layer(earlier.neurons) if recipe.columns else {},
        upheld_facts(catalog, model, wished, earlier) if recipe.upheld else (),
    )
    solution = _solved(model, wished, around, recipe, choices, progress)
    failures |= solution.lost
    _tell_upheld(solution.upheld)
    left = [one for one in wished if one.wish.target not in solution.lost]
    _tell(solution.lost, choices, left)
    changes = solution.changes
    if choices.update_solver == "optimised":
        changes = tuple(train_changes(catalog, model, left, changes, recipe))
    return Joint(changes, tuple(left), solution.solved, failures)


def _by_layer(neurons: Collection[Neuron]) -> dict[int, frozenset[int]]:
    found: dict[int, set[int]] = {}
    for layer, index in neurons:
        found.setdefault(layer, set()).add(index)
    return {layer: frozenset(indices) for layer, indices in found.items()}


def _solved(
    model: Model,
    wished: Sequence[Wished],
    around: Surroundings,
    recipe: Recipe,
    choices: Choices,
    progress: Callable[[Standing], None],
) -> Solution:
    """Return a solution with every fact that is lost told, be it left out of the changes or not."""
    every = len(wished)

    def searched(done: int) -> None:
        progress(Standing.of(done, every, 0, "facts"))

    wishes = [one.wish for one in wished]
    try:
        solution = solve_wishes(model, wishes, around, recipe, skip=choices.on_failure == "skip", searched=searched)
    except KneditError as error:
        if error.where not in {one.target for one in wishes}:
            raise
        return Solution((), (), {error.where: error.what})
    good = recipe.search.good
    missed = {one.wish.target: why_lost(one.target, good) for one in solution.solved if not one.target.converged}
    return replace(solution, lost={**solution.lost, **missed})


def _tell(failures: Mapping[str, str], choices: Choices, left: Sequence[Wished]) -> None:
    """Raise EditError naming the facts that failed, or, where they are to be left out, log them."""
    if not failures:
        return
    named = [f"{target}: {why}" for target, why in failures.items()]
    if choices.on_failure == "skip" and left:
        for one in named:
            logger.warning("Left out of the plan: %s", one)
        return
    more = f"; and {len(named) - _TOLD} more" if len(named) > _TOLD else ""
    what = f"{len(named)} facts cannot be solved" if len(named) > 1 else "a fact cannot be solved"
    cure = "Give it other prompts or layers, or more steps (--layers, --steps), or leave it out: --on-failure skip."
    raise EditError(f"{what}: {'; '.join(named[:_TOLD])}{more}", "plan", cure)


def _tell_upheld(tally: Tally) -> None:
    """Log what the edit takes from facts that it shall not change, and which it cannot tell apart from its own."""
    if tally.near:
        logger.warning("Asked like what is edited, and perhaps forgotten with it: %s", _listed(tally.near))
    if not tally.taken:
        return
    logger.info(
        "Of %d right answers of other facts the edit took %d, and all but %d were given back",
        tally.asked,
        tally.taken,
        len(tally.lost),
    )
    if tally.lost:
        logger.warning("The edit takes answers of other facts: %s", _listed(tally.lost))


def _listed(targets: Sequence[str]) -> str:
    """Return some of the facts, each once, and how many there are more."""
    facts = list(dict.fromkeys(targets))
    return ", ".join(facts[:_TOLD]) + (f" and {len(facts) - _TOLD} more" if len(facts) > _TOLD else "")


def merge_changes(model: Model, first: Sequence[ValueChange], then: Sequence[ValueChange]) -> list[ValueChange]:
    """Return changes as one, a layer each, from the model's own value vectors to the last ones."""
    import torch

    rows: dict[int, dict[int, torch.Tensor]] = {}
    for change in (*first, *then):
        rows.setdefault(change.layer, {}).update(zip(change.indices, change.new, strict=True))
    return [
        ValueChange.of(model, layer, sorted(own), torch.stack([own[index] for index in sorted(own)]))
        for layer, own in sorted(rows.items())
    ]

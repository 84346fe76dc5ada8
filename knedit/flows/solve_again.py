"""Solve a shipped plan once more, from what its `reproduce` folder tells and the catalog holds, and compare the values.

The catalog must know the facts; what an erasure took out is in no shipped folder. Whatever else solving takes from
the catalog and the cache, and is not as it was, is told beside the result.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from knedit.catalog.store import Catalog
from knedit.checkpoints.folder import FACTS, PLAN, REPRODUCE
from knedit.checkpoints.patch import TensorPatch
from knedit.checkpoints.recipe import Recipe
from knedit.editing.steps import Neuron, Step
from knedit.errors import CatalogError, CheckpointError
from knedit.flows.checkpoint import describe_checkpoint
from knedit.flows.choices import choices_of
from knedit.flows.edit import Planned, patches_of
from knedit.flows.edit_manifest import ERASING
from knedit.flows.goals import Goal, recall_goals
from knedit.flows.plan import Draft, joint_config, solve_draft
from knedit.flows.stacking import earlier_edits
from knedit.flows.statistics import Progress
from knedit.models.loading import load_model
from knedit.records import Checkpoint, Refinement, show_id

Vectors = Mapping[tuple[str, int | None, int], np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class SolvedAgain:
    """A plan's patches as they came out again, beside those that are stored.

    `vectors` counts the value vectors of both, `differing` those that are not equal in float64; `largest` is the
    largest difference of two numbers over the largest number of the stored vector. `others` tells what is other than
    when the plan was made.
    """

    patches: tuple[TensorPatch, ...]
    vectors: int
    differing: int
    largest: float
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Told:
    """One step as plan.json tells it; `neurons` are None where the solver chooses its own."""

    operation: str
    facts: tuple[str, ...]
    new: str | None
    neurons: tuple[Neuron, ...] | None


def solving_of(planned: Planned) -> dict[str, Any]:
    """Return what plan.json tells, so that a plan can be solved again: steps with their facts, and the refinement.

    Erased facts are told by relation and subject alone.
    """
    choices = choices_of(planned.edit.config)
    number = planned.edit.refinement_id
    return {
        "refinement": None if number is None else show_id(number),
        "steps": [
            {
                "operation": step.operation,
                "facts": [_reference(planned, one.fact_id, one.operation) for one in planned.targets if one.step == n],
                "new": step.new,
                "neurons": None if choices.joint(step.operation) else [list(neuron) for neuron in step.neurons],
            }
            for n, step in zip(sorted({one.step for one in planned.targets}), planned.steps, strict=True)
        ],
    }


def _reference(planned: Planned, fact_id: int, operation: str) -> str:
    fact = planned.facts[fact_id]
    told = f"{planned.relations[fact.relation_id]}/{fact.subject}"
    return told if operation in ERASING else f"{told}={fact.object}"


def solve_again(catalog: Catalog, recipe: Recipe, parent: Path, *, progress: Progress = lambda _: None) -> SolvedAgain:
    """Solve a recipe's plan with the weights of `parent` and the facts of the catalog; nothing is written.

    Raises CheckpointError where the plan does not tell of what, CatalogError where the catalog lacks it, and EditError
    for what cannot be solved.
    """
    checkpoint = describe_checkpoint(catalog, parent)
    if checkpoint.sha256 != recipe.parent_sha256:
        what = f"The weights have the sha256 {checkpoint.sha256[:12]}…, the plan's parent {recipe.parent_sha256[:12]}…"
        raise CheckpointError(what, str(parent), "Name the parent that the plan was made for: --parent FOLDER.")
    draft = _draft(catalog, checkpoint, recipe)
    model = load_model(parent)
    config = recipe.manifest["edit"]["config"]
    others = tuple(_others(config, joint_config(draft, model)))
    changes, _ = solve_draft(draft, model, config, progress)
    patches = tuple(patches_of(parent, model, changes))
    return SolvedAgain(patches, *_compared(_vectors(recipe.patches), _vectors(patches)), others)


def _draft(catalog: Catalog, checkpoint: Checkpoint, recipe: Recipe) -> Draft:
    where = f"{REPRODUCE}/{PLAN}"
    if recipe.solving is None:
        cure = "Without --solve-again what was solved is applied, which needs no facts."
        raise CheckpointError("The plan does not tell of what it was solved: its erasures are private", where, cure)
    try:
        told = [_parse(step) for step in recipe.solving["steps"]]
        choices = choices_of(recipe.manifest["edit"]["config"])
        reference = recipe.solving["refinement"]
        if any((step.neurons is None) != choices.joint(step.operation) for step in told):
            raise ValueError("neurons")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"What the plan tells of its solving is malformed: {error!r}"
        raise CheckpointError(what, where, "Fetch the folder again.") from error
    goals = _goals(catalog, told)
    steps = {
        n: Step(goal.operation, goal.target, step.neurons, goal.facts[0].object, goal.new)
        for n, (goal, step) in enumerate(zip(goals, told, strict=True))
        if step.neurons is not None
    }
    refinement = None if reference is None else _refinement(catalog, str(reference))
    return Draft(catalog, checkpoint, choices, goals, refinement, steps, earlier_edits(catalog, checkpoint))


def _parse(step: Mapping[str, Any]) -> _Told:
    facts = tuple(map(str, step["facts"]))
    if not facts or step["operation"] not in ("update", "amplify", *ERASING):
        raise ValueError("facts or operation")
    neurons = step["neurons"]
    return _Told(
        step["operation"],
        facts,
        None if step["new"] is None else str(step["new"]),
        None if neurons is None else tuple((int(layer), int(index)) for layer, index in neurons),
    )


def _goals(catalog: Catalog, told: Sequence[_Told]) -> list[Goal]:
    try:
        return recall_goals(catalog, [(step.operation, step.facts, step.new) for step in told])
    except CatalogError as error:
        cure = f"Solve it with the catalog in which it was planned; updated facts are in {REPRODUCE}/{FACTS}."
        raise CatalogError(
            f"The plan's facts are not all in the catalog: {error.what}", catalog.address, cure
        ) from error


def _refinement(catalog: Catalog, reference: str) -> Refinement:
    for one in catalog.refinements():
        if show_id(one.id) == reference:
            return one
    cure = "Solve it with the catalog in which it was planned."
    raise CatalogError(f"The catalog has not the refinement {reference} of the plan", catalog.address, cure)


def _others(config: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Yield what solving takes from catalog and cache, where it is not what the plan was solved with."""
    then, now = config.get("joint", {}), here.get("joint", {})
    if then.get("statistics") != now.get("statistics"):
        kept, old = (", ".join(map(str, one.get("statistics", ()))) or "none" for one in (now, then))
        yield f"statistics are {kept}, were {old}"
    if then.get("recipe") != now.get("recipe"):
        yield "the recipe, its prices or bounds, is another than that of the knedit which planned it"
    if then.get("around") != now.get("around"):
        yield "facts around those edited are other in this catalog, or have other prompts"
    if left_out := config.get("left_out"):
        yield f"{len(left_out)} facts that were left out of the plan are now among those around"


def _vectors(patches: Sequence[TensorPatch]) -> Vectors:
    return {
        (patch.tensor, patch.member, index): row
        for patch in patches
        for index, row in zip(patch.indices, np.asarray(patch.values, np.float64), strict=True)
    }


def _compared(stored: Vectors, again: Vectors) -> tuple[int, int, float]:
    """Return how many vectors there are, how many differ, and by how much at most, over the vector's largest number."""
    apart = [float("inf")] * len(stored.keys() ^ again.keys())
    for key in stored.keys() & again.keys():
        if not np.array_equal(stored[key], again[key]):
            size = float(np.abs(stored[key]).max())
            apart.append(float(np.abs(stored[key] - again[key]).max()) / size if size else float("inf"))
    return len(stored.keys() | again.keys()), len(apart), max(apart, default=0.0)

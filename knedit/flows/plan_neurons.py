"""Which neurons of the catalog's refinements a plan's steps change, and which no solver may touch.

Knows no weights.
"""

from collections.abc import Collection, Iterable, Sequence

from knedit.catalog.store import Catalog
from knedit.editing.choose import neurons_of_fact, neurons_of_relation
from knedit.editing.steps import Neuron, Step
from knedit.errors import CatalogError, EditError
from knedit.flows.choices import Choices
from knedit.flows.goals import Goal
from knedit.models.layout import Layout
from knedit.records import Checkpoint, Refinement, show_id


def find_refinement(catalog: Catalog, checkpoint: Checkpoint, reference: str | None) -> Refinement:
    """Return the checkpoint's newest refinement, or the one that `reference` begins to spell.

    Raises EditError for a refinement of another checkpoint: its neurons mean nothing here.
    """
    if reference is None:
        return catalog.latest_refinement(checkpoint.id)
    found = [one for one in catalog.refinements() if show_id(one.id).startswith(reference)]
    if len(found) != 1:
        raise CatalogError(f"{len(found)} refinements begin with {reference!r}", catalog.address, "Give more digits.")
    check_origin(catalog, checkpoint, found[0])
    return found[0]


def check_origin(catalog: Catalog, checkpoint: Checkpoint, refinement: Refinement) -> None:
    """Raise EditError unless the refinement's neurons were found in this very checkpoint."""
    if refinement.run_id not in {run.id for run in catalog.runs(checkpoint.id)}:
        raise EditError(
            f"the neurons of refinement {show_id(refinement.id)} were found in another checkpoint",
            f"checkpoint {checkpoint.name}",
            f"Run: knedit attribute {checkpoint.name}, then knedit refine {checkpoint.name}",
        )


def choose_steps(
    catalog: Catalog, checkpoint: Checkpoint, refinement: Refinement, goals: Sequence[Goal], choices: Choices
) -> list[Step]:
    """Return one step a goal with its neurons; what an erasure zeroes, no update may use."""
    refined = {fact.fact_id for fact in catalog.refined_facts(refinement.id)}
    taken: set[Neuron] = set()
    steps: dict[int, Step] = {}
    order = sorted(range(len(goals)), key=lambda number: goals[number].operation == "update")
    for number in order:
        goal = goals[number]
        _check_refined(checkpoint, goal, refined)
        if goal.operation == "erase-relation":
            step = _relation_step(catalog, refinement, goal, choices)
        else:
            step = _fact_step(catalog, refinement, goal, choices, taken)
        if goal.operation != "update":
            taken |= set(step.neurons)
        steps[number] = step
    return [steps[number] for number in range(len(goals))]


def _fact_step(
    catalog: Catalog, refinement: Refinement, goal: Goal, choices: Choices, taken: Collection[Neuron]
) -> Step:
    (fact,) = goal.facts
    neurons = catalog.neurons_of(refinement.id, fact.id)
    barred = taken if goal.operation == "update" else ()
    chosen = neurons_of_fact(neurons, roles=choices.roles, target=goal.target, taken=barred)
    return Step(goal.operation, goal.target, chosen, fact.object, goal.new)


def _relation_step(catalog: Catalog, refinement: Refinement, goal: Goal, choices: Choices) -> Step:
    generic = "generic" in choices.roles
    ranked = catalog.relation_neurons(refinement.id, goal.facts[0].relation_id)
    places = [(one.layer, one.index) for one in ranked if generic or not one.generic]
    chosen = neurons_of_relation(places, limit=choices.relation_neurons, target=goal.target)
    return Step(goal.operation, goal.target, chosen)


def _check_refined(checkpoint: Checkpoint, goal: Goal, refined: Collection[int]) -> None:
    if not any(fact.id in refined for fact in goal.facts):
        raise EditError(
            "the catalog has no refined neurons: it was not attributed, or not refined since",
            goal.target,
            f"Run: knedit attribute {checkpoint.name} --relation {goal.target.partition('/')[0]},"
            f" then knedit refine {checkpoint.name}",
        )


def shared_vector(layout: Layout, steps: Iterable[Step]) -> tuple[Neuron, Neuron] | None:
    """Return two neurons of a plan that are one value vector, as layers that share their weights have them; or None."""
    known: dict[Neuron, Neuron] = {}
    for layer, index in (neuron for step in steps for neuron in step.neurons):
        first = known.setdefault((layout.block_of(layer), index), (layer, index))
        if first != (layer, index):
            return first, (layer, index)
    return None


def check_distinct(layout: Layout, steps: Iterable[Step]) -> None:
    """Raise EditError if two neurons of a plan are one value vector."""
    if pair := shared_vector(layout, steps):
        raise EditError(
            f"the neurons {pair[0]} and {pair[1]} are one value vector, as their layers share their weights",
            f"family {layout.model_type}",
            "Refine with other thresholds, so that the plan holds one of them.",
        )

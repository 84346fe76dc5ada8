"""Plan an edit: from wishes in words, through the catalog's neurons, to a stored edit.

Planning solves the edit once with the model untouched, so that what cannot be done is said before anything is stored.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from knedit.catalog.store import Catalog
from knedit.editing.choose import neurons_of_fact, neurons_of_relation
from knedit.editing.solve import ValueChange, Weights, solve, solver_of
from knedit.editing.steps import Neuron, Step
from knedit.errors import CatalogError, EditError
from knedit.flows.curate import facts_in_use
from knedit.flows.neurons import warn_of_inconsistency
from knedit.models.layout import Layout
from knedit.models.model import Model
from knedit.records import Checkpoint, Edit, EditNeuron, EditTarget, Fact, Refinement, show_id


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user asks for, in words: `R/SUBJECT=NEW`, `R/SUBJECT`, relation keys, and names of saved selections.

    The facts of `selections` are erased one by one; those of `rewrites` are given the new object that the data set
    they came from requests.
    """

    updates: Sequence[str] = ()
    erasures: Sequence[str] = ()
    relations: Sequence[str] = ()
    selections: Sequence[str] = ()
    rewrites: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Choices:
    """How an edit is to be made: solvers, the roles of neurons that may be touched, and how many erase a relation."""

    update_solver: str = "embedding"
    erase_solver: str = "zero"
    weights: tuple[float, float] = field(default_factory=lambda: Weights().embedding)
    roles: tuple[str, ...] = ("fact",)
    relation_neurons: int = 20

    def as_config(self) -> dict[str, Any]:
        return {
            "update": {"solver": self.update_solver, "weights": list(self.weights)},
            "erase": {"solver": self.erase_solver, "relation_neurons": self.relation_neurons},
            "roles": list(self.roles),
        }


@dataclass(frozen=True, slots=True)
class Goal:
    """One wish, found in the catalog: the facts it touches and the new object, if any."""

    operation: str
    target: str
    facts: tuple[Fact, ...]
    new: str | None = None


def plan_edit(
    catalog: Catalog,
    checkpoint: Checkpoint,
    load: Callable[[Checkpoint], Model],
    wishes: Wishes,
    choices: Choices,
    *,
    refinement: str | None = None,
) -> Edit:
    """Plan an edit, store it, and return it.

    `load` is called once everything that needs no model has been checked. The same wishes on the same refinement are
    the same edit. Raises EditError or CatalogError for what is unknown,
    protected, contradictory, without neurons, or beyond the solver; then nothing is stored.
    """
    for operation, name in (("update", choices.update_solver), ("erase", choices.erase_solver)):
        solver_of(operation, name)
    goals = find_goals(catalog, wishes)
    chosen = find_refinement(catalog, checkpoint, refinement)
    steps = choose_steps(catalog, checkpoint, chosen, goals, choices)
    warn_of_inconsistency(catalog, chosen, [fact.id for goal in goals for fact in goal.facts])
    config = choices.as_config()
    model = load(checkpoint)
    if pair := shared_vector(model.layout, steps):
        raise EditError(
            f"the neurons {pair[0]} and {pair[1]} are one value vector, as their layers share their weights",
            f"family {model.layout.model_type}",
            "Refine with other thresholds, so that the plan holds one of them.",
        )
    changes = solve(model, steps, solvers_of(config), weights_of(config))
    spelled = [[goal.operation, [fact.id for fact in goal.facts], goal.new] for goal in goals]
    neurons = [list(step.neurons) for step in steps]
    identity = Edit.identify(checkpoint.id, chosen.id, config, [spelled, neurons])
    edit = Edit(identity, chosen.id, checkpoint.id, None, config, datetime.now(UTC))
    return catalog.put_edit(
        edit,
        [
            EditTarget(identity, number, fact.id, goal.operation, goal.new)
            for number, goal in enumerate(goals)
            for fact in goal.facts
        ],
        _edit_neurons(identity, steps, changes),
    )


def shared_vector(layout: Layout, steps: Iterable[Step]) -> tuple[Neuron, Neuron] | None:
    """Return two neurons of a plan that are one value vector, as layers that share their weights have them; or None."""
    known: dict[Neuron, Neuron] = {}
    for layer, index in (neuron for step in steps for neuron in step.neurons):
        first = known.setdefault((layout.block_of(layer), index), (layer, index))
        if first != (layer, index):
            return first, (layer, index)
    return None


def find_goals(catalog: Catalog, wishes: Wishes) -> list[Goal]:
    """Return the wishes as goals, updates first; raise EditError if one is empty, barred or contradictory.

    Retired facts are left out of relations and selections, and refused by name; protected facts are always refused.
    """
    goals = [_update_goal(catalog, wish) for wish in wishes.updates]
    keys = {relation.id: relation.key for relation in catalog.relations()}
    for name in wishes.rewrites:
        goals += _rewrite_goals(catalog, name, keys)
    erased = [catalog.find_fact(wish) for wish in wishes.erasures]
    erased += [fact for name in wishes.selections for fact in facts_in_use(catalog, name)]
    goals += [Goal("erase", f"{keys[fact.relation_id]}/{fact.subject}", (fact,)) for fact in erased]
    for key in wishes.relations:
        facts = tuple(fact for fact in catalog.facts(relation=key) if fact.status != "retired")
        if not facts:
            raise EditError("the relation has no facts to erase", key, "Run: knedit facts list")
        goals.append(Goal("erase-relation", key, facts))
    if not goals:
        raise EditError("nothing is to be edited", "plan", "Give --update, --erase, --erase-relation or a selection.")
    _check_goals(goals)
    return goals


def _update_goal(catalog: Catalog, wish: str) -> Goal:
    reference, sign, new = wish.rpartition("=")
    if not sign or not new.strip() or not reference:
        raise EditError("an update is written RELATION/SUBJECT=NEW", repr(wish), 'Example: "capital/France=Rome".')
    fact = catalog.find_fact(reference)
    return _goal_of(fact, reference, new.strip())


def _goal_of(fact: Fact, target: str, new: str) -> Goal:
    if new == fact.object:
        raise EditError(f"the new object {new!r} is the present one", target, "Choose another object.")
    return Goal("update", target, (fact,), new)


def _rewrite_goals(catalog: Catalog, name: str, keys: Mapping[int, str]) -> list[Goal]:
    facts = facts_in_use(catalog, name)
    wanted: dict[int, set[str]] = {fact.id: set() for fact in facts}
    for one in catalog.requested_rewrites(list(wanted)):
        wanted[one.fact_id].add(one.new_object)
    goals = []
    for fact in facts:
        target = f"{keys[fact.relation_id]}/{fact.subject}"
        if len(wanted[fact.id]) != 1:
            raise EditError(
                f"the catalog has {len(wanted[fact.id])} requested rewrites of the fact, not one",
                target,
                f"Leave it out of the selection, or say what you want: --update {target}=NEW",
            )
        (new,) = wanted[fact.id]
        goals.append(_goal_of(fact, target, new))
    return goals


def check_editable(fact: Fact, where: str) -> None:
    """Raise EditError for a fact that no edit may change: a protected or retired one."""
    if fact.status in ("protected", "retired"):
        raise EditError(
            f"the fact {fact.subject} – {fact.object} is {fact.status}",
            where,
            f"Leave it out of the edit, or change that: knedit facts status {show_id(fact.id)} approved",
        )


def _check_goals(goals: Sequence[Goal]) -> None:
    seen: dict[int, str] = {}
    for goal in goals:
        for fact in goal.facts:
            check_editable(fact, goal.target)
            if fact.id in seen:
                raise EditError(
                    f"the fact {fact.subject} – {fact.object} is edited twice, by {seen[fact.id]} and {goal.target}",
                    "plan",
                    "Keep one of the two.",
                )
            seen[fact.id] = goal.target


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


def solvers_of(config: Any) -> dict[str, str]:
    """Return the solver of each operation that an edit's configuration names."""
    erase = config["erase"]["solver"]
    return {"update": config["update"]["solver"], "erase": erase, "erase-relation": erase}


def weights_of(config: Any) -> Weights:
    """Return the solvers' settings that an edit's configuration holds."""
    old, new = config["update"]["weights"]
    return Weights((float(old), float(new)))


def _edit_neurons(identity: int, steps: Sequence[Step], changes: Sequence[ValueChange]) -> list[EditNeuron]:
    """Return the neurons of every step with the norms of their value vectors before and after the whole edit."""
    norms = {
        (change.layer, index): (float(old), float(new))
        for change in changes
        for index, old, new in zip(change.indices, change.old.norm(dim=-1), change.new.norm(dim=-1), strict=True)
    }
    return [
        EditNeuron(identity, number, *neuron, *norms[neuron])
        for number, step in enumerate(steps)
        for neuron in step.neurons
    ]

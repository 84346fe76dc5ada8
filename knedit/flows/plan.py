"""Plan an edit: from wishes in words, through the catalog's neurons or the solver's own, to a stored edit.

Planning solves the edit once with the model untouched, and puts it through its gates in memory, so that what cannot be
done is said before anything is stored. What was solved is stored with the plan, to be applied as it is.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from knedit.catalog.store import Catalog
from knedit.editing.apply import edited
from knedit.editing.solve import ValueChange, solve
from knedit.editing.statistics import Statistics
from knedit.editing.steps import Neuron, Step
from knedit.flows.choices import Choices, solvers_of, weights_of
from knedit.flows.gates import check_finite, check_gates, growth_of, judge, lost_targets, make_exam
from knedit.flows.goals import Goal, Wishes, find_goals
from knedit.flows.neurons import warn_of_inconsistency
from knedit.flows.plan_neurons import check_distinct, choose_steps, find_refinement
from knedit.flows.solving import Joint, merge_changes, recipe_of, solve_together
from knedit.flows.sources import choose_source
from knedit.flows.stacking import Earlier, earlier_edits
from knedit.flows.statistics import Progress, find_statistics, kept_editions
from knedit.flows.surroundings import around_of
from knedit.flows.sweep import swept_layers
from knedit.models.model import Model
from knedit.records import Checkpoint, Edit, EditNeuron, EditTarget, Refinement, fingerprint, show_id
from knedit.solved import EditGate, EditValue

logger = logging.getLogger(__name__)

Load = Callable[[Checkpoint], Model]

_TOLD, _PAIRED = 5, 50  # pairs of steps that are told, and steps of which each pair is looked at


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A plan on its way: its goals, steps of those that take the catalog's neurons, and what is known before it."""

    catalog: Catalog
    checkpoint: Checkpoint
    choices: Choices
    goals: Sequence[Goal]
    refinement: Refinement | None
    steps: Mapping[int, Step]
    earlier: Earlier

    @property
    def joint(self) -> dict[int, Goal]:
        """The goals whose solver chooses its own neurons, by step."""
        return {n: goal for n, goal in enumerate(self.goals) if self.choices.joint(goal.operation)}


def plan_edit(
    catalog: Catalog,
    checkpoint: Checkpoint,
    load: Load,
    wishes: Wishes,
    choices: Choices,
    *,
    refinement: str | None = None,
    progress: Progress = lambda _: None,
) -> Edit:
    """Plan an edit, store it, and return it.

    `load` is called once everything that needs no model has been checked; `progress` hears of searched facts, and of
    statistics that are counted on the way. The same wishes by the same choices are the same edit. Raises EditError or
    CatalogError for what is unknown, protected, contradictory, without neurons, beyond the solver, or stopped by a
    gate; then nothing is stored.
    """
    swept = swept_layers(catalog, checkpoint) if choices.layers is None else None
    if swept is not None:
        choices = replace(choices, swept=swept.layers)
    draft = _draft(catalog, checkpoint, wishes, choices, refinement)
    model = load(checkpoint)
    check_distinct(model.layout, draft.steps.values())
    config = choices.as_config() | joint_config(draft, model)
    if swept is not None and draft.joint:
        config["joint"]["layers_from"] = swept.named
    identity = _identify(draft, config)
    if known := [edit for edit in catalog.edits(checkpoint.id) if edit.id == identity]:
        return known[0]
    changes, joint = solve_draft(draft, model, config, progress)
    check_finite(changes)
    neurons = {n: step.neurons for n, step in draft.steps.items()} | joint.neurons(every=not _columns(config))
    _tell_shared(draft, neurons)
    targets = _targets(identity, draft, joint)
    gates = _pass_gates(draft, model, targets, changes, identity)
    if joint.failures:
        config["left_out"] = dict(joint.failures)
    own = None if draft.refinement is None else draft.refinement.id
    return catalog.put_edit(
        Edit(identity, own, checkpoint.id, None, config, datetime.now(UTC)),
        targets,
        _edit_neurons(identity, neurons, changes),
        values=_edit_values(identity, changes),
        outcomes=joint.outcomes(identity),
        gates=gates,
    )


def _draft(catalog: Catalog, checkpoint: Checkpoint, wishes: Wishes, choices: Choices, reference: str | None) -> Draft:
    choices.check()
    earlier = earlier_edits(catalog, checkpoint)
    goals = find_goals(catalog, wishes, earlier)
    plain = {n: goal for n, goal in enumerate(goals) if not choices.joint(goal.operation)}
    chosen: Refinement | None = None
    steps: dict[int, Step] = {}
    if plain or reference is not None or catalog.refinements(checkpoint.id):
        chosen = find_refinement(catalog, checkpoint, reference)
    if plain:
        assert chosen is not None
        found = choose_steps(catalog, checkpoint, chosen, list(plain.values()), choices)
        steps = dict(zip(plain, found, strict=True))
        warn_of_inconsistency(catalog, chosen, [fact.id for goal in plain.values() for fact in goal.facts])
    return Draft(catalog, checkpoint, choices, goals, chosen, steps, earlier)


def joint_config(draft: Draft, model: Model) -> dict[str, Any]:
    """Return what the configuration says of solvers that choose their own neurons, and of which statistics they use."""
    if not draft.joint:
        return {}
    facts = sum(len(goal.facts) for goal in draft.joint.values()) + len(draft.earlier.targets)
    recipe = recipe_of(model.layout, draft.choices, facts)
    editions = kept_editions(draft.checkpoint.sha256, recipe.layers)
    if len(editions) < len(recipe.layers):
        missing = choose_source(draft.catalog).edition
        editions |= {layer: missing for layer in recipe.layers if layer not in editions}
    config = {"layers": list(recipe.layers), "columns": recipe.columns, "steps": recipe.search.steps}
    config["recipe"] = show_id(fingerprint("recipe", asdict(recipe)))  # prices and bounds, which versions change
    config["on_failure"] = draft.choices.on_failure
    config["around"] = around_of(draft.catalog, draft.joint.values(), draft.earlier)
    return {"joint": {**config, "statistics": sorted(set(editions.values()))}}


def _columns(config: Mapping[str, Any]) -> int:
    return int(config.get("joint", {"columns": 1})["columns"])


def _identify(draft: Draft, config: Mapping[str, Any]) -> int:
    spelled = [[goal.operation, [fact.id for fact in goal.facts], goal.new] for goal in draft.goals]
    neurons = [list(step.neurons) for step in draft.steps.values()]
    own = None if draft.refinement is None else draft.refinement.id
    return Edit.identify(draft.checkpoint.id, own, config, [spelled, neurons])


def solve_draft(
    draft: Draft, model: Model, config: Mapping[str, Any], progress: Progress
) -> tuple[list[ValueChange], Joint]:
    """Return all changes of a plan, one a layer, and what its steps that are solved together gave; nothing is stored.

    The model is untouched. Raises EditError for what cannot be solved.
    """
    steps = list(draft.steps.values())
    plain = solve(model, steps, solvers_of(config), weights_of(config)) if steps else []
    joint = _solve_joint(draft, model, plain, progress)
    return merge_changes(model, plain, joint.changes), joint


def _solve_joint(draft: Draft, model: Model, plain: Sequence[ValueChange], progress: Progress) -> Joint:
    """Solve what chooses its own neurons, on the model as the other steps leave it."""
    if not draft.joint:
        return Joint()

    def statistics(of: Model, layers: Sequence[int]) -> Statistics:
        sha256 = draft.checkpoint.sha256
        found = find_statistics(of, sha256, layers, lambda: choose_source(draft.catalog), progress=progress)
        found.check(sha256, layers)
        return found

    with edited(model, plain):
        return solve_together(
            draft.catalog,
            model,
            draft.joint,
            draft.choices,
            refinement=draft.refinement,
            earlier=draft.earlier,
            statistics=statistics,
            progress=progress,
        )


def _targets(identity: int, draft: Draft, joint: Joint) -> list[EditTarget]:
    solved = {(one.step, one.fact.id) for one in joint.wished}
    return [
        EditTarget(identity, number, fact.id, goal.operation, goal.new)
        for number, goal in enumerate(draft.goals)
        for fact in goal.facts
        if number in draft.steps or (number, fact.id) in solved
    ]


def _pass_gates(
    draft: Draft, model: Model, targets: Sequence[EditTarget], changes: Sequence[ValueChange], identity: int
) -> list[EditGate]:
    gating = draft.choices.gating
    thresholds = gating.of(joint=bool(draft.joint))
    if not thresholds:
        return []
    exam = make_exam(draft.catalog, model, targets, draft.earlier, thresholds)
    growth = growth_of(model, changes)
    before = exam.look(model)
    with edited(model, changes):
        after = exam.look(model)
    gates = judge(exam, before, after, growth=growth, forced=gating.forced, edit_id=identity)
    check_gates(gates, lost_targets(exam, before, after), "plan")
    return gates


def _tell_shared(draft: Draft, neurons: Mapping[int, Sequence[Neuron]]) -> None:
    """Log how many value vectors steps share with each other, and with earlier edits of the weights."""
    sets = {draft.goals[number].target: frozenset(own) for number, own in neurons.items()}
    pairs = [(len(sets[a] & sets[b]), a, b) for a, b in combinations(sets, 2)] if len(sets) <= _PAIRED else []
    for count, a, b in sorted((pair for pair in pairs if pair[0]), key=lambda pair: -pair[0])[:_TOLD]:
        logger.warning("%s and %s share %d value vectors, of %d and %d", a, b, count, len(sets[a]), len(sets[b]))
    holders = Counter(neuron for own in sets.values() for neuron in own)
    if shared := sum(count > 1 for count in holders.values()):
        logger.info("%d of the plan's %d value vectors serve more than one step", shared, len(holders))
    if again := len(holders.keys() & draft.earlier.neurons):
        logger.info("%d of the plan's %d value vectors were changed by earlier edits", again, len(holders))


def _edit_neurons(
    identity: int, neurons: Mapping[int, Iterable[Neuron]], changes: Sequence[ValueChange]
) -> list[EditNeuron]:
    """Return the neurons of every step with the norms of their value vectors before and after the whole edit."""
    norms = {
        (change.layer, index): (old, new)
        for change in changes
        for index, (old, new) in zip(change.indices, change.norms.tolist(), strict=True)
    }
    return [
        EditNeuron(identity, number, *neuron, *norms[neuron])
        for number, own in sorted(neurons.items())
        for neuron in own
    ]


def _edit_values(identity: int, changes: Sequence[ValueChange]) -> list[EditValue]:
    return [
        EditValue(identity, change.layer, index, vector.tobytes())
        for change in changes
        for index, vector in zip(change.indices, change.new.numpy().astype("<f8"), strict=True)
    ]

"""Edits in memory that experiments try: the paper's, the paper's through random neurons, and knedit's own.

Knows no measure. The model is untouched: what comes back are changes to lend it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from knedit.analysis.update import without_hubs
from knedit.editing.embedding import turned_around
from knedit.editing.solve import ValueChange, solve
from knedit.editing.statistics import Statistics
from knedit.editing.steps import Step
from knedit.flows.choices import Choices
from knedit.flows.experiments.lab import NO_NEURONS, Lab, Subject
from knedit.flows.experiments.running import UnableError
from knedit.flows.goals import Goal
from knedit.flows.solving import solve_together
from knedit.flows.sources import choose_source
from knedit.flows.stacking import NOTHING
from knedit.flows.statistics import find_statistics
from knedit.flows.sweep import swept_layers
from knedit.models.model import Model
from knedit.models.scaling import Place, activations

ERASED = 20  # value vectors of a relation, as in the paper


@dataclass(frozen=True, slots=True)
class Update:
    """One fact to be given a new object, with the neurons that the paper's solver changes."""

    subject: Subject
    new: str
    neurons: tuple[Place, ...]


def own_neurons(lab: Lab, subject: Subject) -> tuple[Place, ...]:
    """Return a fact's neurons but its relation's hubs, which may be none."""
    facts = len(lab.everyone[subject.relation])
    return tuple(without_hubs(subject.places, lab.users(subject.fact.relation_id), facts))


def no_neurons(subject: Subject) -> UnableError:
    """Return why a fact has no neuron of its own."""
    what = (
        "The refinement kept no neuron of the fact"
        if not subject.neurons
        else ("All neurons of the fact are held by more than a tenth of its relation's facts")
    )
    return UnableError(NO_NEURONS, what)


def _by_neurons(lab: Lab, update: Update, neurons: tuple[Place, ...]) -> Sequence[ValueChange]:
    step = Step("update", update.subject.named, neurons, update.subject.fact.object, update.new)
    return solve(lab.model, [step], {"update": "embedding"})


def _paper(lab: Lab, update: Update) -> Sequence[ValueChange]:
    return _by_neurons(lab, update, update.neurons)


def _random(lab: Lab, update: Update) -> Sequence[ValueChange]:
    return _by_neurons(lab, update, lab.other_places(update.neurons, update.subject.fact.id))


def _signed(lab: Lab, update: Update) -> Sequence[ValueChange]:
    """Return the paper's changes, turned around where a neuron fires negatively at the fact's prompts."""
    queries = lab.queries(update.subject.fact, role="attribute")
    fired = activations(lab.model, queries, update.neurons).mean(0).tolist()
    negative = {place for place, value in zip(update.neurons, fired, strict=True) if value < 0}
    return [
        replace(one, new=turned_around(one.old, one.new, [(one.layer, index) in negative for index in one.indices]))
        for one in _paper(lab, update)
    ]


def _closed_form(lab: Lab, update: Update) -> Sequence[ValueChange]:
    fact = update.subject.fact
    goal = Goal("update", f"{update.subject.relation}/{fact.subject}", (fact,), update.new)
    return _together(lab, {0: goal})


UPDATES: Mapping[str, Callable[[Lab, Update], Sequence[ValueChange]]] = {
    "paper": _paper,
    "signed": _signed,
    "random": _random,
    "closed-form": _closed_form,
}


def _zero(lab: Lab, relation: str, subjects: Sequence[Subject]) -> Sequence[ValueChange]:
    del subjects
    return _zeroed(lab, relation, common_neurons(lab, relation))


def _zero_random(lab: Lab, relation: str, subjects: Sequence[Subject]) -> Sequence[ValueChange]:
    own = common_neurons(lab, relation)
    return _zeroed(lab, relation, lab.other_places(own, subjects[0].fact.relation_id))


def _zeroed(lab: Lab, relation: str, places: tuple[Place, ...]) -> Sequence[ValueChange]:
    return solve(lab.model, [Step("erase-relation", relation, places)], {"erase-relation": "zero"})


def _prior(lab: Lab, relation: str, subjects: Sequence[Subject]) -> Sequence[ValueChange]:
    goals = {n: Goal("erase", f"{relation}/{one.fact.subject}", (one.fact,)) for n, one in enumerate(subjects)}
    return _together(lab, goals)


ERASURES: Mapping[str, Callable[[Lab, str, Sequence[Subject]], Sequence[ValueChange]]] = {
    "paper": _zero,
    "random": _zero_random,
    "prior": _prior,
}


def common_neurons(lab: Lab, relation: str) -> tuple[Place, ...]:
    """Return the 20 neurons that most of a relation's facts hold. Raises UnableError where there is none."""
    if found := tuple(lab.users(lab.catalog.find_relation(relation).id))[:ERASED]:
        return found
    raise UnableError(NO_NEURONS, "The refinement kept no neuron of the relation's facts")


def _together(lab: Lab, goals: Mapping[int, Goal]) -> Sequence[ValueChange]:
    swept = swept_layers(lab.catalog, lab.checkpoint)
    choices = Choices(
        update_solver="closed-form",
        erase_solver="prior",
        on_failure="skip",
        swept=None if swept is None else swept.layers,
    )
    found = solve_together(
        lab.catalog, lab.model, goals, choices, refinement=lab.refinement, earlier=NOTHING,
        statistics=lambda model, layers: _statistics(lab, model, layers),
    )  # fmt: skip
    return found.changes


def _statistics(lab: Lab, model: Model, layers: Sequence[int]) -> Statistics:
    source = lambda: choose_source(lab.catalog)  # noqa: E731 - asked only where statistics are missing
    return find_statistics(model, lab.checkpoint.sha256, layers, source, progress=lambda _: None)

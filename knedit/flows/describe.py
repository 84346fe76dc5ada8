"""Describe a planned edit from the catalog alone: its neurons, their norms, and who else uses them."""

from collections import defaultdict
from dataclasses import dataclass

from knedit.catalog.answers import NeuronUse
from knedit.catalog.store import Catalog
from knedit.editing.steps import Step
from knedit.flows.edit import Planned


@dataclass(frozen=True, slots=True)
class PlannedNeuron:
    """One value vector of one step: its norm before and after the edit, and the facts outside the edit that hold it."""

    step: Step
    layer: int
    index: int
    norm: float
    new_norm: float
    others: tuple[str, ...]


def describe_edit(catalog: Catalog, planned: Planned) -> list[PlannedNeuron]:
    """Return the edit's neurons, step after step."""
    neurons = catalog.edit_neurons(planned.edit.id)
    steps = dict(zip(sorted({target.step for target in planned.targets}), planned.steps, strict=True))
    places = {(one.layer, one.index) for one in neurons}
    edited = {target.fact_id for target in planned.targets}
    users: dict[tuple[int, int], list[str]] = defaultdict(list)
    uses = [] if planned.edit.refinement_id is None else catalog.sharing(planned.edit.refinement_id, places)
    for use in uses:
        if use.fact.id not in edited:
            users[use.neuron.layer, use.neuron.index].append(_named(use))
    return [
        PlannedNeuron(
            steps[one.step],
            one.layer,
            one.index,
            one.norm,
            one.new_norm,
            tuple(sorted(users[one.layer, one.index])),
        )
        for one in neurons
    ]


def _named(use: NeuronUse) -> str:
    mark = " (protected)" if use.fact.status == "protected" else ""
    return f"{use.relation}/{use.fact.subject}{mark}"

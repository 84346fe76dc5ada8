"""Questions about degenerate sets: those of a fact, and those that hold a neuron. Builds statements and runs none."""

from sqlalchemy import Executable, Select, select

from knedit.catalog.schema import degenerate_neurons, degenerate_sets, facts, relations

_ORDER = (
    degenerate_sets.c.score.desc(),
    degenerate_sets.c.id,
    degenerate_neurons.c.layer,
    degenerate_neurons.c["index"],
)


def sets_of_fact(refinement_id: int, fact_id: int) -> Executable:
    """Select relation key, Fact, DegenerateSet, layer and index, a row a neuron, the highest score first."""
    own = degenerate_sets.c
    return _sets().where(own.refinement_id == refinement_id, own.fact_id == fact_id).order_by(*_ORDER)


def sets_with(refinement_id: int, layer: int, index: int) -> Executable:
    """Select the same of every fact's sets that hold the neuron, by relation's key, subject and object first."""
    holding = degenerate_neurons.alias("holding").c
    held = select(holding.set_id).where(holding.layer == layer, holding["index"] == index)
    own = degenerate_sets.c
    found = _sets().where(own.id.in_(held), own.refinement_id == refinement_id)
    return found.order_by(relations.c.key, facts.c.subject, facts.c.object, facts.c.id, *_ORDER)


def _sets() -> Select[*tuple[object, ...]]:
    neurons = (degenerate_neurons.c.layer, degenerate_neurons.c["index"])
    return (
        select(relations.c.key, facts, degenerate_sets, *neurons)
        .select_from(degenerate_sets)
        .join(degenerate_neurons, degenerate_neurons.c.set_id == degenerate_sets.c.id)
        .join(facts, facts.c.id == degenerate_sets.c.fact_id)
        .join(relations, relations.c.id == facts.c.relation_id)
    )

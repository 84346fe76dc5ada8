"""Questions about a refinement's neurons: whose they are, hubs and layers, and the facts that have few.

Builds statements and runs none. What counts facts reads the kept counts (see `counting`), never the neurons.
"""

from sqlalchemy import ColumnElement, Executable, ScalarSelect, Select, and_, case, distinct, func, select

from knedit.catalog.schema import (
    attribution_runs,
    facts,
    knowledge_neurons,
    neuron_counts,
    neuron_descriptions,
    neuron_labels,
    refined_facts,
    refined_relations,
    refinements,
    relations,
)
from knedit.records import NEURON_ROLES

_OWN = knowledge_neurons.c
_PLACE = (_OWN.layer, _OWN["index"])
_COUNTED = neuron_counts.c
_COUNTED_PLACE = (_COUNTED.layer, _COUNTED["index"])


def fact_neurons(refinement_id: int, fact_id: int) -> Executable:
    """Select KnowledgeNeuron, facts, relations, reading and label, the highest score first; a row for each label.

    One row of nothing where the fact was refined and has no neuron, no row where it was not refined.
    """
    told, labels = neuron_descriptions.c, neuron_labels.c
    own = and_(_OWN.refinement_id == refined_facts.c.refinement_id, _OWN.fact_id == refined_facts.c.fact_id)
    here = attribution_runs.c.checkpoint_id
    described = and_(told.checkpoint_id == here, told.layer == _OWN.layer, told["index"] == _OWN["index"])
    labelled = and_(labels.checkpoint_id == here, labels.layer == _OWN.layer, labels["index"] == _OWN["index"])
    users = [_counted(func.sum(_COUNTED.facts)), _counted(func.count(distinct(_COUNTED.relation_id)))]
    return (
        select(knowledge_neurons, *users, told.reading, labels.label)
        .select_from(refined_facts)
        .join(refinements)
        .join(attribution_runs)
        .outerjoin(knowledge_neurons, own)
        .outerjoin(neuron_descriptions, described)
        .outerjoin(neuron_labels, labelled)
        .where(refined_facts.c.refinement_id == refinement_id, refined_facts.c.fact_id == fact_id)
        .order_by(_OWN.score.desc().nulls_last(), *_PLACE, labels.label)
    )


def _counted(number: ColumnElement[int]) -> ScalarSelect[int]:
    same = (_COUNTED.layer == _OWN.layer, _COUNTED["index"] == _OWN["index"])
    return select(number).where(_COUNTED.refinement_id == _OWN.refinement_id, *same).scalar_subquery()


def other_users(refinement_id: int, fact_id: int, limit: int) -> Executable:
    """Select Fact, relation key and KnowledgeNeuron of the first `limit` other users of each of a fact's neurons."""
    mine, theirs = knowledge_neurons.alias("mine").c, knowledge_neurons.alias("theirs")
    same = and_(theirs.c.layer == mine.layer, theirs.c["index"] == mine["index"])
    order = (theirs.c.score.desc().nulls_last(), *_WORDS)
    turn = func.row_number().over(partition_by=[theirs.c.layer, theirs.c["index"]], order_by=order)
    found = (
        select(facts, relations.c.key, theirs, turn.label("turn"))
        .join(theirs, theirs.c.fact_id == facts.c.id)
        .join(relations, relations.c.id == facts.c.relation_id)
        .where(mine.refinement_id == refinement_id, mine.fact_id == fact_id, same)
        .where(theirs.c.refinement_id == refinement_id, theirs.c.fact_id != fact_id)
        .subquery("found")
    )
    *columns, turns = found.c
    return select(*columns).where(turns <= limit).order_by(found.c.layer, found.c["index"], turns)


def users(refinement_id: int, layer: int, index: int, *, limit: int | None, offset: int) -> Executable:
    """Select Fact, relation key and KnowledgeNeuron of those that hold the neuron, the highest score first."""
    return (
        select(facts, relations.c.key, knowledge_neurons)
        .select_from(knowledge_neurons)
        .join(facts, facts.c.id == _OWN.fact_id)
        .join(relations, relations.c.id == facts.c.relation_id)
        .where(_OWN.refinement_id == refinement_id, _OWN.layer == layer, _OWN["index"] == index)
        .order_by(_OWN.score.desc().nulls_last(), *_WORDS)
        .limit(limit)
        .offset(offset)
    )


def hubs(
    refinement_id: int,
    *,
    limit: int | None,
    offset: int = 0,
    role: str | None = None,
    layer: int | None = None,
    min_share: float | None = None,
) -> Executable:
    """Select layer, index, facts, relations, the facts of each neuron role, and the totals; the most facts first."""
    n_facts, n_relations = func.sum(_COUNTED.facts), func.count(distinct(_COUNTED.relation_id))
    of_role = {role: func.sum(case((_COUNTED.role == role, _COUNTED.facts), else_=0)) for role in NEURON_ROLES}
    totals = [_total(refinement_id, number) for number in (func.sum(refined_relations.c.facts), func.count())]
    found = (
        select(*_COUNTED_PLACE, n_facts, n_relations, *of_role.values(), *totals)
        .where(_COUNTED.refinement_id == refinement_id)
        .group_by(*_COUNTED_PLACE)
        .order_by(n_facts.desc(), n_relations.desc(), *_COUNTED_PLACE)
    )
    if layer is not None:
        found = found.where(_COUNTED.layer == layer)
    if role is not None:
        wider = NEURON_ROLES[NEURON_ROLES.index(role) + 1 :]
        found = found.having(of_role[role] > 0, *(of_role[other] == 0 for other in wider))
    if min_share is not None:
        found = found.having(n_facts >= totals[0] * float(min_share))
    return found.limit(limit).offset(offset)


def _total(refinement_id: int, number: ColumnElement[int]) -> ScalarSelect[int]:
    return select(number).where(refined_relations.c.refinement_id == refinement_id).scalar_subquery()


def relation_neurons(refinement_id: int, relation_id: int) -> Executable:
    """Select the fields of RelationNeuron, the most facts first; ties by score, then layer and index."""
    n_facts, score = func.sum(_COUNTED.facts), func.sum(_COUNTED.score_sum)
    generic = func.max(case((_COUNTED.role == "generic", 1), else_=0))
    return (
        select(*_COUNTED_PLACE, n_facts, score, generic)
        .where(_COUNTED.refinement_id == refinement_id, _COUNTED.relation_id == relation_id)
        .group_by(*_COUNTED_PLACE)
        .order_by(n_facts.desc(), score.desc().nulls_last(), *_COUNTED_PLACE)
    )


def layers(refinement_id: int) -> Select[int, int, int]:
    """Select layer, uses and distinct neurons, by layer."""
    counts = (func.sum(_COUNTED.facts), func.count(distinct(_COUNTED["index"])))
    found = select(_COUNTED.layer, *counts).where(_COUNTED.refinement_id == refinement_id)
    return found.group_by(_COUNTED.layer).order_by(_COUNTED.layer)


def few_neurons(
    refinement_id: int, *, at_most: int, relation_id: int | None, limit: int | None, offset: int
) -> Executable:
    """Select relation key, Fact and RefinedFact of facts with at most so many neurons, the fewest first."""
    own = refined_facts.c
    found = (
        select(relations.c.key, facts, refined_facts)
        .select_from(refined_facts)
        .join(facts, facts.c.id == own.fact_id)
        .join(relations, relations.c.id == facts.c.relation_id)
        .where(own.refinement_id == refinement_id, own.neurons <= at_most)
        .order_by(own.neurons, *_WORDS)
    )
    if relation_id is not None:
        found = found.where(facts.c.relation_id == relation_id)
    return found.limit(limit).offset(offset)


_WORDS = (relations.c.key, facts.c.subject, facts.c.object, facts.c.id)

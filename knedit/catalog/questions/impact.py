"""The question of impact: which facts outside an edit hold the neurons that it changes, and how much of theirs that is.

Builds statements and runs none.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Double, Executable, Select, and_, case, cast, func, select, tuple_

from knedit.catalog.schema import edit_neurons, edit_targets, edits, facts, knowledge_neurons, relations

_OWN = knowledge_neurons.c


def edit_impact(edit_id: int, limit: int) -> Executable:
    """Select protected facts, other facts, and the fields of ImpactedFact, for a planned edit."""
    changed = select(edit_neurons.c.layer, edit_neurons.c["index"]).where(edit_neurons.c.edit_id == edit_id)
    targets = select(edit_targets.c.fact_id).where(edit_targets.c.edit_id == edit_id)
    refinement = select(edits.c.refinement_id).where(edits.c.id == edit_id).scalar_subquery()
    return _impact(_OWN.refinement_id == refinement, changed, _OWN.fact_id.in_(targets), limit)


def fact_impact(refinement_id: int, fact_id: int, roles: Collection[str], limit: int) -> Executable:
    """Select the same for an edit of a fact through all of its neurons of these roles."""
    edited = knowledge_neurons.alias("edited").c
    changed = select(edited.layer, edited["index"]).where(
        edited.refinement_id == refinement_id, edited.fact_id == fact_id, edited.role.in_(sorted(roles))
    )
    return _impact(_OWN.refinement_id == refinement_id, changed, _OWN.fact_id == fact_id, limit)


def _impact(
    here: ColumnElement[bool], changed: Select[int, int], target: ColumnElement[bool], limit: int
) -> Executable:
    hit = tuple_(_OWN.layer, _OWN["index"]).in_(changed)
    users = select(_OWN.fact_id).where(here, hit, ~target).distinct().cte("users")
    used = func.sum(case((hit, 1), else_=0))
    scored = and_(func.count(_OWN.score) == func.count(), func.sum(_OWN.score) > 0)
    by_score = func.sum(case((hit, _OWN.score), else_=0.0)) / func.sum(_OWN.score)
    by_number = cast(used, Double) / cast(func.count(), Double)
    each = (
        select(_OWN.fact_id, used.label("used"), func.count().label("neurons"))
        .add_columns(case((scored, by_score), else_=by_number).label("share"))
        .join(users, users.c.fact_id == _OWN.fact_id)
        .where(here)
        .group_by(_OWN.fact_id)
        .cte("each_fact")
    )
    protected = case((facts.c.status == "protected", 1), else_=0)
    totals = (func.sum(protected).over(), func.sum(1 - protected).over())
    return (
        select(*totals, relations.c.key, facts, each.c.used, each.c.neurons, each.c.share)
        .select_from(each)
        .join(facts, facts.c.id == each.c.fact_id)
        .join(relations, relations.c.id == facts.c.relation_id)
        .order_by(protected.desc(), each.c.share.desc(), each.c.used.desc())
        .order_by(relations.c.key, facts.c.subject, facts.c.object, facts.c.id)
        .limit(limit)
    )

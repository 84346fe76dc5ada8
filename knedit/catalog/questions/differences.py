"""Questions of difference: between two refinements, fact by fact, and between two runs, prompt by prompt.

Builds statements and runs none.
"""

from sqlalchemy import CTE, ColumnElement, Double, Executable, and_, case, cast, func, or_, select

from knedit.catalog.questions.coarse import BILLION, billionths, coarse_prompts, is_coarse
from knedit.catalog.schema import (
    facts,
    knowledge_neurons,
    neuron_scores,
    prompt_attributions,
    prompts,
    refined_facts,
    relations,
)


def _sets(before: int, after: int) -> CTE:
    """Select fact_id, its numbers of neurons before and after (NULL: not refined), and how many neurons are in both."""
    own, one, other = refined_facts.c, knowledge_neurons.alias("one").c, knowledge_neurons.alias("other").c
    numbers = [func.max(case((own.refinement_id == side, own.neurons))) for side in (before, after)]
    sides = (
        select(own.fact_id, numbers[0].label("before"), numbers[1].label("after"))
        .where(own.refinement_id.in_([before, after]))
        .group_by(own.fact_id)
        .cte("sides")
    )
    same = (one.fact_id == other.fact_id, one.layer == other.layer, one["index"] == other["index"])
    common = (
        select(one.fact_id, func.count().label("shared"))
        .where(one.refinement_id == before, other.refinement_id == after, *same)
        .group_by(one.fact_id)
        .cte("common")
    )
    shared = func.coalesce(common.c.shared, 0).label("shared")
    return select(sides, shared).outerjoin(common, common.c.fact_id == sides.c.fact_id).cte("sets")


def refinement_totals(before: int, after: int) -> Executable:
    """Select facts only before, only after, equal, changed, and the sum of Jaccard indices in billionths."""
    own = _sets(before, after).c
    both = and_(own.before.is_not(None), own.after.is_not(None))
    equal = and_(both, own.before == own.shared, own.after == own.shared)
    union = own.before + own.after - own.shared
    jaccard = case((~both, 0), (union == 0, BILLION), else_=billionths(own.shared, func.nullif(union, 0)))
    return select(
        _number(own.after.is_(None)), _number(own.before.is_(None)), _number(equal), _number(both), func.sum(jaccard)
    )


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


def fact_changes(before: int, after: int, limit: int) -> Executable:
    """Select the fields of FactChange where anything changed, the most neurons gained and lost first."""
    sets = _sets(before, after)
    own = sets.c
    gained, lost = (func.coalesce(side, 0) - own.shared for side in (own.after, own.before))
    return (
        select(relations.c.key, facts, own.before, own.after, gained, lost)
        .select_from(sets)
        .join(facts, facts.c.id == own.fact_id)
        .join(relations, relations.c.id == facts.c.relation_id)
        .where(or_(own.before.is_(None), own.after.is_(None), gained + lost > 0))
        .order_by((gained + lost).desc(), relations.c.key, facts.c.subject, facts.c.object, facts.c.id)
        .limit(limit)
    )


def _outcomes(before: int, after: int, threshold: float) -> CTE:
    """Select prompt_id, status and probability before and after, coarse neurons in both, and in either; or NULL."""
    own = prompt_attributions.c
    sides = [
        func.max(case((own.run_id == run, column))).label(f"{column.name}_{side}")
        for column in (own.status, own.probability)
        for run, side in ((before, "before"), (after, "after"))
    ]
    stood = select(own.prompt_id, *sides).where(own.run_id.in_([before, after])).group_by(own.prompt_id).cte("stood")
    common = _common(before, after, threshold)
    wanted = (stood, common.c.shared, (common.c.neurons + common.c.others - common.c.shared).label("either"))
    return select(*wanted).outerjoin(common, common.c.prompt_id == stood.c.prompt_id).cte("outcomes")


def _common(before: int, after: int, threshold: float) -> CTE:
    """Select prompt_id, its coarse neurons before, after and in both, of the prompts that count in both runs."""
    one, other = (
        coarse_prompts(run, threshold, name) for run, name in ((before, "coarse_before"), (after, "coarse_after"))
    )
    mine, theirs = neuron_scores.alias("mine"), neuron_scores.alias("theirs")
    same = and_(theirs.c.layer == mine.c.layer, theirs.c["index"] == mine.c["index"])
    return (
        select(one.c.prompt_id, one.c.neurons, other.c.neurons.label("others"))
        .add_columns(func.count(theirs.c.layer).label("shared"))
        .join(other, other.c.prompt_id == one.c.prompt_id)
        .join(mine, is_coarse(mine, before, one, threshold))
        .outerjoin(theirs, and_(same, is_coarse(theirs, after, other, threshold)))
        .group_by(one.c.prompt_id, one.c.neurons, other.c.neurons)
        .cte("common")
    )


def run_totals(before: int, after: int, threshold: float) -> Executable:
    """Select prompts only before, only after, in both, of another status; mean probabilities; Jaccard sum, number."""
    own = _outcomes(before, after, threshold).c
    both = and_(own.status_before.is_not(None), own.status_after.is_not(None))
    return select(
        _number(own.status_after.is_(None)),
        _number(own.status_before.is_(None)),
        _number(both),
        _number(own.status_before != own.status_after),
        *(func.avg(case((both, mean))) for mean in (own.probability_before, own.probability_after)),
        func.sum(billionths(own.shared, own.either)),
        func.count(own.shared),
    )


def prompt_changes(before: int, after: int, threshold: float, limit: int) -> Executable:
    """Select the fields of PromptChange where anything changed.

    Another status comes first, then the lowest Jaccard index, then the largest change of probability.
    """
    outcomes = _outcomes(before, after, threshold)
    own = outcomes.c
    jaccard = cast(own.shared, Double) / cast(own.either, Double)
    moved = func.abs(own.probability_after - own.probability_before)
    stands = case((own.status_before == own.status_after, 1), else_=0)
    values = (own.status_before, own.status_after, own.probability_before, own.probability_after, jaccard)
    other = (own.status_before.is_distinct_from(own.status_after), moved > 0, own.shared < own.either)
    return (
        select(relations.c.key, facts, prompts, *values)
        .select_from(outcomes)
        .join(prompts, prompts.c.id == own.prompt_id)
        .join(facts, facts.c.id == prompts.c.fact_id)
        .join(relations, relations.c.id == facts.c.relation_id)
        .where(or_(*other))
        .order_by(stands, jaccard.nulls_last(), moved.desc().nulls_last())
        .order_by(relations.c.key, facts.c.subject, facts.c.object, prompts.c.text, prompts.c.id)
        .limit(limit)
    )

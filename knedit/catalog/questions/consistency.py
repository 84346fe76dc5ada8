"""The question of consistency: how far a fact's wordings agree on their coarse neurons.

Builds statements and runs none. Source: Chen et al., "Knowledge Localization: Mission Not Accomplished?" (ICLR 2025),
who find the neurons of many facts to change with the wording; the mean pairwise Jaccard index is knedit's own measure.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Double, Executable, and_, cast, distinct, func, select

from knedit.catalog.questions.coarse import billionths, coarse_prompts, is_coarse
from knedit.catalog.schema import facts, neuron_scores, prompts, relations


def consistency(
    run_id: int,
    threshold: float,
    *,
    fact_ids: Collection[int] | None = None,
    relation_id: int | None = None,
    limit: int | None = None,
) -> Executable:
    """Select relation key, Fact, prompts, pairs and the sum of their Jaccard indices in billionths, the lowest first.

    Of these facts, or of this relation's, or of all. Facts of fewer than two prompts that count have no pair and are
    left out.
    """
    coarse = coarse_prompts(run_id, threshold, "coarse", _among(fact_ids, relation_id))
    one, other = coarse.alias("one"), coarse.alias("other")
    mine, theirs = neuron_scores.alias("mine"), neuron_scores.alias("theirs")
    same = and_(theirs.c.layer == mine.c.layer, theirs.c["index"] == mine.c["index"])
    compared = (
        select(one.c.fact_id, one.c.prompt_id, one.c.neurons, other.c.neurons.label("others"))
        .add_columns(func.count(theirs.c.layer).label("shared"))
        .join(other, and_(other.c.fact_id == one.c.fact_id, other.c.prompt_id > one.c.prompt_id))
        .join(mine, is_coarse(mine, run_id, one, threshold))
        .outerjoin(theirs, and_(same, is_coarse(theirs, run_id, other, threshold)))
        .group_by(one.c.fact_id, one.c.prompt_id, other.c.prompt_id, one.c.neurons, other.c.neurons)
        .cte("compared")
    ).c
    pairs = func.count()
    total = func.sum(billionths(compared.shared, compared.neurons + compared.others - compared.shared))
    summed = select(compared.fact_id, (func.count(distinct(compared.prompt_id)) + 1).label("prompts"))
    each = summed.add_columns(pairs.label("pairs"), total.label("total")).group_by(compared.fact_id).cte("each_fact")
    return (
        select(relations.c.key, facts, each.c.prompts, each.c.pairs, each.c.total)
        .select_from(each)
        .join(facts, facts.c.id == each.c.fact_id)
        .join(relations, relations.c.id == facts.c.relation_id)
        .order_by(cast(each.c.total, Double) / cast(each.c.pairs, Double))
        .order_by(relations.c.key, facts.c.subject, facts.c.object, facts.c.id)
        .limit(limit)
    )


def _among(fact_ids: Collection[int] | None, relation_id: int | None) -> ColumnElement[bool] | None:
    if fact_ids is not None:
        return prompts.c.fact_id.in_(sorted(fact_ids))
    if relation_id is not None:
        return prompts.c.fact_id.in_(select(facts.c.id).where(facts.c.relation_id == relation_id))
    return None

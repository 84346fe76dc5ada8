"""Questions of overlap: how many neurons two facts share on average, within and across relations, over all pairs.

Builds statements and runs none. A neuron that n facts hold is shared by n(n−1)/2 pairs of them, so that the kept
counts are enough and every pair is counted. Dai et al., ACL 2022, section 4.2, take a sample of pairs across.
"""

from sqlalchemy import BigInteger, Executable, and_, case, cast, func, select

from knedit.catalog.schema import neuron_counts, refined_relations, relations


def overlap(refinement_id: int) -> Executable:
    """Select relation key, facts, neurons, and twice the neurons that pairs share within, and once those across."""
    own = neuron_counts.c
    here = func.sum(own.facts)
    everywhere = func.sum(here).over(partition_by=[own.layer, own["index"]])
    counted = (
        select(own.relation_id, cast(here, BigInteger).label("here"), cast(everywhere, BigInteger).label("everywhere"))
        .where(own.refinement_id == refinement_id)
        .group_by(own.layer, own["index"], own.relation_id)
        .cte("counted")
    )
    within = func.sum(counted.c.here * (counted.c.here - 1))
    across = func.sum(counted.c.here * (counted.c.everywhere - counted.c.here))
    shared = select(counted.c.relation_id, within.label("within"), across.label("across"))
    found = shared.group_by(counted.c.relation_id).cte("shared")
    refined = refined_relations.c
    return (
        select(relations.c.key, refined.facts, refined.neurons, found.c.within, found.c.across)
        .select_from(refined_relations)
        .join(relations, relations.c.id == refined.relation_id)
        .outerjoin(found, found.c.relation_id == refined.relation_id)
        .where(refined.refinement_id == refinement_id)
        .order_by(relations.c.key)
    )


def matrix(refinement_id: int) -> Executable:
    """Select two relations' keys and facts, in this order of keys, and the neurons that their pairs of facts share.

    Within one relation each pair is counted twice. Relations that share nothing are left out.
    """
    one, other = neuron_counts.alias("one"), neuron_counts.alias("other")
    here, there = relations.alias("here"), relations.alias("there")
    sizes = [refined_relations.alias("size"), refined_relations.alias("other_size")]
    same = and_(
        other.c.refinement_id == one.c.refinement_id,
        other.c.layer == one.c.layer,
        other.c["index"] == one.c["index"],
    )
    itself = and_(one.c.relation_id == other.c.relation_id, one.c.role == other.c.role)
    product = cast(one.c.facts, BigInteger) * other.c.facts - case((itself, one.c.facts), else_=0)
    pairs = (
        select(one.c.relation_id, other.c.relation_id.label("other_id"), func.sum(product).label("shared"))
        .join(other, same)
        .where(one.c.refinement_id == refinement_id)
        .group_by(one.c.relation_id, other.c.relation_id)
        .cte("pairs")
    )
    return (
        select(here.c.key, sizes[0].c.facts, there.c.key, sizes[1].c.facts, pairs.c.shared)
        .join(here, here.c.id == pairs.c.relation_id)
        .join(there, and_(there.c.id == pairs.c.other_id, there.c.key >= here.c.key))
        .join(sizes[0], and_(sizes[0].c.refinement_id == refinement_id, sizes[0].c.relation_id == here.c.id))
        .join(sizes[1], and_(sizes[1].c.refinement_id == refinement_id, sizes[1].c.relation_id == there.c.id))
        .order_by(here.c.key, there.c.key)
    )

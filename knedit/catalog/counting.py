"""The counts that the catalog keeps beside a refinement's neurons, and how they are counted again.

What hubs and overlaps read are these tables: they are written in the transaction that
writes the neurons, and `knedit catalog check` holds them against the rows.
"""

from sqlalchemy import Connection, Insert, Select, and_, delete, func, insert, select

from knedit.catalog.bulk import bare
from knedit.catalog.schema import facts, knowledge_neurons, neuron_counts, refined_facts, refined_relations


def count_again(connection: Connection, refinement_id: int, neurons: int = 0) -> None:
    """Replace a refinement's counts by what its rows say; `neurons` is about how many these are, where one knows."""
    for table in (neuron_counts, refined_relations):
        connection.execute(delete(table).where(table.c.refinement_id == refinement_id))
    with bare(connection, neuron_counts, neurons):
        connection.execute(_into(neurons_counted(refinement_id)))
    connection.execute(_into_relations(relations_counted(refinement_id)))


def neurons_counted(refinement_id: int) -> Select[int, int, int, int, str, int, float]:
    """Select the fields of NeuronCount from the neurons themselves."""
    own = knowledge_neurons.c
    told = select(refined_facts.c.refinement_id, refined_facts.c.fact_id, facts.c.relation_id)
    of_facts = told.join_from(refined_facts, facts, facts.c.id == refined_facts.c.fact_id)
    # From fact to fact, as the neurons lie; going from place to place, each row would be looked for by itself.
    in_order = of_facts.where(refined_facts.c.refinement_id == refinement_id).order_by(refined_facts.c.fact_id)
    of = in_order.cte("of_facts").prefix_with("MATERIALIZED")
    place = (own.refinement_id, own.layer, own["index"], of.c.relation_id, own.role)
    same = and_(own.refinement_id == of.c.refinement_id, own.fact_id == of.c.fact_id)
    joined = of.join(knowledge_neurons, same)
    return select(*place, func.count(), func.sum(own.score)).select_from(joined).group_by(*place)


def relations_counted(refinement_id: int) -> Select[int, int, int, int]:
    """Select the fields of RefinedRelation from the refined facts themselves."""
    own = refined_facts.c
    joined = refined_facts.join(facts, facts.c.id == own.fact_id)
    counted = select(own.refinement_id, facts.c.relation_id, func.count(), func.sum(own.neurons)).select_from(joined)
    return counted.where(own.refinement_id == refinement_id).group_by(own.refinement_id, facts.c.relation_id)


def _into(rows: Select[int, int, int, int, str, int, float]) -> Insert:
    in_order = rows.order_by(*list(rows.selected_columns)[: len(neuron_counts.primary_key)])  # as they are read again
    return insert(neuron_counts).from_select(list(neuron_counts.c.keys()), in_order)


def _into_relations(rows: Select[int, int, int, int]) -> Insert:
    return insert(refined_relations).from_select(list(refined_relations.c.keys()), rows)

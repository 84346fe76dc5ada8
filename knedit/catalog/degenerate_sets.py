"""Degenerate sets of neurons as rows: how they are taken out of the catalog and put in, on a connection.

Knows nothing of refinements.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Connection, delete, select

from knedit.catalog import schema
from knedit.catalog.questions.answers import NeuronSet
from knedit.catalog.rows import add, batches
from knedit.records import DegenerateNeuron, DegenerateSet

_OWN, _HELD = schema.degenerate_sets, schema.degenerate_neurons


def take_sets(connection: Connection, refinement_id: int) -> list[NeuronSet]:
    """Delete all sets of a refinement, and return them."""
    mine = _OWN.c.refinement_id == refinement_id
    sets = [DegenerateSet(*row) for row in connection.execute(select(_OWN).where(mine).order_by(_OWN.c.id))]
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for set_id, layer, index in connection.execute(select(_HELD).join(_OWN).where(mine).order_by(*_HELD.primary_key)):
        places[set_id].append((layer, index))
    _delete(connection, mine)
    return [NeuronSet(own, tuple(places[own.id])) for own in sets]


def delete_sets(connection: Connection, refinement_id: int, fact_ids: Collection[int]) -> None:
    """Delete the sets of some facts of a refinement."""
    for batch in batches(fact_ids):
        _delete(connection, (_OWN.c.refinement_id == refinement_id) & _OWN.c.fact_id.in_(batch))


def add_sets(connection: Connection, sets: Sequence[NeuronSet]) -> None:
    """Put sets in, with their neurons."""
    add(connection, _OWN, [one.set for one in sets])
    add(connection, _HELD, [DegenerateNeuron(one.set.id, *place) for one in sets for place in one.neurons])


def _delete(connection: Connection, which: ColumnElement[bool]) -> None:
    connection.execute(delete(_HELD).where(_HELD.c.set_id.in_(select(_OWN.c.id).where(which))))
    connection.execute(delete(_OWN).where(which))

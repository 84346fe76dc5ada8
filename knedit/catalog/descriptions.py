"""The catalog's verbs for what is known of single neurons: their readings, and where refinements hold them.

Knows nothing of how a value vector is read.
"""

from collections.abc import Iterable, Iterator

from sqlalchemy import func, select

from knedit.catalog import schema
from knedit.catalog.remarks import Place, at_places
from knedit.catalog.rows import Transactions, put
from knedit.records import NEURON_ROLES
from knedit.remarks import NeuronDescription


class DescriptionVerbs(Transactions):
    def put_descriptions(self, descriptions: Iterable[NeuronDescription]) -> None:
        """Put the readings in, each in the place of an earlier one of the same neuron."""
        with self._writing() as connection:
            put(connection, schema.neuron_descriptions, descriptions)

    def description(self, checkpoint_id: int, layer: int, index: int) -> NeuronDescription | None:
        """Return the neuron's reading, if it was read."""
        table = schema.neuron_descriptions
        with self._reading() as connection:
            row = connection.execute(select(table).where(at_places(table, checkpoint_id, [(layer, index)]))).first()
        return NeuronDescription(*row) if row else None

    def descriptions(self, checkpoint_id: int) -> Iterator[NeuronDescription]:
        """Yield the checkpoint's readings, by layer and index; read as they are consumed."""
        table = schema.neuron_descriptions
        wanted = select(table).where(table.c.checkpoint_id == checkpoint_id).order_by(table.c.layer, table.c["index"])
        with self._reading() as connection:
            for row in connection.execution_options(yield_per=1000).execute(wanted):
                yield NeuronDescription(*row)

    def refined_places(self, checkpoint_id: int, *, refinement_id: int | None = None) -> list[Place]:
        """Return the neurons that a refinement holds, or any of the checkpoint's, by layer and index."""
        counts, refinements, runs = schema.neuron_counts, schema.refinements, schema.attribution_runs
        place = (counts.c.layer, counts.c["index"])
        wanted = select(*place).distinct().order_by(*place)
        if refinement_id is None:
            of_checkpoint = select(refinements.c.id).join(runs).where(runs.c.checkpoint_id == checkpoint_id)
            wanted = wanted.where(counts.c.refinement_id.in_(of_checkpoint))
        else:
            wanted = wanted.where(counts.c.refinement_id == refinement_id)
        with self._reading() as connection:
            return [(layer, index) for layer, index in connection.execute(wanted)]

    def facts_by_role(self, refinement_id: int, layer: int, index: int) -> dict[str, int]:
        """Return in how many facts the neuron plays each role; a role without facts is left out."""
        counts = schema.neuron_counts
        wanted = (
            select(counts.c.role, func.sum(counts.c.facts))
            .where(counts.c.refinement_id == refinement_id, counts.c.layer == layer, counts.c["index"] == index)
            .group_by(counts.c.role)
        )
        with self._reading() as connection:
            found = {role: int(facts) for role, facts in connection.execute(wanted)}
        return {role: found[role] for role in NEURON_ROLES if role in found}

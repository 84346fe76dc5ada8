"""The catalog's verbs for refinements: the knowledge neurons of facts, and who shares them.

Knows nothing of how neurons are chosen.
"""

from collections.abc import Collection, Iterable, Iterator

from sqlalchemy import Connection, delete, select

from knedit.catalog import counting, queries, schema
from knedit.catalog.answers import NeuronUse
from knedit.catalog.degenerate_sets import add_sets, take_sets
from knedit.catalog.questions.answers import NeuronSet
from knedit.catalog.rows import batches, put
from knedit.catalog.staging import StagingTransactions
from knedit.errors import CatalogError
from knedit.records import Fact, KnowledgeNeuron, RefinedFact, Refinement, show_id

_RESULTS = (schema.neuron_counts, schema.refined_relations, schema.knowledge_neurons, schema.refined_facts)
_FACT_WIDTH = len(schema.facts.c)


class RefinementVerbs(StagingTransactions):
    def put_refinement(
        self, refinement: Refinement, facts: Iterable[RefinedFact], neurons: Iterable[KnowledgeNeuron]
    ) -> Refinement:
        """Put the refinement in with its facts and neurons, in the place of any earlier result of the same id.

        The counts of its neurons are put in with them. Degenerate sets stay as far as their fact still holds all of
        their neurons.
        """
        with self._staging(schema.refined_facts, schema.knowledge_neurons) as turns:
            with turns.filling() as staging:
                staging.stage(schema.refined_facts, facts)
                staging.stage(schema.knowledge_neurons, neurons)
            with turns.writing() as staging:
                put(staging.connection, schema.refinements, [refinement])
                sets = take_sets(staging.connection, refinement.id)
                for table in _RESULTS:
                    staging.connection.execute(delete(table).where(table.c.refinement_id == refinement.id))
                staging.add(schema.refined_facts)
                staging.add(schema.knowledge_neurons)
                counting.count_again(staging.connection, refinement.id, staging.staged(schema.knowledge_neurons))
                add_sets(staging.connection, [one for one in sets if _still_held(staging.connection, one)])
        return refinement

    def refinements(self, checkpoint_id: int | None = None) -> list[Refinement]:
        """Return the refinements of one checkpoint's runs, or of all, the newest first."""
        table, runs = schema.refinements, schema.attribution_runs
        wanted = select(table).join(runs).order_by(table.c.created_at.desc(), table.c.id)
        if checkpoint_id is not None:
            wanted = wanted.where(runs.c.checkpoint_id == checkpoint_id)
        with self._reading() as connection:
            return [Refinement(*row) for row in connection.execute(wanted)]

    def latest_refinement(self, checkpoint_id: int) -> Refinement:
        """Return the checkpoint's newest refinement; raise CatalogError where it has none."""
        if found := self.refinements(checkpoint_id):
            return found[0]
        table = schema.checkpoints
        with self._reading() as connection:
            row = connection.execute(select(table.c.name, table.c.sha256).where(table.c.id == checkpoint_id)).first()
        if row is None:
            raise CatalogError(f"There is no checkpoint {show_id(checkpoint_id)} in the catalog")
        command = f"refine {row.name}" if row.sha256 else f"neurons import PATH --checkpoint {row.name}"
        raise CatalogError(f'The checkpoint "{row.name}" has no refined neurons yet', cure=f"Run: knedit {command}")

    def refined_facts(self, refinement_id: int) -> list[RefinedFact]:
        """Return how refinement went for each fact, by fact id."""
        table = schema.refined_facts
        wanted = select(table).where(table.c.refinement_id == refinement_id).order_by(table.c.fact_id)
        with self._reading() as connection:
            return [RefinedFact(*row) for row in connection.execute(wanted)]

    def neurons_of(self, refinement_id: int, fact_id: int) -> list[KnowledgeNeuron]:
        """Return the fact's knowledge neurons, the highest score first; ties by layer, then index."""
        table = schema.knowledge_neurons
        wanted = (
            select(table)
            .where(table.c.refinement_id == refinement_id, table.c.fact_id == fact_id)
            .order_by(table.c.score.desc().nulls_last(), table.c.layer, table.c["index"])
        )
        with self._reading() as connection:
            return [KnowledgeNeuron(*row) for row in connection.execute(wanted)]

    def refined_neurons(self, refinement_id: int) -> Iterator[KnowledgeNeuron]:
        """Yield all neurons of a refinement, by fact id, layer and index; one statement, read as it is consumed."""
        table = schema.knowledge_neurons
        wanted = select(table).where(table.c.refinement_id == refinement_id).order_by(*table.primary_key)
        with self._reading() as connection:
            for row in connection.execution_options(yield_per=10_000).execute(wanted):
                yield KnowledgeNeuron(*row)

    def sharing(self, refinement_id: int, neurons: Collection[tuple[int, int]]) -> list[NeuronUse]:
        """Return the facts that hold any of the (layer, index) pairs: by layer and index, then as `users_of`."""
        with self._reading() as connection:
            return [
                NeuronUse(Fact(*row[:_FACT_WIDTH]), row[_FACT_WIDTH], KnowledgeNeuron(*row[_FACT_WIDTH + 1 :]))
                for batch in batches(sorted(set(neurons)), 400)
                for row in connection.execute(queries.uses(refinement_id, batch))
            ]


def _still_held(connection: Connection, one: NeuronSet) -> bool:
    """Return whether a set's fact holds all of its neurons."""
    table = schema.knowledge_neurons
    own = (table.c.refinement_id == one.set.refinement_id, table.c.fact_id == one.set.fact_id)
    held = {(layer, index) for layer, index in connection.execute(select(table.c.layer, table.c["index"]).where(*own))}
    return held.issuperset(one.neurons)

"""The catalog's verbs for attribution: runs, what each prompt gave, and the scores that refinement counts.

Knows nothing of how a score comes to be.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection, select, update

from knedit.catalog import queries, schema
from knedit.catalog.rows import Transactions, add, batches
from knedit.errors import CatalogError
from knedit.records import (
    AttributedFact,
    AttributionRun,
    CoarseCount,
    NeuronScore,
    PromptAttribution,
    show_id,
)


class RunVerbs(Transactions):
    def open_run(self, run: AttributionRun) -> AttributionRun:
        """Put the run in, and return it; one that is there already is returned as it was begun."""
        table = schema.attribution_runs
        with self._writing() as connection:
            add(connection, table, [run])
            return AttributionRun(*connection.execute(select(table).where(table.c.id == run.id)).one())

    def finish_run(self, run_id: int, when: datetime) -> None:
        """Note when the run was last finished."""
        table = schema.attribution_runs
        with self._writing() as connection:
            if not connection.execute(update(table).where(table.c.id == run_id).values(finished_at=when)).rowcount:
                raise CatalogError(f"There is no run {show_id(run_id)} in the catalog")

    def runs(self, checkpoint_id: int | None = None) -> list[AttributionRun]:
        """Return the runs of one checkpoint, or of all, the newest first."""
        table = schema.attribution_runs
        wanted = select(table).order_by(table.c.started_at.desc(), table.c.id)
        if checkpoint_id is not None:
            wanted = wanted.where(table.c.checkpoint_id == checkpoint_id)
        with self._reading() as connection:
            return [AttributionRun(*row) for row in connection.execute(wanted)]

    def attributed_prompts(self, run_id: int) -> set[int]:
        """Return the ids of the prompts that the run is done with, whatever they gave."""
        table = schema.prompt_attributions
        with self._reading() as connection:
            return set(connection.scalars(select(table.c.prompt_id).where(table.c.run_id == run_id)))

    def put_attributions(self, attributions: Sequence[PromptAttribution], scores: Sequence[NeuronScore]) -> None:
        """Put in what the prompts gave, each with all its scores, in one transaction.

        A prompt that its run has already is left as it is, scores and all. Raise CatalogError for a score whose
        prompt is not among the attributions.
        """
        given = {(one.run_id, one.prompt_id) for one in attributions}
        if strays := {(one.run_id, one.prompt_id) for one in scores} - given:
            raise CatalogError(f"{len(strays)} prompts have scores but no attribution", cure="Put both in at once.")
        with self._writing() as connection:
            new = given - _already(connection, given)
            add(connection, schema.prompt_attributions, [one for one in attributions if _key(one) in new])
            add(connection, schema.neuron_scores, [one for one in scores if _key(one) in new])

    def attributions(self, run_id: int) -> list[PromptAttribution]:
        """Return what the run's prompts gave, by prompt id."""
        table = schema.prompt_attributions
        with self._reading() as connection:
            wanted = select(table).where(table.c.run_id == run_id).order_by(table.c.prompt_id)
            return [PromptAttribution(*row) for row in connection.execute(wanted)]

    def scores(self, run_id: int, prompt_id: int) -> list[NeuronScore]:
        """Return the neurons kept for one prompt, the highest score first; ties by layer, then index."""
        table = schema.neuron_scores
        wanted = (
            select(table)
            .where(table.c.run_id == run_id, table.c.prompt_id == prompt_id)
            .order_by(table.c.score.desc(), table.c.layer, table.c["index"])
        )
        with self._reading() as connection:
            return [NeuronScore(*row) for row in connection.execute(wanted)]

    def coarse_counts(self, run_id: int, threshold: float) -> Iterator[CoarseCount]:
        """Yield, for each fact and neuron, in how many prompts it reached `threshold` times the prompt's peak.

        Only prompts that count are asked: status "ok" or "inexact", and a peak above 0. In the order of fact id,
        layer, index, so that a fact's neurons come together; one statement, read as it is consumed.
        """
        with self._reading() as connection:
            reader = connection.execution_options(yield_per=10_000)
            for row in reader.execute(queries.coarse_counts(run_id, threshold)):
                yield CoarseCount(*row)

    def attributed_facts(self, run_id: int) -> list[AttributedFact]:
        """Return the run's facts by id, each with the number of its prompts that count, which may be 0."""
        with self._reading() as connection:
            return [AttributedFact(*row) for row in connection.execute(queries.attributed_facts(run_id))]


def _key(one: PromptAttribution | NeuronScore) -> tuple[int, int]:
    return one.run_id, one.prompt_id


def _already(connection: Connection, keys: set[tuple[int, int]]) -> set[tuple[int, int]]:
    table, found = schema.prompt_attributions, set()
    for run_id in {run_id for run_id, _ in keys}:
        for batch in batches([prompt_id for run, prompt_id in keys if run == run_id]):
            wanted = select(table.c.prompt_id).where(table.c.run_id == run_id, table.c.prompt_id.in_(batch))
            found |= {(run_id, prompt_id) for prompt_id in connection.scalars(wanted)}
    return found

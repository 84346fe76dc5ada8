"""The catalog's verbs for attribution: runs, what each prompt gave, and the scores that refinement counts.

Knows nothing of how a score comes to be.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection, select, update

from knedit.catalog import queries, schema
from knedit.catalog.answers import PromptOutcome, RunSummary
from knedit.catalog.naming import id_range, say_which
from knedit.catalog.rows import Transactions, add, batches
from knedit.errors import CatalogError
from knedit.records import (
    AttributedFact,
    AttributionRun,
    CoarseCount,
    Fact,
    NeuronScore,
    Prompt,
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

    def find_run(self, reference: str) -> AttributionRun:
        """Return the run whose shown id alone begins with `reference`, of at least four digits."""
        known = self.runs()
        ids = id_range(reference)
        found = [run for run in known if ids is not None and ids[0] <= run.id <= ids[1]]
        if len(found) == 1:
            return found[0]
        if found:
            which = say_which([show_id(run.id) for run in found])
            raise CatalogError(f'{len(found)} runs begin with "{reference}"', cure=which)
        cure = say_which([show_id(run.id) for run in known]) if known else "Run: knedit attribute CHECKPOINT"
        raise CatalogError(f'There is no run "{reference}" in the catalog', cure=cure)

    def run_summaries(self, checkpoint_id: int | None = None) -> list[RunSummary]:
        """Return the runs of one checkpoint, or of all, the newest first, with what they counted."""
        table = schema.checkpoints
        with self._reading() as connection:
            names = {row.id: row.name for row in connection.execute(select(table.c.id, table.c.name))}
            facts = {row[0]: row[1] for row in connection.execute(queries.facts_by_run())}
            statuses: dict[int, dict[str, int]] = defaultdict(dict)
            for run_id, status, count in connection.execute(queries.prompts_by_status()):
                statuses[run_id][status] = count
        return [
            RunSummary(run, names[run.checkpoint_id], facts.get(run.id, 0), statuses[run.id])
            for run in self.runs(checkpoint_id)
        ]

    def outcomes(self, run_id: int, status: str, *, limit: int = 20) -> list[PromptOutcome]:
        """Return prompts that stand so, the largest completeness error first; ties by relation, subject, text."""
        ends = [1, 1 + len(schema.facts.c), 1 + len(schema.facts.c) + len(schema.prompts.c)]
        with self._reading() as connection:
            return [
                PromptOutcome(
                    row[0],
                    Fact(*row[ends[0] : ends[1]]),
                    Prompt(*row[ends[1] : ends[2]]),
                    PromptAttribution(*row[ends[2] :]),
                )
                for row in connection.execute(queries.outcomes(run_id, status, limit))
            ]

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

        Only prompts that count are asked: status "ok" or "inexact", a peak above 0, not retired since, nor their fact.
        In the order of fact id, layer, index, so that a fact's neurons come together; one statement, read as it is
        consumed.
        """
        with self._reading() as connection:
            reader = connection.execution_options(yield_per=10_000)
            for row in reader.execute(queries.coarse_counts(run_id, threshold)):
                yield CoarseCount(*row)

    def attributed_facts(self, run_id: int) -> list[AttributedFact]:
        """Return the run's facts but retired ones, by id, with the number of their prompts that count, maybe 0."""
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

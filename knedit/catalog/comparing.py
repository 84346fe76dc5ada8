"""The catalog's verbs for comparing: wordings of a fact, two refinements, two runs, two checkpoints.

Knows nothing of how a question is put in SQL: that is `questions/`.
"""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Row, select

from knedit.catalog import schema
from knedit.catalog.questions import consistency, differences
from knedit.catalog.questions.answers import (
    CheckpointDifference,
    Consistency,
    FactChange,
    PromptChange,
    RefinementDifference,
    RunDifference,
)
from knedit.catalog.questions.coarse import BILLION
from knedit.catalog.rows import Transactions, batches
from knedit.records import Checkpoint, Fact, Prompt

THRESHOLD = 0.2  # of a prompt's peak, as refinement takes it where nothing else is said

_FACT = len(schema.facts.c)
_PROMPT = len(schema.prompts.c)


class ComparingVerbs(Transactions):
    def consistency(self, run_id: int, fact_ids: Collection[int], *, threshold: float = THRESHOLD) -> list[Consistency]:
        """Return how far the wordings of these facts agree on their neurons, in a run; the lowest first.

        Facts that have fewer than two prompts that count in the run are left out.
        """
        with self._reading() as connection:
            found = [
                _consistency(row)
                for batch in batches(fact_ids)
                for row in connection.execute(consistency.consistency(run_id, threshold, fact_ids=batch))
            ]
        return sorted(found, key=lambda one: one.mean_jaccard)

    def least_consistent(
        self, run_id: int, *, threshold: float = THRESHOLD, relation_id: int | None = None, limit: int | None = 20
    ) -> list[Consistency]:
        """Return the facts of a run whose wordings agree least; ties by relation's key, subject, object."""
        wanted = consistency.consistency(run_id, threshold, relation_id=relation_id, limit=limit)
        with self._reading() as connection:
            return [_consistency(row) for row in connection.execute(wanted)]

    def refinement_difference(self, before: int, after: int, *, limit: int = 20) -> RefinementDifference:
        """Return how the refinements differ, with the facts that gained and lost the most neurons."""
        with self._reading() as connection:
            return _refinements(connection, before, after, limit)

    def run_difference(
        self, before: int, after: int, *, threshold: float = THRESHOLD, limit: int = 20
    ) -> RunDifference:
        """Return how the runs differ, with the prompts that stand otherwise, then those of the lowest Jaccard index."""
        with self._reading() as connection:
            totals = connection.execute(differences.run_totals(before, after, threshold)).one()
            found = connection.execute(differences.prompt_changes(before, after, threshold, limit)).all()
        only_before, only_after, both, other, mean_before, mean_after, jaccards, compared = totals
        mean = _mean(jaccards, compared)
        changes = tuple(map(_prompt_change, found))
        return RunDifference(only_before, only_after, both, other, mean_before, mean_after, mean, changes)

    def checkpoint_difference(self, before: Checkpoint, after: Checkpoint, *, limit: int = 20) -> CheckpointDifference:
        """Return the files by which the checkpoints differ, by sha256, and how their newest refinements do."""
        with self._reading() as connection:
            newest = [_newest_refinement(connection, one.id) for one in (before, after)]
            compared = None
            if newest[0] is not None and newest[1] is not None:
                compared = _refinements(connection, newest[0], newest[1], limit)
        return CheckpointDifference(before, after, *_files(before.files, after.files), compared)


def _consistency(row: Row[Any]) -> Consistency:
    prompts, pairs, total = (int(number) for number in row[-3:])
    return Consistency(row[0], Fact(*row[1 : 1 + _FACT]), prompts, total / (pairs * BILLION))


def _refinements(connection: Connection, before: int, after: int, limit: int) -> RefinementDifference:
    totals = connection.execute(differences.refinement_totals(before, after)).one()
    found = connection.execute(differences.fact_changes(before, after, limit)).all()
    only_before, only_after, equal, both, jaccards = totals
    changes = tuple(FactChange(row[0], Fact(*row[1 : 1 + _FACT]), *row[1 + _FACT :]) for row in found)
    return RefinementDifference(only_before, only_after, equal, both - equal, _mean(jaccards, both), changes)


def _mean(billionths: int | None, number: int) -> float | None:
    return int(billionths or 0) / (number * BILLION) if number else None


def _prompt_change(row: Row[Any]) -> PromptChange:
    ends = (1, 1 + _FACT, 1 + _FACT + _PROMPT)
    return PromptChange(row[0], Fact(*row[ends[0] : ends[1]]), Prompt(*row[ends[1] : ends[2]]), *row[ends[2] :])


def _newest_refinement(connection: Connection, checkpoint_id: int) -> int | None:
    table, runs = schema.refinements, schema.attribution_runs
    wanted = select(table.c.id).join(runs).where(runs.c.checkpoint_id == checkpoint_id)
    return connection.scalar(wanted.order_by(table.c.created_at.desc(), table.c.id).limit(1))


def _files(
    before: Mapping[str, str], after: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the names of the files that only one has, and of those that differ."""
    changed = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    groups = (before.keys() - after.keys(), after.keys() - before.keys(), changed)
    return tuple(sorted(groups[0])), tuple(sorted(groups[1])), tuple(sorted(groups[2]))

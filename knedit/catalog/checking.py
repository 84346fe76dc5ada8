"""What can be wrong with a catalog's rows although the database took them, found by SQL, and what knedit can mend.

Knows nothing of checkpoints' files. Everything is read at one moment, also while others write.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, ForeignKeyConstraint, Select, Table, and_, case, func, literal, not_, or_, select
from sqlalchemy.exc import DatabaseError

from knedit.catalog import counting
from knedit.catalog.describing import describe
from knedit.catalog.rows import Transactions
from knedit.catalog.schema import (
    attribution_runs,
    checkpoints,
    degenerate_neurons,
    degenerate_sets,
    edit_neurons,
    edit_values,
    edits,
    experiment_values,
    experiments,
    knowledge_neurons,
    metadata,
    neuron_counts,
    neuron_descriptions,
    neuron_labels,
    neuron_notes,
    neuron_scores,
    prompt_attributions,
    refined_facts,
    refined_relations,
    refinements,
)
from knedit.records import show_id

SHOWN = 3  # examples in a finding
ROUNDING = 1e-6
LARGEST = 1.7e308  # what is not between -LARGEST and LARGEST is no number
SEARCHES = ("facts_search", "prompts_search")
CORRUPT = 11  # SQLITE_CORRUPT

REPAIR = "Run: knedit catalog check --repair"
AGAIN = "Run the attribution again in a new catalog, or restore a backup: knedit catalog restore FILE"
RESTORE = "Restore a backup: knedit catalog restore FILE"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong: which check found it, what it is, where, and how to cure it."""

    check: str
    what: str
    where: str
    cure: str


Keys = Select[*tuple[Any, ...]]
Check = Callable[[Connection], Iterator[Finding]]


class CheckVerbs(Transactions):
    def check(self) -> list[Finding]:
        """Return what is wrong with the catalog's rows, by the order of CHECKS; nothing is changed."""
        with self._reading(), self._snapshot() as connection:
            found = [finding for check in CHECKS.values() for finding in check(connection)]
        if self._url.get_backend_name() == "sqlite":
            found += self._search_out_of_step()
        return found

    def repair(self) -> None:
        """Count neurons again where the kept counts are wrong, and build the search index anew."""
        with self._writing() as connection:
            for refinement_id in _wrongly_counted(connection):
                counting.count_again(connection, refinement_id)
            if connection.dialect.name == "sqlite":
                for search in SEARCHES:
                    connection.exec_driver_sql(f"INSERT INTO {search} ({search}) VALUES ('rebuild')")  # noqa: S608

    def _search_out_of_step(self) -> list[Finding]:
        found = []
        with self._writing() as connection:  # FTS5 takes its checks as writes, though they write nothing
            for search in SEARCHES:
                try:
                    connection.exec_driver_sql(
                        f"INSERT INTO {search} ({search}, rank) VALUES ('integrity-check', 1)"  # noqa: S608
                    )
                except DatabaseError as complaint:
                    if getattr(complaint.orig, "sqlite_errorcode", 0) & 0xFF != CORRUPT:
                        raise
                    found.append(Finding("search", "the search index is out of step", search, REPAIR))
        return found


def _damage(connection: Connection) -> Iterator[Finding]:
    if connection.dialect.name == "sqlite":
        for (complaint,) in connection.exec_driver_sql("PRAGMA integrity_check(20)"):
            if complaint != "ok":
                yield Finding("damage", complaint.strip().replace("\n", "; "), "the database's file", RESTORE)


def _orphans(connection: Connection) -> Iterator[Finding]:
    for table in metadata.sorted_tables:
        for reference in table.foreign_key_constraints:
            what = f"{{count}} of {table.name} refer to {reference.referred_table.name} that are not there"
            yield from _found(connection, "orphans", table, _without_parent(table, reference), what, RESTORE)


def _without_parent(table: Table, reference: ForeignKeyConstraint) -> Keys:
    parent = reference.referred_table.alias("parent")
    pairs = [(element.parent, parent.c[element.column.name]) for element in reference.elements]
    missing = and_(pairs[0][1].is_(None), *[own.is_not(None) for own, _ in pairs])
    joined = table.outerjoin(parent, and_(*[own == theirs for own, theirs in pairs]))
    return select(*table.primary_key).select_from(joined).where(missing)


def _ranges(connection: Connection) -> Iterator[Finding]:
    probability = prompt_attributions.c.probability
    above = neuron_scores.join(prompt_attributions)
    peak = prompt_attributions.c.peak
    wrong: list[tuple[Table, Keys, str]] = [
        (
            prompt_attributions,
            _keys(prompt_attributions).where(not_(probability.between(-ROUNDING, 1 + ROUNDING))),
            "{count} probabilities are not between 0 and 1",
        ),
        *[
            (
                table,
                _keys(table).where(not_(table.c.share.between(0, 1 + ROUNDING))),
                "{count} shares are not in 0 to 1",
            )
            for table in (refined_facts, knowledge_neurons)
        ],
        *[
            (table, _keys(table).where(not_(table.c.score.between(-LARGEST, LARGEST))), "{count} scores are no numbers")
            for table in (neuron_scores, knowledge_neurons, degenerate_sets)
        ],
        (
            experiment_values,
            _keys(experiment_values).where(not_(experiment_values.c.value.between(-LARGEST, LARGEST))),
            "{count} values of experiments are no numbers",
        ),
        (
            neuron_scores,
            _keys(neuron_scores).select_from(above).where(neuron_scores.c.score > peak + ROUNDING * func.abs(peak)),
            "{count} scores are above their prompt's peak",
        ),
    ]
    for table, keys, what in wrong:
        yield from _found(connection, "ranges", table, keys, what, AGAIN)


def _places(connection: Connection) -> Iterator[Finding]:
    of_run = attribution_runs.join(checkpoints)
    of_refinement = refinements.join(of_run)
    reaches: list[tuple[Table, Any]] = [
        (neuron_scores, neuron_scores.join(of_run, attribution_runs.c.id == neuron_scores.c.run_id)),
        (
            knowledge_neurons,
            knowledge_neurons.join(of_refinement, refinements.c.id == knowledge_neurons.c.refinement_id),
        ),
        (
            degenerate_neurons,
            degenerate_neurons.join(
                degenerate_sets.join(of_refinement, refinements.c.id == degenerate_sets.c.refinement_id)
            ),
        ),
        *[
            (table, table.join(edits.join(checkpoints, checkpoints.c.id == edits.c.checkpoint_id)))
            for table in (edit_neurons, edit_values)
        ],
        *[(table, table.join(checkpoints)) for table in (neuron_notes, neuron_labels, neuron_descriptions)],
    ]
    for table, joined in reaches:
        outside = or_(
            and_(checkpoints.c.n_layers > 0, table.c.layer >= checkpoints.c.n_layers),
            and_(checkpoints.c.ffn_width > 0, table.c["index"] >= checkpoints.c.ffn_width),
        )
        keys = _keys(table).select_from(joined).where(outside)
        what = f"{{count}} of {table.name} name neurons that their checkpoint does not have"
        yield from _found(connection, "places", table, keys, what, AGAIN)


def _counts(connection: Connection) -> Iterator[Finding]:
    key = (knowledge_neurons.c.refinement_id, knowledge_neurons.c.fact_id)
    rows = select(*key, func.count().label("n")).group_by(*key).subquery()
    same = and_(rows.c.refinement_id == refined_facts.c.refinement_id, rows.c.fact_id == refined_facts.c.fact_id)
    told = func.coalesce(rows.c.n, 0) != refined_facts.c.neurons
    keys = _keys(refined_facts).select_from(refined_facts.outerjoin(rows, same)).where(told)
    what = "{count} refined facts have another number of neurons than they tell"
    yield from _found(connection, "counts", refined_facts, keys, what, "Run: knedit refine CHECKPOINT")
    for refinement_id in _wrongly_counted(connection):
        yield Finding(
            "counts", "the kept counts are not those of the rows", f"refinement {show_id(refinement_id)}", REPAIR
        )


def _wrongly_counted(connection: Connection) -> list[int]:
    ids = connection.scalars(select(refinements.c.id).order_by(refinements.c.id)).all()
    return [one for one in ids if not _rightly_counted(connection, one)]


def _rightly_counted(connection: Connection, refinement_id: int) -> bool:
    return all(
        _as_kept(connection, kept, counted(refinement_id), refinement_id, values)
        for kept, counted, values in (
            (neuron_counts, counting.neurons_counted, ("facts", "score_sum")),
            (refined_relations, counting.relations_counted, ("facts", "neurons")),
        )
    )


def _as_kept(connection: Connection, kept: Table, counted: Keys, refinement_id: int, values: Sequence[str]) -> bool:
    """Return whether the kept rows are those counted, one for one; sums may differ by rounding."""
    names = list(kept.c.keys())
    rows = counted.subquery().columns
    right = dict(zip(names, rows, strict=True))
    same_key = and_(*[column == right[column.name] for column in kept.primary_key])
    alike = and_(*[_alike(right[name], kept.c[name]) for name in values])
    subquery = next(iter(rows)).table
    joined = subquery.outerjoin(kept, same_key)
    n, equal = connection.execute(select(func.count(), func.sum(case((alike, 1), else_=0))).select_from(joined)).one()
    of_it = select(func.count()).select_from(kept).where(kept.c.refinement_id == refinement_id)
    return bool(n == (equal or 0) == connection.scalar(of_it))


def _alike(counted: Any, kept: Any) -> Any:
    near = func.abs(counted - kept) <= ROUNDING * (1 + func.abs(kept))
    return or_(near, and_(counted.is_(None), kept.is_(None)))


def _unfinished(connection: Connection) -> Iterator[Finding]:
    runs, made = attribution_runs.c, edits.c
    yield from _found(
        connection,
        "unfinished",
        attribution_runs,
        _keys(attribution_runs).where(runs.finished_at.is_(None)),
        "{count} runs never finished",
        "Let them go on: knedit attribute CHECKPOINT --like RUN",
    )
    yield from _found(
        connection,
        "unfinished",
        edits,
        _keys(edits).where(made.result_id.is_(None)),
        "{count} edits have no result",
        "Run: knedit edit apply EDIT",
    )
    yield from _found(
        connection,
        "unfinished",
        experiments,
        _keys(experiments).where(experiments.c.finished_at.is_(None)),
        "{count} experiments never finished",
        "Let them go on: knedit experiment NAME CHECKPOINT",
    )
    scored = select(literal(1)).where(
        neuron_scores.c.run_id == prompt_attributions.c.run_id,
        neuron_scores.c.prompt_id == prompt_attributions.c.prompt_id,
    )
    own = prompt_attributions.c
    yield from _found(
        connection,
        "unfinished",
        prompt_attributions,
        _keys(prompt_attributions).where(own.status == "ok", own.peak > 0, not_(scored.exists())),
        "{count} prompts are attributed but have no scores",
        AGAIN,
    )


def _keys(table: Table) -> Keys:
    return select(*table.primary_key)


def _found(
    connection: Connection,
    check: str,
    table: Table,
    keys: Keys,
    what: str,
    cure: str,
) -> Iterator[Finding]:
    """Yield one finding for all the keys selected, naming the first few; none where there are none."""
    names = [column.name for column in table.primary_key]
    first = connection.execute(keys.limit(SHOWN)).all()
    if not first:
        return
    count = connection.scalar(select(func.count()).select_from(keys.order_by(None).subquery())) or 0
    shown = describe(connection, table, [dict(zip(names, row, strict=True)) for row in first])
    more = [f"and {count - len(first)} more"] if count > len(first) else []
    yield Finding(check, what.format(count=count), "; ".join([*shown, *more]), cure)


CHECKS: dict[str, Check] = {
    "damage": _damage,
    "orphans": _orphans,
    "ranges": _ranges,
    "places": _places,
    "counts": _counts,
    "unfinished": _unfinished,
}

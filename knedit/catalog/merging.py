"""One catalog taken into another: the union of their rows, and a list of what the two tell differently.

What differs stays as it is here, unless `settling` knows whose word stands. Rows that only mean something together,
such as a refinement and its neurons, come or stay as a whole and are never mixed. Knows nothing of files and flags.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    and_,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from knedit.catalog import counting, schema
from knedit.catalog.connecting import explained, show_address
from knedit.catalog.describing import describe
from knedit.catalog.rows import BATCH, Transactions, batches
from knedit.catalog.settling import UNSETTLED, settle, settle_status
from knedit.catalog.staging import STAGED, Staging, StagingTransactions
from knedit.errors import CatalogError
from knedit.records import show_id
from knedit.remarks import StatusChange

COUNTS = (schema.neuron_counts, schema.refined_relations)
NEW_NAME_DIGITS = 8  # of a checkpoint's id, behind a name that another one has here


@dataclass(frozen=True, slots=True)
class Conflict:
    """One field that two catalogs tell differently of the same thing, which `words` name.

    Where many rows differ as a whole, `field` is their table, and the two sides say how many rows they have.
    """

    table: str
    key: Mapping[str, Any]
    words: str
    field: str
    ours: Any
    theirs: Any


@dataclass(frozen=True, slots=True)
class TableMerge:
    """What merging did to one table: rows seen there, added and changed here, and conflicts."""

    table: str
    seen: int
    added: int
    changed: int
    conflicts: int


Tell = Callable[[Conflict], None]


@dataclass(frozen=True)
class Unit:
    """Rows of a table, each with the rows of other tables that hang on it: all of them are taken, or none."""

    table: Table
    parts: tuple[Table, ...] = ()


# In an order in which what is referred to comes first.
UNITS = (
    Unit(schema.relations),
    Unit(schema.facts),
    Unit(schema.prompts),
    Unit(schema.fact_sources),
    Unit(schema.requested_rewrites),
    Unit(schema.checkpoints),
    Unit(schema.attribution_runs),
    Unit(schema.prompt_attributions, (schema.neuron_scores,)),
    Unit(schema.refinements, (schema.refined_facts, schema.knowledge_neurons)),
    Unit(schema.degenerate_sets, (schema.degenerate_neurons,)),
    Unit(
        schema.edits,
        (schema.edit_targets, schema.edit_neurons, schema.edit_values, schema.edit_outcomes, schema.edit_gates),
    ),
    Unit(schema.evaluations),
    Unit(schema.experiments),
    Unit(schema.experiment_parts, (schema.experiment_values,)),
    Unit(schema.status_changes),
    Unit(schema.fact_notes),
    Unit(schema.neuron_notes),
    Unit(schema.fact_labels),
    Unit(schema.neuron_labels),
    Unit(schema.selections, (schema.selected_facts,)),
    Unit(schema.neuron_descriptions),
)
TABLES = tuple(table for unit in UNITS for table in (unit.table, *unit.parts))


class MergeVerbs(StagingTransactions):
    def merge(self, other: Transactions, tell: Tell, *, dry_run: bool = False) -> list[TableMerge]:
        """Add what `other` has and this catalog has not, in one transaction; `tell` hears of every conflict.

        A dry run finds out the same and changes nothing. Raise CatalogError where `other` is this very catalog.
        """
        with self._reading() as here, other._reading() as there:
            if _identity(here) == _identity(there):
                raise CatalogError("A catalog cannot be merged with itself", show_address(other._url))
        with self._staging(*TABLES) as turns:
            with turns.filling() as staging, other._snapshot() as source:
                seen = {table.name: staging.stage_rows(table, _rows(source, other, table)) for table in TABLES}
                for table in TABLES:
                    staging.index(table, *[column.name for column in table.primary_key])
                for column in ("fact_id", "prompt_id"):
                    staging.index(schema.status_changes, column)
            with turns.writing() as staging:
                merger = _Merger(staging, tell)
                for unit in UNITS:
                    merger.take(unit)
                merger.count_again()
                if dry_run:
                    staging.undo()
        return [merger.told(table, seen[table.name]) for table in TABLES]


def _rows(source: Connection, other: Transactions, table: Table) -> Iterator[Row[Any]]:
    with explained(other._url):
        yield from source.execute(select(table).execution_options(yield_per=STAGED))


def _identity(connection: Connection) -> tuple[Any, ...]:
    """Return what only connections to one and the same database have in common."""
    if connection.dialect.name == "sqlite":
        file = next(row[2] for row in connection.exec_driver_sql("PRAGMA database_list") if row[1] == "main")
        return ("sqlite", file)
    own = "SELECT oid, pg_postmaster_start_time() FROM pg_database WHERE datname = current_database()"
    return tuple(connection.exec_driver_sql(own).one())


class _Merger:
    """One merge under way, inside the writing transaction."""

    def __init__(self, staging: Staging, tell: Tell) -> None:
        self._staging = staging
        self._connection = staging.connection
        self._tell = tell
        self._conflicts: Counter[str] = Counter()
        self._added: Counter[str] = Counter()
        self._changed: Counter[str] = Counter()
        self._new_refinements: list[int] = []
        self._mixed_refinements: set[int] = set()

    def told(self, table: Table, seen: int) -> TableMerge:
        name = table.name
        return TableMerge(name, seen, self._added[name], self._changed[name], self._conflicts[name])

    def take(self, unit: Unit) -> None:
        table, twin = unit.table, self._staging.twin(unit.table)
        if table is schema.checkpoints:
            self._rename_checkpoints()
        if table is schema.degenerate_sets:
            self._leave_sets_of_others()
        if not unit.parts:
            self._added[table.name] = self._staging.add(table)
            self._compare(table)
            return
        for part in unit.parts:
            self._compare_parts(table, part)
        self._compare(table)
        self._connection.execute(delete(twin).where(exists().where(_same_key(twin, table))))
        if table is schema.refinements:
            self._new_refinements = list(self._connection.scalars(select(twin.c.id)))
        self._added[table.name] = self._staging.add(table)
        for part in unit.parts:
            of_the_new = exists().where(_same_key(twin, self._staging.twin(part), table))
            self._added[part.name] = self._staging.add(part, of_the_new)

    def count_again(self) -> None:
        for refinement_id in self._new_refinements:
            counting.count_again(self._connection, refinement_id)

    def _compare(self, table: Table) -> None:
        """Settle, or tell, each field that differs in rows of one key."""
        twin, width = self._staging.twin(table), len(table.c)
        keys = [column.name for column in table.primary_key]
        names = [column.name for column in table.c if column.name not in keys]
        if not names:
            return
        differing = or_(*[twin.c[name].is_distinct_from(table.c[name]) for name in names])
        wanted = select(table, twin).join_from(twin, table, _same_key(twin, table)).where(differing)
        for batch in batches(self._stream(wanted)):
            pairs = [(_told(table, row[:width]), _told(table, row[width:])) for row in batch]
            statuses = self._statuses(table, pairs)
            self._settle(table, pairs, statuses)

    def _settle(
        self, table: Table, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], statuses: Mapping[int, Any]
    ) -> None:
        keys = [column.name for column in table.primary_key]
        found = []
        for here, there in pairs:
            kept = {}
            for name in here:
                if here[name] == there[name]:
                    continue
                value = statuses[here["id"]] if name == "status" and statuses else settle(table.name, name, here, there)
                if value is UNSETTLED:
                    found.append(({key: here[key] for key in keys}, name, here[name], there[name]))
                elif value != here[name]:
                    kept[name] = value
            if kept:
                self._connection.execute(update(table).where(*[table.c[key] == here[key] for key in keys]).values(kept))
                self._changed[table.name] += 1
        self._tell_all(table, found)

    def _statuses(self, table: Table, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[int, Any]:
        """Return whose status stands, by id, of facts or prompts whose two histories tell it."""
        if table not in (schema.facts, schema.prompts):
            return {}
        ids = [here["id"] for here, _ in pairs]
        history = schema.status_changes
        own = self._history(history, table, ids)
        theirs = self._history(self._staging.twin(history), table, ids)
        return {
            here["id"]: settle_status(here["status"], there["status"], own[here["id"]], theirs[here["id"]])
            for here, there in pairs
        }

    def _history(self, changes: Table, table: Table, ids: Sequence[int]) -> dict[int, list[StatusChange]]:
        of_prompts = table is schema.prompts
        owner = changes.c.prompt_id if of_prompts else changes.c.fact_id
        wanted = select(changes).where(owner.in_(ids))
        found: dict[int, list[StatusChange]] = {one: [] for one in ids}
        for row in self._connection.execute(wanted if of_prompts else wanted.where(changes.c.prompt_id.is_(None))):
            change = StatusChange(*row)
            found[change.prompt_id if of_prompts and change.prompt_id is not None else change.fact_id].append(change)
        return found

    def _compare_parts(self, table: Table, part: Table) -> None:
        """Tell of each row that is here and there with other rows hanging on it."""
        width = len(table.primary_key)
        for batch in batches(self._stream(_differing_parts(table, part, self._staging))):
            found = []
            for row in batch:
                key = dict(zip([column.name for column in table.primary_key], row[:width], strict=True))
                n_ours, n_theirs, alike = row[width:]
                found.append((key, part.name, f"{n_ours} rows", f"{n_theirs} rows, {alike} of them alike"))
                if table is schema.refinements:
                    self._mixed_refinements.add(key["id"])
            self._tell_all(table, found)

    def _rename_checkpoints(self) -> None:
        """Give those that come under a name which another one has here a name of their own."""
        table, twin = schema.checkpoints, self._staging.twin(schema.checkpoints)
        known = select(table.c.id)
        clash = select(twin.c.id, twin.c.name, table.c.id).join_from(twin, table, twin.c.name == table.c.name)
        found = []
        for own, name, here in self._connection.execute(clash.where(twin.c.id.not_in(known))).all():
            new = f"{name}-{show_id(own)[:NEW_NAME_DIGITS]}"
            self._connection.execute(update(twin).where(twin.c.id == own).values(name=new))
            found.append(({"id": here}, "name", f"{name} is {show_id(here)}", f"{name} is {show_id(own)}, now {new}"))
        self._tell_all(table, found)

    def _leave_sets_of_others(self) -> None:
        """Leave out the degenerate sets of neurons that were not taken."""
        twin, found = self._staging.twin(schema.degenerate_sets), []
        for refinement_id in sorted(self._mixed_refinements):
            of_it = twin.c.refinement_id == refinement_id
            if count := self._connection.scalar(select(func.count()).select_from(twin).where(of_it)):
                found.append(({"id": refinement_id}, "degenerate_sets", "neurons of its own", f"{count} rows"))
                self._connection.execute(delete(twin).where(of_it))
        self._tell_all(schema.refinements, found)

    def _tell_all(self, table: Table, found: Sequence[tuple[dict[str, Any], str, Any, Any]]) -> None:
        words = describe(self._connection, table, [key for key, *_ in found])
        for (key, field, here, there), named in zip(found, words, strict=True):
            self._conflicts[table.name] += 1
            self._tell(Conflict(table.name, key, named, field, here, there))

    def _stream(self, wanted: Select[Any]) -> Iterator[Row[Any]]:
        yield from self._connection.execute(wanted.execution_options(yield_per=BATCH))


def _told(table: Table, values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(table.c.keys(), values, strict=True))


def _same_key(twin: Table, other: Table, owner: Table | None = None) -> ColumnElement[bool]:
    """Return that two rows have the key of one owner; the owner's key comes first in its parts' keys."""
    keys = [column.name for column in (owner if owner is not None else other).primary_key]
    return and_(*[twin.c[mine] == column for mine, column in zip(keys, _leading(other, len(keys)), strict=True)])


def _leading(table: Table, width: int) -> Sequence[ColumnElement[Any]]:
    """Return the first columns of a table's key, or of its twin's, which keeps their order and has none."""
    return list(table.c)[:width]


def _differing_parts(table: Table, part: Table, staging: Staging) -> Select[Any]:
    """Select the owner's key, our rows, their rows and the rows alike, for owners here and there that differ."""
    owner, twin, width = staging.twin(table), staging.twin(part), len(table.primary_key)
    same_row = and_(*[twin.c[column.name] == column for column in part.primary_key])
    values = [column.name for column in part.c if not column.primary_key]
    alike = and_(
        _leading(part, 1)[0].is_not(None), *[twin.c[name].is_not_distinct_from(part.c[name]) for name in values]
    )
    theirs = (
        select(*_leading(twin, width), func.count().label("n"), func.sum(case((alike, 1), else_=0)).label("alike"))
        .select_from(twin.outerjoin(part, same_row))
        .group_by(*_leading(twin, width))
        .subquery("theirs")
    )
    told = exists().where(and_(*[a == b for a, b in zip(_leading(owner, width), _leading(part, width), strict=True)]))
    ours = (
        select(*_leading(part, width), func.count().label("n"))
        .where(told)
        .group_by(*_leading(part, width))
        .subquery("ours")
    )
    of_theirs = and_(*[owner.c[k.name] == list(theirs.c)[n] for n, k in enumerate(table.primary_key)])
    of_ours = and_(*[owner.c[k.name] == list(ours.c)[n] for n, k in enumerate(table.primary_key)])
    counts = [func.coalesce(column, 0) for column in (ours.c.n, theirs.c.n, theirs.c.alike)]
    return (
        select(*[owner.c[key.name] for key in table.primary_key], *counts)
        .select_from(owner.join(table, _same_key(owner, table)).outerjoin(theirs, of_theirs).outerjoin(ours, of_ours))
        .where(or_(counts[0] != counts[1], counts[1] != counts[2]))
    )

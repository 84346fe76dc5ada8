"""The catalog's verbs for the status of facts and prompts, and for its history, which is only added to.

Knows nothing of what a status keeps the flows from.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    String,
    Table,
    case,
    cast,
    func,
    insert,
    literal,
    null,
    select,
    update,
)
from sqlalchemy.dialects import postgresql

from knedit.catalog import schema
from knedit.catalog.naming import did_you_mean, id_range, say_which
from knedit.catalog.rows import Transactions, batches, rows
from knedit.catalog.signing import author, kept, moment
from knedit.errors import CatalogError
from knedit.records import STATUSES, Prompt, canonical, fingerprint_of, show_id
from knedit.remarks import StatusChange, in_utc


class StatusVerbs(Transactions):
    def set_fact_status(
        self,
        fact_ids: Collection[int],
        status: str,
        *,
        before: str | None = None,
        by: str | None = None,
        reason: str = "",
        at: datetime | None = None,
    ) -> int:
        """Give the facts this status and note it in their history; return how many had another one.

        With `before`, only those of that status now are changed. `by` is whom the settings name where it is None. Raise
        CatalogError for an unknown status, and for ids that are no facts; then nothing is changed.
        """
        change = _Change(schema.facts, status, before, _signed(status, author(by), reason, moment(at)))
        return self._set_status(change, fact_ids)

    def set_prompt_status(
        self,
        prompt_ids: Collection[int],
        status: str,
        *,
        before: str | None = None,
        by: str | None = None,
        reason: str = "",
        at: datetime | None = None,
    ) -> int:
        """Give the prompts this status as `set_fact_status` does; the entry stands in the history of their fact."""
        change = _Change(schema.prompts, status, before, _signed(status, author(by), reason, moment(at)))
        return self._set_status(change, prompt_ids)

    def history(self, fact_id: int) -> list[StatusChange]:
        """Return the changes of the fact's status and of its prompts', by time."""
        table = schema.status_changes
        wanted = select(table).where(table.c.fact_id == fact_id).order_by(table.c.changed_at, table.c.id)
        with self._reading() as connection:
            return [StatusChange(*row) for row in connection.execute(wanted)]

    def find_prompt(self, reference: str) -> Prompt:
        """Return the prompt whose shown id alone begins with `reference`, of at least four digits."""
        ids, table = id_range(reference), schema.prompts
        found: list[Prompt] = []
        if ids is not None:
            wanted = select(table).where(table.c.id.between(*ids)).order_by(table.c.id)
            with self._reading() as connection:
                found = [Prompt(*row) for row in connection.execute(wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            which = say_which([f"{show_id(one.id)} ({one.text})" for one in found])
            raise CatalogError(f'{len(found)} prompts begin with "{reference}"', cure=which)
        cure = "Name a prompt by at least four digits of its id: knedit facts show FACT lists them."
        raise CatalogError(f'There is no prompt "{reference}" in the catalog', cure=cure)

    def _set_status(self, change: "_Change", ids: Collection[int]) -> int:
        with self._writing() as connection:
            return sum(change.make(connection, batch) for batch in batches(dict.fromkeys(ids)))


def _signed(status: str, by: str, reason: str, at: datetime) -> dict[str, StatusChange]:
    """Return what a change looks like from each other status; raise CatalogError for what cannot be kept."""
    if status not in STATUSES:
        raise CatalogError(f'There is no status "{status}"', cure=did_you_mean(status, STATUSES))
    others = [one for one in STATUSES if one != status]
    why = kept(reason.strip(), "reason")
    made = [StatusChange.make(0, one, status, reason=why, changed_by=by, changed_at=at) for one in others]
    rows(schema.status_changes, made)
    return {one.before: one for one in made}


class _Change:
    """One change of status of rows of facts or prompts, as statements that take a batch of their ids."""

    def __init__(self, table: Table, status: str, before: str | None, signed: dict[str, StatusChange]) -> None:
        if before is not None and before not in STATUSES:
            raise CatalogError(f'There is no status "{before}"', cure=did_you_mean(before, STATUSES))
        self._table = table
        self._status = status
        self._before = before
        self._signed = signed

    def make(self, connection: Connection, ids: Collection[int]) -> int:
        """Write the history of those that have another status, then the status; return how many there were."""
        own = self._table.c
        here = own.id.in_(ids)
        missing = len(ids) - (connection.scalar(select(func.count()).select_from(self._table).where(here)) or 0)
        if missing:
            raise CatalogError(f"{missing} of the {self._table.name} are not in the catalog", cure="Check their ids.")
        differing = here & (own.status != self._status)
        if self._before is not None:
            differing &= own.status == self._before
        history = schema.status_changes
        entries = insert(history).from_select(list(history.c.keys()), select(*self._entry(connection)).where(differing))
        connection.execute(entries)
        return connection.execute(update(self._table).where(differing).values(status=self._status)).rowcount

    def _entry(self, connection: Connection) -> list[ColumnElement[Any]]:
        """Return the columns of StatusChange, its id computed as `StatusChange.make` does."""
        own, sample = self._table.c, next(iter(self._signed.values()))
        of_prompt = self._table is schema.prompts
        fact_id: Column[int] = own.fact_id if of_prompt else own.id
        prompt_id: ColumnElement[Any] = own.id if of_prompt else cast(null(), BigInteger)
        shown: ColumnElement[str] = cast(own.id, String) if of_prompt else literal("null", String)
        ends = case({before: _end(one) for before, one in self._signed.items()}, value=own.status)
        identity = literal('["status",', String) + cast(fact_id, String) + "," + shown + "," + ends
        moment_kept = literal(sample.changed_at, schema.status_changes.c.changed_at.type)
        words = [literal(one, String) for one in (sample.after, sample.reason, sample.changed_by)]
        return [_fingerprint(connection, identity), fact_id, prompt_id, own.status, *words, moment_kept]


def _end(change: StatusChange) -> str:
    """Return what a change's fingerprint is made of behind the fact's and the prompt's ids."""
    told = (change.before, change.after, change.reason, change.changed_by, in_utc(change.changed_at))
    return canonical(*told).removeprefix("[")


def _fingerprint(connection: Connection, told: ColumnElement[str]) -> ColumnElement[int]:
    """Return, in SQL, what `fingerprint` returns for the canonical JSON that a row makes."""
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.create_function("fingerprint", 1, fingerprint_of, deterministic=True)
        return func.fingerprint(told)
    bits = func.encode(func.substring(func.sha256(func.convert_to(told, "UTF8")), 1, 8), "hex")
    number: ColumnElement[int] = cast(cast(literal("x", String) + bits, postgresql.BIT(64)), BigInteger)
    return number.op(">>")(literal(1, Integer)).op("&")(2**63 - 1)

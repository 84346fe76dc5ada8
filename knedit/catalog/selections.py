"""The catalog's verbs for facts chosen by criteria, and for selections: criteria, or their answer, under a name.

Every criterion that is given must hold, by any one of its values; `facts` are ids, as shown, that come in besides.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    true,
)

from knedit.catalog import schema
from knedit.catalog.naming import did_you_mean
from knedit.catalog.rows import Transactions, add
from knedit.catalog.schema import fact_labels, fact_sources, facts, relations, selected_facts
from knedit.catalog.signing import author, kept, moment, short
from knedit.errors import CatalogError
from knedit.records import STATUSES, Fact
from knedit.remarks import Selection

Criteria = Mapping[str, Sequence[str]]
Condition = Callable[[Sequence[str]], ColumnElement[bool]]


def _of_relations(keys: Sequence[str]) -> ColumnElement[bool]:
    return facts.c.relation_id.in_(select(relations.c.id).where(relations.c.key.in_(keys)))


def _of_statuses(statuses: Sequence[str]) -> ColumnElement[bool]:
    return facts.c.status.in_(statuses)


def _of_labels(labels: Sequence[str]) -> ColumnElement[bool]:
    return facts.c.id.in_(select(fact_labels.c.fact_id).where(fact_labels.c.label.in_(labels)))


def _of_datasets(names: Sequence[str]) -> ColumnElement[bool]:
    return facts.c.id.in_(select(fact_sources.c.fact_id).where(fact_sources.c.dataset.in_(names)))


CRITERIA: Mapping[str, Condition] = {
    "relations": _of_relations,
    "statuses": _of_statuses,
    "labels": _of_labels,
    "datasets": _of_datasets,
}
NAMED = "facts"


class SelectionVerbs(Transactions):
    def fact_ids_of(self, criteria: Criteria) -> list[int]:
        """Return the ids of the facts that meet the criteria, in the order of relation's key, subject, object.

        Without any, all facts. Raise CatalogError for criteria that this knedit does not know.
        """
        wanted = _ordered(select(facts.c.id)).where(condition(criteria))
        with self._reading() as connection:
            return list(connection.scalars(wanted))

    def facts_of(self, criteria: Criteria) -> list[Fact]:
        """Return the facts that meet the criteria, as `fact_ids_of` does their ids."""
        wanted = _ordered(select(facts)).where(condition(criteria))
        with self._reading() as connection:
            return [Fact(*row) for row in connection.execute(wanted)]

    def save_selection(
        self,
        name: str,
        criteria: Criteria,
        *,
        frozen: bool = False,
        replace: bool = False,
        by: str | None = None,
        at: datetime | None = None,
    ) -> Selection:
        """Keep the criteria under the name: asked anew each time or, where `frozen`, for the facts of this moment.

        Raise CatalogError where the name is taken and not to be replaced, for an unknown relation, status or
        criterion, and for a frozen selection that would be empty; then nothing is saved.
        """
        answering = select(facts.c.id).where(condition(criteria))
        meant = {key: list(values) for key, values in criteria.items() if values}
        selection = Selection(short(name, "selection's name"), meant, frozen, author(by), moment(at))
        with self._writing() as connection:
            _refuse_unknown_relations(connection, meant.get("relations", ()))
            _clear(connection, selection.name, replace=replace)
            add(connection, schema.selections, [selection])
            if frozen:
                _freeze(connection, selection.name, answering)
        return selection

    def selections(self) -> list[Selection]:
        """Return the saved selections, by name."""
        with self._reading() as connection:
            found = connection.execute(select(schema.selections).order_by(schema.selections.c.name))
            return [Selection(*row) for row in found]

    def find_selection(self, name: str) -> Selection:
        """Return the selection of this name; raise CatalogError, naming near ones, where there is none."""
        known = self.selections()
        if found := [one for one in known if one.name == name]:
            return found[0]
        cure = did_you_mean(name, [one.name for one in known]) if known else "Run: knedit selections save NAME"
        raise CatalogError(f'There is no selection "{name}" in the catalog', cure=cure)

    def selected(self, name: str) -> list[Fact]:
        """Return the selection's facts, none where nothing answers, in the order of relation's key, subject, object."""
        wanted = _ordered(select(facts)).where(_in_selection(self.find_selection(name)))
        with self._reading() as connection:
            return [Fact(*row) for row in connection.execute(wanted)]

    def count_selected(self, name: str) -> int:
        """Return the number of the selection's facts."""
        wanted = select(func.count()).select_from(facts).where(_in_selection(self.find_selection(name)))
        with self._reading() as connection:
            return connection.scalar(wanted) or 0

    def remove_selection(self, name: str) -> None:
        """Forget the selection; its facts stay as they are."""
        self.find_selection(name)
        with self._writing() as connection:
            _clear(connection, name, replace=True)


def condition(criteria: Criteria) -> ColumnElement[bool]:
    """Return the criteria as one condition on `facts`; raise CatalogError for those that cannot be understood."""
    for key, values in criteria.items():
        _check(key, values)
    asked = [CRITERIA[key](values) for key, values in criteria.items() if key != NAMED and values]
    if not criteria.get(NAMED):
        return and_(true(), *asked)
    ids = [int(one, 16) for one in criteria[NAMED]]
    # Written out, as there may be more of them than a statement takes parameters.
    named = facts.c.id.in_(bindparam("named", ids, BigInteger, expanding=True, literal_execute=True))
    return or_(and_(*asked), named) if asked else named


def _check(key: str, values: object) -> None:
    known = (*CRITERIA, NAMED)
    if key not in known:
        raise CatalogError(f'There is no criterion "{key}"', cure=did_you_mean(key, known))
    if not isinstance(values, list | tuple) or not all(isinstance(one, str) and one for one in values):
        raise CatalogError(f'The criterion "{key}" is not a list of words', cure="Save the selection anew.")
    for one in values:
        kept(one, f"criterion {key}")
    if key == "statuses" and (unknown := [one for one in values if one not in STATUSES]):
        raise CatalogError(f'There is no status "{unknown[0]}"', cure=did_you_mean(unknown[0], STATUSES))
    if key == NAMED and (strange := [one for one in values if not _is_id(one)]):
        raise CatalogError(f'"{strange[0][:40]}" is not the id of a fact', cure="Write its 16 hexadecimal digits.")


def _is_id(word: str) -> bool:
    return len(word) == 16 and set(word) <= set("0123456789abcdef") and word < "8"


def _in_selection(selection: Selection) -> ColumnElement[bool]:
    if not selection.frozen:
        return condition(selection.criteria)
    chosen = select(selected_facts.c.fact_id).where(selected_facts.c.selection == selection.name)
    return facts.c.id.in_(chosen)


def _ordered(wanted: Select[Any]) -> Select[Any]:
    return wanted.join(relations).order_by(relations.c.key, facts.c.subject, facts.c.object)


def _freeze(connection: Connection, name: str, answering: Select[int]) -> None:
    chosen = answering.add_columns(bindparam("selection", name)).subquery()
    into = insert(selected_facts).from_select(["fact_id", "selection"], select(chosen))
    if not connection.execute(into.execution_options(preserve_rowcount=True)).rowcount:
        raise CatalogError(f'Nothing would be in the selection "{name}"', cure="Ask for less: no fact meets all of it.")


def _clear(connection: Connection, name: str, *, replace: bool) -> None:
    table = schema.selections
    if connection.scalar(select(func.count()).select_from(table).where(table.c.name == name)):
        if not replace:
            cure = "Choose another name, or say --replace."
            raise CatalogError(f'There is a selection "{name}" already', cure=cure)
        connection.execute(delete(selected_facts).where(selected_facts.c.selection == name))
        connection.execute(delete(table).where(table.c.name == name))


def _refuse_unknown_relations(connection: Connection, keys: Sequence[str]) -> None:
    known = connection.scalars(select(relations.c.key).where(relations.c.key.in_(keys))).all()
    if missing := [key for key in keys if key not in known]:
        every = connection.scalars(select(relations.c.key).order_by(relations.c.key)).all()
        raise CatalogError(f'There is no relation "{missing[0]}" in the catalog', cure=did_you_mean(missing[0], every))

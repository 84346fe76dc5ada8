"""The catalog's verbs for relations, facts and prompts, and for where facts were told.

Knows nothing of models. Facts and prompts are never altered: only their status is.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NoReturn

from sqlalchemy import Connection, Table, and_, bindparam, false, func, or_, select, update

from knedit.catalog import schema
from knedit.catalog.answers import Count, ImportCount, RelationSummary
from knedit.catalog.naming import did_you_mean, id_range, say_which
from knedit.catalog.rows import batches
from knedit.catalog.staging import STAGED, StagingTransactions
from knedit.errors import CatalogError
from knedit.records import ROLES, STATUSES, Fact, FactSource, Prompt, Relation, RequestedRewrite, show_id

Told = Relation | Fact | Prompt | FactSource | RequestedRewrite

_TABLES: dict[type, Table] = {
    Relation: schema.relations,
    Fact: schema.facts,
    Prompt: schema.prompts,
    FactSource: schema.fact_sources,
    RequestedRewrite: schema.requested_rewrites,
}


class FactVerbs(StagingTransactions):
    def import_facts(self, records: Iterable[Told]) -> ImportCount:
        """Add the records that are new, all of them or, where anything raises, none.

        They may come in any order, and other writers wait only once all are read. What the catalog has stays as it
        is, but a relation that had only its key for a label gets a better one.
        """
        seen: Counter[type] = Counter()
        labels: dict[int, str] = {}
        with self._staging(*_TABLES.values()) as turns:
            with turns.filling() as staging:
                for batch in batches(records, STAGED):
                    for noun, table in _TABLES.items():
                        seen[noun] += staging.stage(table, [one for one in batch if type(one) is noun])
                    better = [one for one in batch if isinstance(one, Relation) and one.label != one.key]
                    labels |= {one.id: one.label for one in better if one.id not in labels}
            with turns.writing() as staging:
                added = {noun: staging.add(table) for noun, table in _TABLES.items()}
                _label(staging.connection, labels)
        return ImportCount(*(Count(seen[noun], added[noun]) for noun in _TABLES))

    def sources(self, fact_ids: Collection[int]) -> list[FactSource]:
        """Return where the facts were told, in the order of the facts as given, data set and key."""
        return [FactSource(*row) for row in self._hanging(schema.fact_sources, fact_ids)]

    def requested_rewrites(self, fact_ids: Collection[int]) -> list[RequestedRewrite]:
        """Return the objects that data sets ask the facts to be given, in the order of facts, data set and key."""
        return [RequestedRewrite(*row) for row in self._hanging(schema.requested_rewrites, fact_ids)]

    def _hanging(self, table: Table, fact_ids: Collection[int]) -> list[tuple[Any, ...]]:
        place = {fact_id: number for number, fact_id in enumerate(fact_ids)}
        with self._reading() as connection:
            found = [
                tuple(row)
                for batch in batches(place)
                for row in connection.execute(select(table).where(table.c.fact_id.in_(batch)))
            ]
        return sorted(found, key=lambda row: (place[row[0]], *row[1:]))

    def relations(self) -> list[Relation]:
        """Return all relations, by key."""
        with self._reading() as connection:
            found = connection.execute(select(schema.relations).order_by(schema.relations.c.key))
            return [Relation(*row) for row in found]

    def find_relation(self, key: str) -> Relation:
        """Return the relation of this key; raise CatalogError, naming near ones, where there is none."""
        with self._reading() as connection:
            return _relation(connection, key)

    def facts(self, *, relation: str | None = None, statuses: Collection[str] | None = None) -> list[Fact]:
        """Return the facts of one relation, or of all, in the order of relation's key, subject, object."""
        facts, relations = schema.facts, schema.relations
        wanted = select(facts).join(relations).order_by(relations.c.key, facts.c.subject, facts.c.object)
        if statuses is not None:
            wanted = wanted.where(facts.c.status.in_(sorted(statuses)))
        with self._reading() as connection:
            if relation is not None:
                wanted = wanted.where(facts.c.relation_id == _relation(connection, relation).id)
            return [Fact(*row) for row in connection.execute(wanted)]

    def prompts(self, fact_ids: Collection[int], *, roles: Collection[str] | None = None) -> list[Prompt]:
        """Return the facts' prompts, in the order of the facts as given, the role as in ROLES, and the text."""
        prompts = schema.prompts
        wanted = select(prompts)
        if roles is not None:
            wanted = wanted.where(prompts.c.role.in_(sorted(roles)))
        place = {fact_id: number for number, fact_id in enumerate(fact_ids)}
        with self._reading() as connection:
            found = [
                Prompt(*row)
                for batch in batches(place)
                for row in connection.execute(wanted.where(prompts.c.fact_id.in_(batch)))
            ]
        return sorted(found, key=lambda one: (place[one.fact_id], ROLES.index(one.role), one.text, one.id))

    def fact_summary(self) -> list[RelationSummary]:
        """Return what the catalog holds of each relation, by key."""
        facts, prompts = schema.facts, schema.prompts
        by_status = select(facts.c.relation_id, facts.c.status, func.count()).group_by(
            facts.c.relation_id, facts.c.status
        )
        by_role = (
            select(facts.c.relation_id, prompts.c.role, func.count())
            .join(prompts)
            .group_by(facts.c.relation_id, prompts.c.role)
        )
        with self._reading() as connection:
            relations = [Relation(*row) for row in connection.execute(select(schema.relations))]
            statuses = {(row[0], row[1]): row[2] for row in connection.execute(by_status)}
            roles = {(row[0], row[1]): row[2] for row in connection.execute(by_role)}
        return [
            _summary(relation, statuses, roles) for relation in sorted(relations, key=lambda relation: relation.key)
        ]

    def find_fact(self, reference: str) -> Fact:
        """Return the fact named RELATION/SUBJECT, RELATION/SUBJECT=OBJECT, or by a unique beginning of its id.

        What follows the first "/" is tried as a subject before it is split at any "=". Raise CatalogError where no
        fact or more than one answers.
        """
        with self._reading() as connection:
            if "/" in reference:
                key, _, rest = reference.partition("/")
                relation = _relation(connection, key)
                found = _facts_named(connection, relation, rest) or _no_subject(connection, relation, rest)
            else:
                found = _facts_numbered(connection, reference) or _no_fact(connection, reference)
            if len(found) > 1:
                which = say_which(_references(connection, found))
                raise CatalogError(f'{len(found)} facts answer to "{reference}"', cure=which)
            return found[0]


def _label(connection: Connection, labels: Mapping[int, str]) -> None:
    table = schema.relations
    better = [{"its_id": own, "better": label} for own, label in labels.items()]
    unlabelled = update(table).where(table.c.id == bindparam("its_id"), table.c.label == table.c.key)
    if better:
        connection.execute(unlabelled.values(label=bindparam("better")), better)


def _summary(
    relation: Relation, statuses: dict[tuple[int, str], int], roles: dict[tuple[int, str], int]
) -> RelationSummary:
    of_status = {status: statuses[relation.id, status] for status in STATUSES if (relation.id, status) in statuses}
    of_role = {role: roles[relation.id, role] for role in ROLES if (relation.id, role) in roles}
    return RelationSummary(relation, sum(of_status.values()), of_status, of_role)


def _relation(connection: Connection, key: str) -> Relation:
    table = schema.relations
    if row := connection.execute(select(table).where(table.c.key == key)).first():
        return Relation(*row)
    known = connection.scalars(select(table.c.key).order_by(table.c.key)).all()
    cure = did_you_mean(key, known) if known else "Run: knedit facts import FILE"
    raise CatalogError(f'There is no relation "{key}" in the catalog', cure=cure)


def _facts_named(connection: Connection, relation: Relation, rest: str) -> list[Fact]:
    facts = schema.facts
    wanted = select(facts).where(facts.c.relation_id == relation.id).order_by(facts.c.subject, facts.c.object)
    if whole := connection.execute(wanted.where(facts.c.subject == rest)).all():
        return [Fact(*row) for row in whole]
    cuts = [place for place, character in enumerate(rest) if character == "="]
    pairs = [and_(facts.c.subject == rest[:cut], facts.c.object == rest[cut + 1 :]) for cut in cuts]
    return [Fact(*row) for row in connection.execute(wanted.where(or_(false(), *pairs)))]


def _facts_numbered(connection: Connection, reference: str) -> list[Fact]:
    ids = id_range(reference)
    if ids is None:
        return []
    return [Fact(*row) for row in connection.execute(select(schema.facts).where(schema.facts.c.id.between(*ids)))]


def _references(connection: Connection, facts: list[Fact]) -> list[str]:
    keys = {row.id: row.key for row in connection.execute(select(schema.relations))}
    return sorted(f"{keys[fact.relation_id]}/{fact.subject}={fact.object} ({show_id(fact.id)})" for fact in facts)


def _no_subject(connection: Connection, relation: Relation, rest: str) -> NoReturn:
    facts = schema.facts
    known = connection.execute(select(facts.c.subject, facts.c.object).where(facts.c.relation_id == relation.id)).all()
    near = did_you_mean(rest.partition("=")[0], dict.fromkeys(sorted(row[0] for row in known)))
    of_subject = [f"{subject}={object}" for subject, object in known if rest.startswith(f"{subject}=")]
    cure = f"The catalog has {', '.join(sorted(of_subject))}." if of_subject else near
    raise CatalogError(f'There is no fact "{rest}" in the relation "{relation.key}"', cure=cure)


def _no_fact(connection: Connection, reference: str) -> NoReturn:
    facts = schema.facts
    same = connection.execute(select(facts).where(facts.c.subject == reference).limit(20)).all()
    cure = say_which(_references(connection, [Fact(*row) for row in same])) if same else _HOW
    raise CatalogError(f'There is no fact "{reference}" in the catalog', cure=cure)


_HOW = "Name a fact as RELATION/SUBJECT, or by at least four digits of its id: knedit facts list shows them."

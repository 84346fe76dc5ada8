"""Full-text search over subjects and objects, and over prompts, in the words of each database.

Builds statements and runs none. SQLite ranks by bm25, PostgreSQL by ts_rank, so that the order may differ. So may what
a word is: SQLite finds "São" by "sao" and each part of "AC/DC", PostgreSQL keeps accents, and names of hosts and files.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Executable,
    Select,
    Table,
    cast,
    column,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import REGCONFIG

from knedit.catalog.questions.words import Term, for_fts5, for_tsquery
from knedit.catalog.schema import facts, prompts, relations

RANKED = 5000  # matches that PostgreSQL ranks: it reads each of their texts again

_SIMPLE = cast("simple", REGCONFIG)


@dataclass(frozen=True, slots=True)
class Place:
    """What can be searched: a table, and the expression that its index on PostgreSQL holds."""

    table: Table
    words: str


PLACES = {
    "facts": Place(facts, "to_tsvector('simple'::regconfig, facts.subject || ' ' || facts.object)"),
    "prompts": Place(prompts, "to_tsvector('simple'::regconfig, replace(prompts.text, '{object}', ''))"),
}


def found_facts(terms: list[Term], dialect: str, *, relation_id: int | None, limit: int) -> Executable:
    """Select relation key and Fact, the best match first."""
    best = _RANKING[dialect](PLACES["facts"], terms, relation_id, limit).subquery("best")
    joined = select(relations.c.key, facts).join(facts, facts.c.relation_id == relations.c.id)
    words = (relations.c.key, facts.c.subject, facts.c.object, facts.c.id)
    return joined.join(best, best.c.own == facts.c.id).order_by(best.c.rank, *words)


def found_prompts(terms: list[Term], dialect: str, *, relation_id: int | None, limit: int) -> Executable:
    """Select relation key, Fact and Prompt, the best match first."""
    best = _RANKING[dialect](PLACES["prompts"], terms, relation_id, limit).subquery("best")
    joined = select(relations.c.key, facts, prompts).join(facts, facts.c.relation_id == relations.c.id)
    joined = joined.join(prompts, prompts.c.fact_id == facts.c.id).join(best, best.c.own == prompts.c.id)
    return joined.order_by(best.c.rank, relations.c.key, facts.c.subject, prompts.c.text, prompts.c.id)


Ranked = Select[int, float]


def _by_bm25(place: Place, terms: list[Term], relation_id: int | None, limit: int) -> Ranked:
    name = f"{place.table.name}_search"
    own, rank = column("rowid", BigInteger), column("rank", Double)
    index = table(name, own, rank)
    matches = literal_column(f'"{name}"').op("MATCH")(for_fts5(terms))
    found = select(index.c.rowid.label("own"), index.c.rank.label("rank")).where(matches)
    if relation_id is not None:
        found = _of_relation(found.join(place.table, place.table.c.id == index.c.rowid), place, relation_id)
    return found.order_by(index.c.rank, index.c.rowid).limit(limit)


def _by_ts_rank(place: Place, terms: list[Term], relation_id: int | None, limit: int) -> Ranked:
    own = place.table.c.id
    words: ColumnElement[str] = literal_column(place.words)
    queries = [_tsquery(term) for term in terms]
    query = queries[0]
    for other in queries[1:]:
        query = query.op("&&")(other)
    found = select(own.label("own"), words.label("words")).where(words.op("@@")(query))
    if relation_id is not None:
        found = _of_relation(found.select_from(place.table), place, relation_id)
    some = found.limit(RANKED).cte("some")
    rank = -func.ts_rank(some.c.words, query)
    return select(some.c.own, rank.label("rank")).order_by(rank, some.c.own).limit(limit)


def _of_relation(found: Ranked, place: Place, relation_id: int) -> Ranked:
    if place.table is prompts:
        found = found.join(facts, facts.c.id == prompts.c.fact_id)
    return found.where(facts.c.relation_id == relation_id)


def _tsquery(term: Term) -> ColumnElement[str]:
    if term.beginning:
        return func.to_tsquery(_SIMPLE, for_tsquery(term))
    return func.phraseto_tsquery(_SIMPLE, term.text)


_RANKING: dict[str, Callable[[Place, list[Term], int | None, int], Ranked]] = {
    "sqlite": _by_bm25,
    "postgresql": _by_ts_rank,
}

"""Published neurons and scores between staging and the catalog: the statements that join, compare and add them.

Builds statements and runs none. A record of a file has a number; what it is about is a thing (a fact, or a prompt) of a
frame (a refinement, or a run). The first number that tells of a thing counts; others are compared with it.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Double,
    Executable,
    Integer,
    MetaData,
    Select,
    Subquery,
    Table,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    union_all,
    update,
)

from knedit.catalog.columns import WORDS
from knedit.catalog.schema import (
    fact_sources,
    facts,
    knowledge_neurons,
    neuron_counts,
    neuron_scores,
    prompt_attributions,
    refined_facts,
    refined_relations,
)

UNSCORED = "published without the answer's probability"

_STAGED = MetaData()


def _numbers(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger) for name in names]


# One row a record: `neurons` counts its places, `digest` tells two lists of them apart, `peak` is the highest score.
records = Table(
    "published",
    _STAGED,
    *_numbers("number", "frame"),
    Column("dataset", WORDS),
    Column("key", WORDS),
    *_numbers("neurons", "digest"),
    Column("peak", Double, nullable=True),
)
places = Table(
    "published_places",
    _STAGED,
    *_numbers("number"),
    Column("layer", Integer),
    Column("index", Integer),
    Column("score", Double, nullable=True),
)
links = Table("published_links", _STAGED, *_numbers("frame", "thing", "number"))
chosen = Table("published_chosen", _STAGED, *_numbers("frame", "thing", "number"))
roles = Table(
    "published_roles",
    _STAGED,
    *_numbers("frame", "relation_id"),
    Column("layer", Integer),
    Column("index", Integer),
    Column("role", WORDS),
)
TABLES = (records, places, links, chosen, roles)
INDEXES = (
    (records, ("number",)),
    (places, ("number",)),
    (links, ("number",)),
    (chosen, ("number",)),
    (chosen, ("frame", "thing")),
    (roles, ("relation_id", "layer", "index")),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """Where the things go, and where their neurons, with the names of frame and thing there."""

    things: Table
    neurons: Table
    frame: str
    thing: str

    def of(self, table: Table, source: Table) -> ColumnElement[bool]:
        """Join `table`, one of the two, with staged rows that have a frame and a thing."""
        return and_(table.c[self.frame] == source.c.frame, table.c[self.thing] == source.c.thing)


FACTS = Kind(refined_facts, knowledge_neurons, "refinement_id", "fact_id")
PROMPTS = Kind(prompt_attributions, neuron_scores, "run_id", "prompt_id")


@dataclass(frozen=True, slots=True)
class Staged:
    """The temporary tables that hold the rows, by the tables above that they are twins of."""

    records: Table
    places: Table
    links: Table
    chosen: Table
    roles: Table

    def link_facts(self) -> Executable:
        """Link every record with the facts that its data set knows by its key."""
        found = select(self.records.c.frame, fact_sources.c.fact_id, self.records.c.number).join(
            fact_sources, self._named()
        )
        return insert(self.links).from_select(["frame", "thing", "number"], found)

    def strays(self) -> Select[str, str]:
        """Select data set and key of the records that are linked with nothing, in the file's order."""
        own = self.records.c
        linked = exists().where(self.links.c.number == own.number)
        return select(own.dataset, own.key).where(~linked).order_by(own.number)

    def choose(self) -> Executable:
        """Choose the first record of every thing."""
        own = self.links.c
        first = select(own.frame, own.thing, func.min(own.number)).group_by(own.frame, own.thing)
        return insert(self.chosen).from_select(["frame", "thing", "number"], first)

    def contradictions(self) -> Select[str, str, str]:
        """Select data set, key, and the key that was told first, of records that tell other neurons of a thing."""
        own, first = self.records.alias("own"), self.records.alias("first")
        same = and_(self.chosen.c.frame == self.links.c.frame, self.chosen.c.thing == self.links.c.thing)
        return (
            select(own.c.dataset, own.c.key, first.c.key)
            .select_from(self.links)
            .join(self.chosen, same)
            .join(own, own.c.number == self.links.c.number)
            .join(first, first.c.number == self.chosen.c.number)
            .where(own.c.digest != first.c.digest)
            .order_by(own.c.number, first.c.number)
        )

    def disagreements(self, kind: Kind) -> Select[str, str]:
        """Select data set and key of the chosen records whose thing has other neurons in the catalog."""
        compared, own = self._compared(kind), self.records.c
        return (
            select(own.dataset, own.key)
            .select_from(self.chosen)
            .join(kind.things, kind.of(kind.things, self.chosen))
            .join(self.records, own.number == self.chosen.c.number)
            .outerjoin(compared, compared.c.number == self.chosen.c.number)
            .where(
                or_(
                    func.coalesce(compared.c.present, 0) != own.neurons,
                    func.coalesce(compared.c.same, 0) != own.neurons,
                )
            )
            .order_by(own.number)
        )

    def leave_known(self, kind: Kind) -> Executable:
        """Take what the catalog has already out of what was chosen."""
        return delete(self.chosen).where(exists().where(kind.of(kind.things, self.chosen)))

    def added(self) -> Select[int, int, int]:
        """Select frame, things and neurons of what was chosen."""
        own = self.records.c
        counted = select(self.chosen.c.frame, func.count(), func.sum(own.neurons))
        joined = counted.select_from(self.chosen).join(self.records, own.number == self.chosen.c.number)
        return joined.group_by(self.chosen.c.frame)

    def seen(self) -> Select[int, int, int]:
        """Select frame, records and places of all that was staged."""
        own = self.records.c
        return select(own.frame, func.count(), func.sum(own.neurons)).group_by(own.frame)

    def add_facts(self) -> Executable:
        own = self.chosen.c
        rows = select(own.frame, own.thing, null(), null(), self.records.c.neurons).join(
            self.records, self.records.c.number == own.number
        )
        return _into(refined_facts, rows.order_by(own.frame, own.thing))

    def add_neurons(self) -> Executable:
        """Add the chosen facts' neurons in the roles that were found."""
        own, role = self.places.c, self.roles.c
        rows = (
            select(self.chosen.c.frame, self.chosen.c.thing, own.layer, own["index"], null(), null(), role.role)
            .select_from(self.chosen)
            .join(facts, facts.c.id == self.chosen.c.thing)
            .join(self.places, own.number == self.chosen.c.number)
            .join(
                self.roles,
                and_(
                    role.frame == self.chosen.c.frame,
                    role.relation_id == facts.c.relation_id,
                    role.layer == own.layer,
                    role["index"] == own["index"],
                ),
            )
        )
        return _into(knowledge_neurons, rows.order_by(self.chosen.c.frame, self.chosen.c.thing, *_place(self.places)))

    def change_roles(self, refinement_id: int) -> Executable:
        """Give the neurons that were there before the roles that they have now."""
        own, role = knowledge_neurons.c, self.roles.c
        return (
            update(knowledge_neurons)
            .values(role=role.role)
            .where(own.refinement_id == refinement_id, facts.c.id == own.fact_id, role.frame == refinement_id)
            .where(role.relation_id == facts.c.relation_id, role.layer == own.layer, role["index"] == own["index"])
            .where(own.role != role.role)
        )

    def relations_of(self, refinement_id: int) -> Select[int]:
        """Select the number of relations that the refinement has facts of, with those that were chosen."""
        return select(func.count()).select_from(self._sizes(refinement_id))

    def find_roles(self, refinement_id: int, *, hub_share: float, generic: int) -> Executable:
        """Find the role of each relation's neurons, as `attribution.refine` does, from the kept counts and the chosen.

        `generic` is the number of relations from which on a neuron is anyone's.
        """
        held, sizes = self._held(refinement_id), self._sizes(refinement_id)
        relations = func.count().over(partition_by=[held.c.layer, held.c["index"]])
        role = case(
            (relations >= generic, "generic"),
            (and_(held.c.facts > sizes.c.facts * hub_share, held.c.facts > 1), "relation"),
            else_="fact",
        )
        found = select(
            literal(refinement_id, BigInteger), held.c.relation_id, held.c.layer, held.c["index"], role
        ).join(sizes, sizes.c.relation_id == held.c.relation_id)
        return insert(self.roles).from_select(list(self.roles.c.keys()), found)

    def add_prompts(self) -> Executable:
        """Add the chosen prompts; as nobody published their answers' probabilities, these are 0, and that is said."""
        own, record = self.chosen.c, self.records.c
        rows = select(
            own.frame,
            own.thing,
            literal(0.0, Double),
            null(),
            record.peak,
            literal("ok", WORDS),
            literal(UNSCORED, WORDS),
        ).join(self.records, record.number == own.number)
        return _into(prompt_attributions, rows.order_by(own.frame, own.thing))

    def add_scores(self) -> Executable:
        own = self.chosen.c
        rows = select(own.frame, own.thing, *_place(self.places), self.places.c.score).join(
            self.places, self.places.c.number == own.number
        )
        return _into(neuron_scores, rows.order_by(own.frame, own.thing, *_place(self.places)))

    def _named(self) -> ColumnElement[bool]:
        own = self.records.c
        return and_(fact_sources.c.dataset == own.dataset, fact_sources.c.key == own.key)

    def _compared(self, kind: Kind) -> Subquery:
        """Count, for each chosen number, its thing's neurons in the catalog, and those that it tells too."""
        own, neurons = self.places.c, kind.neurons.c
        same = [own.number == self.chosen.c.number, own.layer == neurons.layer, own["index"] == neurons["index"]]
        if kind is PROMPTS:
            same.append(own.score == neurons.score)
        return (
            select(self.chosen.c.number, func.count().label("present"), func.count(own.number).label("same"))
            .select_from(self.chosen)
            .join(kind.neurons, kind.of(kind.neurons, self.chosen))
            .outerjoin(self.places, and_(*same))
            .group_by(self.chosen.c.number)
            .subquery("compared")
        )

    def _held(self, refinement_id: int) -> Subquery:
        """Count the facts of each relation that hold each neuron: those in the catalog and those chosen."""
        kept, own, count = neuron_counts.c, self.places.c, func.count().label("facts")
        new = (
            select(facts.c.relation_id, own.layer, own["index"], count)
            .select_from(self.chosen)
            .join(facts, facts.c.id == self.chosen.c.thing)
            .join(self.places, own.number == self.chosen.c.number)
            .where(self.chosen.c.frame == refinement_id)
            .group_by(facts.c.relation_id, own.layer, own["index"])
        )
        old = select(kept.relation_id, kept.layer, kept["index"], kept.facts).where(kept.refinement_id == refinement_id)
        both = union_all(new, old).subquery("both")
        place = (both.c.relation_id, both.c.layer, both.c["index"])
        return select(*place, func.sum(both.c.facts).label("facts")).group_by(*place).subquery("held")

    def _sizes(self, refinement_id: int) -> Subquery:
        """Count the facts of each relation: those in the catalog and those chosen."""
        kept = refined_relations.c
        new = (
            select(facts.c.relation_id, func.count().label("facts"))
            .select_from(self.chosen)
            .join(facts, facts.c.id == self.chosen.c.thing)
            .where(self.chosen.c.frame == refinement_id)
            .group_by(facts.c.relation_id)
        )
        old = select(kept.relation_id, kept.facts).where(kept.refinement_id == refinement_id)
        both = union_all(new, old).subquery("both_sizes")
        counted = select(both.c.relation_id, func.sum(both.c.facts).label("facts")).group_by(both.c.relation_id)
        return counted.subquery("sizes")


def _place(table: Table) -> tuple[Column[Any], Column[Any]]:
    return table.c.layer, table.c["index"]


def _into(table: Table, rows: Select[Any]) -> Executable:
    return insert(table).from_select(list(table.c.keys()), rows, include_defaults=False)

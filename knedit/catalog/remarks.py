"""The catalog's verbs for notes, which stay for good, and labels, which come off again.

A neuron is a checkpoint's id, a layer and an index. Knows nothing of what is written.
"""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, select, tuple_

from knedit.catalog import schema
from knedit.catalog.answers import LabelCount
from knedit.catalog.rows import Transactions, add, batches
from knedit.catalog.signing import author, moment, short, told
from knedit.errors import CatalogError
from knedit.records import Checkpoint, show_id
from knedit.remarks import FactLabel, FactNote, NeuronLabel, NeuronNote

Place = tuple[int, int]  # layer, index
_PLACES = 400  # of one statement


class RemarkVerbs(Transactions):
    def note_fact(self, fact_id: int, text: str, *, by: str | None = None, at: datetime | None = None) -> FactNote:
        """Add a note to the fact, for good. Raise CatalogError where it is empty, or the fact is not in the catalog."""
        note = FactNote.make(fact_id, told(text), written_by=author(by), written_at=moment(at))
        with self._writing() as connection:
            _refuse_strangers(connection, [fact_id])
            add(connection, schema.fact_notes, [note])
        return note

    def note_neuron(
        self,
        checkpoint_id: int,
        layer: int,
        index: int,
        text: str,
        *,
        by: str | None = None,
        at: datetime | None = None,
    ) -> NeuronNote:
        """Add a note to the neuron, for good. Raise CatalogError where it is empty, or there is no such neuron."""
        words, writer, when = told(text), author(by), moment(at)
        note = NeuronNote.make(checkpoint_id, layer, index, words, written_by=writer, written_at=when)
        with self._writing() as connection:
            _refuse_strange_places(connection, checkpoint_id, [(layer, index)])
            add(connection, schema.neuron_notes, [note])
        return note

    def fact_notes(self, fact_id: int) -> list[FactNote]:
        """Return the fact's notes, by time."""
        table = schema.fact_notes
        wanted = select(table).where(table.c.fact_id == fact_id).order_by(table.c.written_at, table.c.id)
        with self._reading() as connection:
            return [FactNote(*row) for row in connection.execute(wanted)]

    def neuron_notes(self, checkpoint_id: int, layer: int, index: int) -> list[NeuronNote]:
        """Return the neuron's notes, by time."""
        table = schema.neuron_notes
        wanted = select(table).where(at_places(table, checkpoint_id, [(layer, index)]))
        with self._reading() as connection:
            found = connection.execute(wanted.order_by(table.c.written_at, table.c.id))
            return [NeuronNote(*row) for row in found]

    def label_facts(
        self, fact_ids: Collection[int], label: str, *, by: str | None = None, at: datetime | None = None
    ) -> int:
        """Give the facts the label; return how many did not have it. Those that had keep who gave it and when."""
        name, giver, when = short(label, "label"), author(by), moment(at)
        with self._writing() as connection:
            _refuse_strangers(connection, fact_ids)
            labels = (FactLabel(fact_id, name, giver, when) for fact_id in dict.fromkeys(fact_ids))
            return add(connection, schema.fact_labels, labels)

    def unlabel_facts(self, fact_ids: Collection[int], label: str) -> int:
        """Take the label off the facts; return how many had it."""
        table, name = schema.fact_labels, short(label, "label")
        with self._writing() as connection:
            _refuse_strangers(connection, fact_ids)
            return sum(
                connection.execute(delete(table).where(table.c.label == name, table.c.fact_id.in_(batch))).rowcount
                for batch in batches(dict.fromkeys(fact_ids))
            )

    def fact_labels(self, fact_ids: Collection[int]) -> list[FactLabel]:
        """Return the facts' labels, in the order of the facts as given, then by label."""
        table, place = schema.fact_labels, {fact_id: number for number, fact_id in enumerate(fact_ids)}
        with self._reading() as connection:
            found = [
                FactLabel(*row)
                for batch in batches(place)
                for row in connection.execute(select(table).where(table.c.fact_id.in_(batch)))
            ]
        return sorted(found, key=lambda one: (place[one.fact_id], one.label))

    def label_neurons(
        self,
        checkpoint_id: int,
        places: Collection[Place],
        label: str,
        *,
        by: str | None = None,
        at: datetime | None = None,
    ) -> int:
        """Give the neurons the label; return how many did not have it. Those that had keep who gave it and when."""
        name, giver, when = short(label, "label"), author(by), moment(at)
        with self._writing() as connection:
            _refuse_strange_places(connection, checkpoint_id, places)
            labels = (NeuronLabel(checkpoint_id, *place, name, giver, when) for place in dict.fromkeys(places))
            return add(connection, schema.neuron_labels, labels)

    def unlabel_neurons(self, checkpoint_id: int, places: Collection[Place], label: str) -> int:
        """Take the label off the neurons; return how many had it."""
        table, name = schema.neuron_labels, short(label, "label")
        with self._writing() as connection:
            _refuse_strange_places(connection, checkpoint_id, places)
            return sum(
                connection.execute(
                    delete(table).where(table.c.label == name, at_places(table, checkpoint_id, batch))
                ).rowcount
                for batch in batches(dict.fromkeys(places), _PLACES)
            )

    def neuron_labels(
        self, checkpoint_id: int, *, places: Collection[Place] | None = None, label: str | None = None
    ) -> list[NeuronLabel]:
        """Return the labels of these neurons, or of all, or this one label's, by layer, index and label."""
        table = schema.neuron_labels
        wanted = select(table).where(table.c.checkpoint_id == checkpoint_id)
        if label is not None:
            wanted = wanted.where(table.c.label == short(label, "label"))
        with self._reading() as connection:
            if places is None:
                found = list(connection.execute(wanted))
            else:
                some = batches(dict.fromkeys(places), _PLACES)
                found = [
                    row
                    for one in some
                    for row in connection.execute(wanted.where(at_places(table, checkpoint_id, one)))
                ]
        return sorted((NeuronLabel(*row) for row in found), key=lambda one: (one.layer, one.index, one.label))

    def labels(self) -> list[LabelCount]:
        """Return every label with the numbers of facts and neurons that have it, by label."""
        facts, neurons = schema.fact_labels, schema.neuron_labels
        with self._reading() as connection:
            counts: dict[str, list[int]] = {}
            for number, table in enumerate((facts, neurons)):
                for name, count in connection.execute(select(table.c.label, func.count()).group_by(table.c.label)):
                    counts.setdefault(name, [0, 0])[number] = count
        return [LabelCount(name, *counts[name]) for name in sorted(counts)]


def at_places(table: Table, checkpoint_id: int, places: Collection[Place]) -> ColumnElement[bool]:
    """Return the condition that a row is of one of these neurons."""
    here = tuple_(table.c.layer, table.c["index"]).in_(list(places))
    return and_(table.c.checkpoint_id == checkpoint_id, here)


def _refuse_strangers(connection: Connection, fact_ids: Collection[int]) -> None:
    facts, ids = schema.facts, dict.fromkeys(fact_ids)
    counted = select(func.count()).select_from(facts)
    known = sum(connection.scalar(counted.where(facts.c.id.in_(batch))) or 0 for batch in batches(ids))
    if known < len(ids):
        raise CatalogError(f"{len(ids) - known} of the facts are not in the catalog", cure="Check their ids.")


def _refuse_strange_places(connection: Connection, checkpoint_id: int, places: Collection[Place]) -> None:
    table = schema.checkpoints
    row = connection.execute(select(table).where(table.c.id == checkpoint_id)).first()
    if row is None:
        raise CatalogError(f"There is no checkpoint {show_id(checkpoint_id)} in the catalog")
    check_places(Checkpoint(*row), places)


def check_places(checkpoint: Checkpoint, places: Collection[Place]) -> None:
    """Raise CatalogError for a neuron that the checkpoint cannot have; where its size is not known, none is."""
    layers, width = checkpoint.n_layers or 2**31, checkpoint.ffn_width or 2**31
    for layer, index in places:
        if not (0 <= layer < layers and 0 <= index < width):
            raise CatalogError(
                f'The checkpoint "{checkpoint.name}" has no neuron ({layer}, {index})',
                cure=f"Layers and neurons are counted from 0{_size(checkpoint)}.",
            )


def _size(checkpoint: Checkpoint) -> str:
    known = checkpoint.n_layers and checkpoint.ffn_width
    return f"; it has {checkpoint.n_layers} layers of {checkpoint.ffn_width} neurons" if known else ""

"""The catalog's verbs for edits: what was to change, where, which checkpoint came of it, and how that measured.

Knows nothing of how weights are changed.
"""

from collections.abc import Iterable

from sqlalchemy import select, update

from knedit.catalog import schema
from knedit.catalog.naming import id_range, say_which
from knedit.catalog.rows import Transactions, add, put
from knedit.errors import CatalogError
from knedit.records import Edit, EditNeuron, EditTarget, Evaluation, show_id
from knedit.solved import EditGate, EditOutcome, EditValue


class EditVerbs(Transactions):
    def put_edit(
        self,
        edit: Edit,
        targets: Iterable[EditTarget],
        neurons: Iterable[EditNeuron],
        *,
        values: Iterable[EditValue] = (),
        outcomes: Iterable[EditOutcome] = (),
        gates: Iterable[EditGate] = (),
    ) -> Edit:
        """Put the planned edit in, whole, and return it; one that is there already is returned as it was."""
        table = schema.edits
        with self._writing() as connection:
            if add(connection, table, [edit]):
                add(connection, schema.edit_targets, targets)
                add(connection, schema.edit_neurons, neurons)
                add(connection, schema.edit_values, values)
                add(connection, schema.edit_outcomes, outcomes)
                add(connection, schema.edit_gates, gates)
            return Edit(*connection.execute(select(table).where(table.c.id == edit.id)).one())

    def set_edit_result(self, edit_id: int, result_id: int) -> None:
        """Note which checkpoint the edit made."""
        table = schema.edits
        with self._writing() as connection:
            if not connection.execute(update(table).where(table.c.id == edit_id).values(result_id=result_id)).rowcount:
                raise CatalogError(f"There is no edit {show_id(edit_id)} in the catalog")

    def edits(self, checkpoint_id: int | None = None) -> list[Edit]:
        """Return the edits of one checkpoint, or of all, the newest first."""
        table = schema.edits
        wanted = select(table).order_by(table.c.created_at.desc(), table.c.id)
        if checkpoint_id is not None:
            wanted = wanted.where(table.c.checkpoint_id == checkpoint_id)
        with self._reading() as connection:
            return [Edit(*row) for row in connection.execute(wanted)]

    def find_edit(self, reference: str) -> Edit:
        """Return the edit whose shown id alone begins with `reference`, of at least four digits."""
        known = self.edits()
        ids = id_range(reference)
        found = [edit for edit in known if ids is not None and ids[0] <= edit.id <= ids[1]]
        if len(found) == 1:
            return found[0]
        if found:
            which = say_which([show_id(edit.id) for edit in found])
            raise CatalogError(f'{len(found)} edits begin with "{reference}"', cure=which)
        cure = say_which([show_id(edit.id) for edit in known]) if known else "Run: knedit edit plan --help"
        raise CatalogError(f'There is no edit "{reference}" in the catalog', cure=cure)

    def edit_targets(self, edit_id: int) -> list[EditTarget]:
        """Return the edit's facts, by step, then fact id."""
        table = schema.edit_targets
        wanted = select(table).where(table.c.edit_id == edit_id).order_by(table.c.step, table.c.fact_id)
        with self._reading() as connection:
            return [EditTarget(*row) for row in connection.execute(wanted)]

    def edit_neurons(self, edit_id: int) -> list[EditNeuron]:
        """Return the value vectors that the edit changes, by step, layer and index."""
        table = schema.edit_neurons
        wanted = select(table).where(table.c.edit_id == edit_id).order_by(*list(table.c)[1:])
        with self._reading() as connection:
            return [EditNeuron(*row) for row in connection.execute(wanted)]

    def edit_values(self, edit_id: int) -> list[EditValue]:
        """Return the value vectors as the edit leaves them, by layer and index; none where it was not kept so."""
        table = schema.edit_values
        wanted = select(table).where(table.c.edit_id == edit_id).order_by(*list(table.c)[1:3])
        with self._reading() as connection:
            return [EditValue(*row) for row in connection.execute(wanted)]

    def edit_outcomes(self, edit_id: int) -> list[EditOutcome]:
        """Return how solving went for the edit's facts, by step, then fact id."""
        table = schema.edit_outcomes
        wanted = select(table).where(table.c.edit_id == edit_id).order_by(table.c.step, table.c.fact_id)
        with self._reading() as connection:
            return [EditOutcome(*row) for row in connection.execute(wanted)]

    def put_edit_gates(self, gates: Iterable[EditGate]) -> None:
        """Put the gates in, each in the place of an earlier one of the same edit and name."""
        with self._writing() as connection:
            put(connection, schema.edit_gates, gates)

    def edit_gates(self, edit_id: int) -> list[EditGate]:
        """Return the gates that the edit was put through, by name."""
        table = schema.edit_gates
        wanted = select(table).where(table.c.edit_id == edit_id).order_by(table.c.gate)
        with self._reading() as connection:
            return [EditGate(*row) for row in connection.execute(wanted)]

    def put_evaluations(self, evaluations: Iterable[Evaluation]) -> None:
        """Put the measures in, each in the place of an earlier one of the same edit, checkpoint, prompt and metric."""
        with self._writing() as connection:
            put(connection, schema.evaluations, evaluations)

    def evaluations(self, edit_id: int) -> list[Evaluation]:
        """Return the edit's measures, by metric, fact id, prompt id and checkpoint id."""
        table = schema.evaluations
        wanted = (
            select(table)
            .where(table.c.edit_id == edit_id)
            .order_by(table.c.metric, table.c.fact_id, table.c.prompt_id, table.c.checkpoint_id)
        )
        with self._reading() as connection:
            return [Evaluation(*row) for row in connection.execute(wanted)]

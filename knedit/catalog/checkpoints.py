"""The catalog's verbs for checkpoints: which sets of weights there are, and which came from which.

Knows nothing of their files' contents.
"""

from dataclasses import replace

from sqlalchemy import Connection, Table, select

from knedit.catalog import schema
from knedit.catalog.naming import SHORTEST, did_you_mean, id_range, say_which
from knedit.catalog.rows import Transactions, put
from knedit.errors import CatalogError
from knedit.records import Checkpoint, show_id


class CheckpointVerbs(Transactions):
    def add_checkpoint(self, checkpoint: Checkpoint) -> Checkpoint:
        """Put the checkpoint in, and return it as the catalog now has it.

        One that is there already keeps its parent, and takes the name, revision, path and files that are not empty.
        Raise CatalogError where another checkpoint has the name.
        """
        table = schema.checkpoints
        with self._writing() as connection:
            _refuse_taken_name(connection, table, checkpoint)
            if row := connection.execute(select(table).where(table.c.id == checkpoint.id)).first():
                checkpoint = _refreshed(Checkpoint(*row), checkpoint)
            put(connection, table, [checkpoint])
        return checkpoint

    def checkpoints(self) -> list[Checkpoint]:
        """Return all checkpoints, by name."""
        with self._reading() as connection:
            found = connection.execute(select(schema.checkpoints).order_by(schema.checkpoints.c.name))
            return [Checkpoint(*row) for row in found]

    def find_checkpoint(self, reference: str) -> Checkpoint:
        """Return the checkpoint of this name, or of this unique beginning of its id or sha256."""
        known = self.checkpoints()
        named = [one for one in known if one.name == reference]
        found = named or [one for one in known if _begins(one, reference)]
        if len(found) == 1:
            return found[0]
        if found:
            which = say_which([f"{one.name} ({show_id(one.id)}, sha256 {one.sha256[:12]})" for one in found])
            raise CatalogError(f'{len(found)} checkpoints begin with "{reference}"', cure=which)
        cure = did_you_mean(reference, [one.name for one in known]) if known else "Run: knedit checkpoint add FOLDER"
        raise CatalogError(f'There is no checkpoint "{reference}" in the catalog', cure=cure)


def _begins(checkpoint: Checkpoint, reference: str) -> bool:
    ids = id_range(reference)
    of_id = ids is not None and ids[0] <= checkpoint.id <= ids[1]
    return of_id or (len(reference) >= SHORTEST and checkpoint.sha256.startswith(reference.lower()))


def _refreshed(old: Checkpoint, new: Checkpoint) -> Checkpoint:
    return replace(
        old,
        name=new.name or old.name,
        revision=new.revision or old.revision,
        path=new.path or old.path,
        files=new.files or old.files,
        parent_id=new.parent_id if old.parent_id is None else old.parent_id,
    )


def _refuse_taken_name(connection: Connection, table: Table, checkpoint: Checkpoint) -> None:
    taken = select(table.c.id).where(table.c.name == checkpoint.name, table.c.id != checkpoint.id)
    if (other := connection.scalar(taken)) is not None:
        raise CatalogError(
            f'The name "{checkpoint.name}" belongs to another checkpoint, {show_id(other)}',
            cure="Give this one another name with --name.",
        )

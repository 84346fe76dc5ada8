"""The catalog's verbs for checkpoints: which sets of weights there are, and which came from which.

Knows nothing of their files' contents.
"""

from dataclasses import replace

from sqlalchemy import Connection, Table, func, select

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

    def register_checkpoint(self, checkpoint: Checkpoint) -> Checkpoint:
        """Put in a checkpoint that is known by name and revision alone, and return it as the catalog now has it.

        One that is there already takes the layers and width that it lacks. Raise CatalogError where it has others,
        where neurons of it lie beyond them, or where another checkpoint has the name.
        """
        assert not checkpoint.sha256
        table = schema.checkpoints
        with self._writing() as connection:
            _refuse_taken_name(connection, table, checkpoint)
            if row := connection.execute(select(table).where(table.c.id == checkpoint.id)).first():
                checkpoint = _sized(Checkpoint(*row), checkpoint)
                _refuse_smaller(connection, checkpoint)
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


def _sized(old: Checkpoint, new: Checkpoint) -> Checkpoint:
    """Return the old checkpoint with the layers and width of either; raise CatalogError where they differ."""
    for name, what in (("n_layers", "layers"), ("ffn_width", "neurons a layer")):
        known, told = getattr(old, name), getattr(new, name)
        if known and told and known != told:
            cure = "Leave it out, or register another name or revision."
            raise CatalogError(f'The checkpoint "{old.name}" has {known} {what}, not {told}', cure=cure)
    return replace(old, n_layers=old.n_layers or new.n_layers, ffn_width=old.ffn_width or new.ffn_width)


def _refuse_smaller(connection: Connection, checkpoint: Checkpoint) -> None:
    runs, refinements = schema.attribution_runs.c, schema.refinements.c
    own_runs = select(runs.id).where(runs.checkpoint_id == checkpoint.id)
    own_refinements = select(refinements.id).where(refinements.run_id.in_(own_runs))
    for table, frames in ((schema.neuron_scores, own_runs), (schema.neuron_counts, own_refinements)):
        frame = table.c[0]
        farthest = select(func.max(table.c.layer), func.max(table.c["index"])).where(frame.in_(frames))
        layer, index = connection.execute(farthest).one()
        for last, size, what in ((layer, checkpoint.n_layers, "layer"), (index, checkpoint.ffn_width, "neuron")):
            if last is not None and 0 < size <= last:
                told = f'The catalog has {what} {last} of the checkpoint "{checkpoint.name}", counted from 0'
                raise CatalogError(told, cure=f"It has at least {last + 1}: correct --layers or --width.")


def _refuse_taken_name(connection: Connection, table: Table, checkpoint: Checkpoint) -> None:
    taken = select(table).where(table.c.name == checkpoint.name, table.c.id != checkpoint.id)
    if row := connection.execute(taken).first():
        raise _taken(Checkpoint(*row), checkpoint)


def _taken(other: Checkpoint, checkpoint: Checkpoint) -> CatalogError:
    what = f'The name "{checkpoint.name}" belongs to another checkpoint, {show_id(other.id)}'
    known = f"{what}, of revision {other.revision}, which has no files"
    match bool(other.sha256), bool(checkpoint.sha256):
        case True, False:
            cure = f"It has files: import neurons for it (--checkpoint {other.name}), or register another name."
            return CatalogError(what, cure=cure)
        case False, True:
            cure = "Give this one another name with --name, and import the published neurons again for that name."
            return CatalogError(known, cure=cure)
        case False, False:
            return CatalogError(known, cure=f"Register another name, as {checkpoint.name}@{checkpoint.revision}.")
        case _:
            return CatalogError(what, cure="Give this one another name with --name.")

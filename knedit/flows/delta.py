"""Deltas between files and catalog: make one of an edit, put some into effect, take an edit back."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from knedit.catalog.store import Catalog
from knedit.checkpoints.delta import Delta, read_delta, write_delta
from knedit.checkpoints.extraction import deltas_of_child, deltas_of_patches
from knedit.checkpoints.stacking import NamedDelta, apply_deltas, revert
from knedit.checkpoints.staging import refuse_existing
from knedit.errors import CatalogError, CheckpointError
from knedit.flows.checkpoint import checked_folder, find_folder, load_checkpoint, parent_folder
from knedit.flows.edit import edit_patches, read_edit
from knedit.flows.edit_manifest import edit_manifest, provenance
from knedit.records import Edit


@dataclass(frozen=True, slots=True)
class WrittenDelta:
    """One file: where it is, how long in bytes, and how many value vectors it holds of how many tensors."""

    path: Path
    kind: str
    size: int
    tensors: int
    value_vectors: int


def create_delta(catalog: Catalog, reference: str, output: Path, *, with_revert: bool = False) -> list[WrittenDelta]:
    """Write the delta of an edit, or of the folder of an edited checkpoint, and return what was written.

    An edit that was not applied yet is computed; no checkpoint is written for it. `with_revert` writes the old values
    too, to a second file beside the first. Raises CatalogError, EditError or CheckpointError.
    """
    paths = [output, *([revert_path(output)] if with_revert else [])]
    for path in paths:
        refuse_existing(path)
    _, deltas = find_deltas(catalog, reference, with_revert=with_revert)
    written = []
    for path, delta in zip(paths, deltas, strict=False):
        write_delta(path, delta)
        sizes = len(delta.bits), sum(len(bits) for bits in delta.bits)
        written.append(WrittenDelta(path, delta.kind, path.stat().st_size, *sizes))
    return written


def find_deltas(catalog: Catalog, reference: str, *, with_revert: bool) -> tuple[Path, list[Delta]]:
    """Return the delta of an edit or of an edited checkpoint and, `with_revert`, that of the old values.

    The folder beside them is one of a checkpoint whose tensors they are of. Raises CatalogError, EditError or
    CheckpointError.
    """
    found = _find(catalog, reference)
    if isinstance(found, Path):
        return found, _of_folder(catalog, found, with_revert=with_revert)
    for checkpoint in catalog.checkpoints():
        if checkpoint.id == found.result_id and Path(checkpoint.path).is_dir():
            folder = checked_folder(checkpoint)
            return folder, _of_folder(catalog, folder, with_revert=with_revert)
    planned = read_edit(catalog, found)
    parent, model = checked_folder(planned.checkpoint), load_checkpoint(planned.checkpoint)
    return parent, deltas_of_patches(parent, edit_patches(planned, model), edit_manifest(planned))


def revert_path(output: Path) -> Path:
    """Return where the values that go back are kept apart: NAME.revert.safetensors beside NAME.safetensors."""
    return output.with_name(f"{output.stem}.revert{output.suffix}")


def apply_delta(catalog: Catalog, base: str, deltas: Sequence[Path], output: Path, *, link: bool = False) -> Path:
    """Write the checkpoint `base`, a name or a folder, with the deltas as the new folder `output`."""
    named = [NamedDelta(str(path), read_delta(path)) for path in deltas]
    return apply_deltas(find_folder(catalog, base), named, output, manifest=provenance(), link=link)


def revert_checkpoint(catalog: Catalog, reference: str, output: Path, *, delta: Path | None = None) -> Path:
    """Write an edited checkpoint as it was before its edit: from a delta of old values, or else from its parent.

    Raises CheckpointError, also where neither is to be had.
    """
    folder = find_folder(catalog, reference)
    if delta:
        return revert(folder, output, delta=NamedDelta(str(delta), read_delta(delta)))
    parent = parent_folder(catalog, folder)
    if parent is None:
        cure = "Name the file of old values (--delta F), or register the parent: knedit checkpoint add FOLDER."
        raise CheckpointError("The catalog does not know the checkpoint's parent", str(folder), cure)
    return revert(folder, output, parent=parent)


def _find(catalog: Catalog, reference: str) -> Edit | Path:
    try:
        return find_folder(catalog, reference)
    except CatalogError as error:
        try:
            return catalog.find_edit(reference)
        except CatalogError:
            cure = "Run: knedit edit list, or knedit checkpoint list."
            raise CatalogError(
                f'There is no edit, checkpoint or folder "{reference}"', catalog.address, cure
            ) from error


def _of_folder(catalog: Catalog, folder: Path, *, with_revert: bool) -> list[Delta]:
    parent = parent_folder(catalog, folder) if with_revert else None
    if with_revert and parent is None:
        cure = "Register the parent: knedit checkpoint add FOLDER."
        raise CheckpointError("The old values are in the parent, which the catalog does not know", str(folder), cure)
    return deltas_of_child(folder, parent)

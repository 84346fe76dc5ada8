"""Checkpoints between files and catalog: register one, load one, and refuse one whose files changed since."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from knedit.catalog.store import Catalog
from knedit.checkpoints.fingerprint import behaviour_files, changed_files, weights_sha256
from knedit.checkpoints.manifest import read_manifest
from knedit.checkpoints.shards import read_places
from knedit.errors import CatalogError, CheckpointError
from knedit.models.layout import Layout
from knedit.models.loading import layout_of, load_model
from knedit.models.model import Model
from knedit.models.sources import local_folder
from knedit.records import Checkpoint

logger = logging.getLogger(__name__)


def add_checkpoint(
    catalog: Catalog, path_or_id: str | Path, *, name: str | None = None, revision: str | None = None
) -> Checkpoint:
    """Register a model's files in the catalog and return the record.

    Its identity is the sha256 of its weights; a folder that knedit wrote becomes the child of its parent, if the
    catalog knows that one. Adding it again refreshes name and place. Raises ModelError or CheckpointError where the
    files are not a checkpoint of a known family in safetensors.
    """
    folder = local_folder(path_or_id, revision=revision).resolve()
    layout = layout_of(folder)
    _check_tensors(folder, layout)
    files = behaviour_files(folder)
    sha256 = weights_sha256(folder, files)
    record = Checkpoint(
        Checkpoint.identify(sha256),
        name or _usual_name(path_or_id, folder),
        revision or (folder.name if folder.parent.name == "snapshots" else ""),
        sha256,
        layout.model_type,
        layout.n_layers,
        layout.ffn_width,
        parent_id=_known_parent(catalog, folder),
        path=str(folder),
        files=files,
    )
    return catalog.add_checkpoint(record)


def checked_folder(checkpoint: Checkpoint) -> Path:
    """Return where a checkpoint's files are; raise CheckpointError if they are gone or changed since it was added."""
    if not checkpoint.sha256:
        raise CheckpointError(
            f"the checkpoint {checkpoint.name} is known by name and revision alone: it has no files",
            f"revision {checkpoint.revision}",
            "Register files under another name (knedit checkpoint add FOLDER --name OTHER) and use that one.",
        )
    folder = Path(checkpoint.path)
    if not checkpoint.path or not folder.is_dir():
        raise CheckpointError(
            f"the files of checkpoint {checkpoint.name} are gone",
            checkpoint.path or "no folder was recorded",
            f"Run: knedit checkpoint add FOLDER --name {checkpoint.name}",
        )
    if changes := changed_files(folder, checkpoint.files):
        raise CheckpointError(
            f"the files of checkpoint {checkpoint.name} changed since it was added: {'; '.join(changes)}",
            str(folder),
            "Restore them, or register them anew: knedit checkpoint add FOLDER --name NEW",
        )
    return folder


def load_checkpoint(
    checkpoint: Checkpoint, *, dtype: str = "float32", device: str | None = None, device_map: str | None = None
) -> Model:
    """Load a registered checkpoint after making sure that its files are those that were added."""
    return load_model(checked_folder(checkpoint), dtype=dtype, device=device, device_map=device_map)


def find_folder(catalog: Catalog, reference: str) -> Path:
    """Return the folder of a checkpoint that is named by its path, or as the catalog names it.

    Raises CatalogError where there is neither, CheckpointError where the catalog's files are gone or changed.
    """
    folder = Path(reference).expanduser()
    return folder if folder.is_dir() else checked_folder(catalog.find_checkpoint(reference))


@dataclass(frozen=True, slots=True)
class StoredDown:
    """Where files keep one down projection: a tensor's name, and an expert's number where that is a stack of all."""

    tensor: str
    member: int | None


def down_tensors(folder: Path, layout: Layout) -> Mapping[tuple[int, int], StoredDown]:
    """Return where the folder's files keep the down projections, by layer and expert (0 where there is none).

    Raises ModelError if one is not there.
    """
    places = read_places(folder)
    found = {}
    for layer in range(layout.n_layers):
        for expert in range(max(layout.n_experts, 1)):
            name = layout.stored_down_weight(layer, places, expert=expert)
            found[layer, expert] = StoredDown(name, expert if layout.is_stack(name) else None)
    return found


def _check_tensors(folder: Path, layout: Layout) -> None:
    places = read_places(folder)
    for stored in down_tensors(folder, layout).values():
        place = places[stored.tensor]
        stack = () if stored.member is None else (layout.n_experts,)
        right = len(place.shape) == 2 + len(stack) and place.shape[:-2] == stack
        if not right or place.shape[-2:][layout.family.neuron_axis] != layout.expert_width:
            raise CheckpointError(
                f"tensor {place.name} has the shape {list(place.shape)}, where config.json promises"
                f" {layout.expert_width} neurons",
                str(folder),
                "Use weights and config.json of the same model.",
            )


def _usual_name(path_or_id: str | Path, folder: Path) -> str:
    given = Path(path_or_id)
    if given.suffix == ".gguf":
        return given.stem
    return given.name if folder.parent.name == "snapshots" else folder.name


def _known_parent(catalog: Catalog, folder: Path) -> int | None:
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    known = {checkpoint.sha256: checkpoint.id for checkpoint in catalog.checkpoints()}
    return known.get(manifest.parent.sha256)


def parent_folder(catalog: Catalog, folder: Path) -> Path | None:
    """Return where the parent of an edited checkpoint is, or None where there is none or the catalog knows none."""
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    try:
        parent = catalog.find_checkpoint(manifest.parent.sha256)
    except CatalogError:
        logger.warning("The catalog does not know the parent of %s: only its own hashes are checked.", folder)
        return None
    return checked_folder(parent)

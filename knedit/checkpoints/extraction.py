"""The deltas of an edit: taken from a checkpoint that knedit wrote, or made without writing one.

Knows nothing of how values came about.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knedit.checkpoints.delta import Delta, delta_of
from knedit.checkpoints.fingerprint import files_sha256, weights_sha256
from knedit.checkpoints.manifest import FORMAT, Manifest, ParentName, parse_manifest, read_manifest
from knedit.checkpoints.patch import patched_sha256
from knedit.checkpoints.planning import SliceWrite, TensorPatch, plan_patches, read_change
from knedit.checkpoints.shards import read_places, weight_files
from knedit.errors import CheckpointError


def deltas_of_child(child: Path, parent: Path | None = None) -> list[Delta]:
    """Return the delta that leads to the edited checkpoint in `child` and, if its `parent` is named, the one back.

    Raises CheckpointError where a folder's weights are not those of the child's manifest.
    """
    manifest = read_manifest(child)
    if manifest is None:
        cure = "Name a checkpoint that knedit edit apply wrote, or an edit."
        raise CheckpointError("The folder has no knedit.json, which tells what was changed", str(child), cure)
    for folder, sha256 in ((child, manifest.sha256), *([(parent, manifest.parent.sha256)] if parent else [])):
        if weights_sha256(folder) != sha256:
            raise CheckpointError("The weights are not those that knedit.json names", str(folder), "Fetch them again.")
    places = read_places(child)
    new = [read_change(child, places, change) for change in manifest.changed]
    return _pair(manifest, new, parent)


def deltas_of_patches(parent: Path, patches: Sequence[TensorPatch], manifest: Mapping[str, Any]) -> list[Delta]:
    """Return the deltas there and back that `write_patched` would have given, without writing a checkpoint.

    Raises CheckpointError, also where the parent's weights are not those that `manifest` names.
    """
    writes = plan_patches(parent, patches)
    hashes = files_sha256(parent, weight_files(parent))
    if weights_sha256(parent, hashes) != manifest["parent"]["sha256"]:
        raise CheckpointError("The parent's weights are not those of the edit", str(parent), "Compute the edit anew.")
    own = {
        "format": FORMAT,
        "sha256": patched_sha256(parent, writes, hashes),
        "changed": [write.change.table() for write in writes],
    }
    return _pair(parse_manifest({**manifest, **own}, "the delta to be written"), writes, parent)


def _pair(manifest: Manifest, new: Sequence[SliceWrite], parent: Path | None) -> list[Delta]:
    there = delta_of("edit", manifest, new)
    if parent is None:
        return [there]
    places = read_places(parent)
    old = [read_change(parent, places, write.change) for write in new]
    return [there, delta_of("revert", _reversed(manifest), old)]


def _reversed(manifest: Manifest) -> Manifest:
    """Return a manifest that leads from the edited weights to those they were made from."""
    edited = ParentName(f"{manifest.parent.name} (edited)", manifest.sha256, None)
    edit = {"reverts": dict(manifest.edit), "restores": manifest.parent.name}
    return Manifest(manifest.knedit, manifest.created, edited, manifest.parent.sha256, edit, manifest.changed)

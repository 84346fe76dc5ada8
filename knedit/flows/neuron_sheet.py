"""Gather what the catalog knows of one neuron: its reading, its labels and notes, and the facts that hold it."""

from collections.abc import Mapping
from dataclasses import dataclass

from knedit.catalog.remarks import check_places
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Checkpoint
from knedit.remarks import NeuronDescription, NeuronLabel, NeuronNote


@dataclass(frozen=True, slots=True)
class NeuronSheet:
    """What the catalog knows of one neuron; `roles` counts the facts of the checkpoint's newest refinement by role."""

    checkpoint: str
    layer: int
    index: int
    roles: Mapping[str, int]
    labels: tuple[NeuronLabel, ...]
    notes: tuple[NeuronNote, ...]
    description: NeuronDescription | None


def only_checkpoint(catalog: Catalog, reference: str | None) -> Checkpoint:
    """Return the checkpoint that is named or, without a name, the catalog's only one; raise CatalogError else."""
    if reference is not None:
        return catalog.find_checkpoint(reference)
    known = catalog.checkpoints()
    if len(known) == 1:
        return known[0]
    if not known:
        raise CatalogError("there is no checkpoint", catalog.address, "Run: knedit checkpoint add FOLDER")
    names = ", ".join(one.name for one in known)
    raise CatalogError(f"there are several checkpoints: {names}", catalog.address, "Name one with --checkpoint.")


def neuron_sheet(catalog: Catalog, checkpoint: Checkpoint, layer: int, index: int) -> NeuronSheet:
    """Return what the catalog knows of a neuron; raise CatalogError if the checkpoint has no such neuron."""
    check_places(checkpoint, [(layer, index)])
    refinements = catalog.refinements(checkpoint.id)
    return NeuronSheet(
        checkpoint.name,
        layer,
        index,
        catalog.facts_by_role(refinements[0].id, layer, index) if refinements else {},
        tuple(catalog.neuron_labels(checkpoint.id, places=[(layer, index)])),
        tuple(catalog.neuron_notes(checkpoint.id, layer, index)),
        catalog.description(checkpoint.id, layer, index),
    )

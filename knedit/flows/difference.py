"""What two checkpoints differ in, by neurons: which, how much, and which facts of the catalog hold them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from knedit.catalog.store import Catalog
from knedit.checkpoints.difference import Difference, compare_folders
from knedit.checkpoints.fingerprint import weights_sha256
from knedit.errors import ModelError
from knedit.flows.checkpoint import down_tensors, find_folder
from knedit.models.layout import Layout
from knedit.models.loading import layout_of
from knedit.records import Refinement


@dataclass(frozen=True, slots=True)
class ChangedNeuron:
    """A neuron whose value vector differs: by how much of its length (None where that was 0), and who holds it."""

    layer: int
    index: int
    relative: float | None
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckpointDifference:
    """What differs, the changed value vectors by layer and index, and the other tensors with how much they changed.

    `refinement` is the one whose facts are told, None where the catalog has none for either checkpoint.
    """

    difference: Difference
    neurons: tuple[ChangedNeuron, ...]
    others: Mapping[str, float | None]
    refinement: Refinement | None


def compare_checkpoints(catalog: Catalog, first: str, second: str) -> CheckpointDifference:
    """Compare two checkpoints, each a name or a folder. Raises CatalogError or CheckpointError.

    Of a family that knedit does not know only the tensors are told.
    """
    folders = find_folder(catalog, first), find_folder(catalog, second)
    layers = _layers(folders[0])
    layout, homes = layers or (None, {})
    axis = layout.family.neuron_axis if layout else 1
    difference = compare_folders(*folders, {tensor: axis for tensor, _ in homes})
    sizes: dict[tuple[int, int], float | None] = {}
    others: dict[str, float | None] = {}
    for one in difference.changed:
        if not one.slices:
            others[one.tensor] = one.relative
        for (member, index), relative in one.slices.items():
            assert layout is not None
            for layer, expert in homes[one.tensor, member]:
                sizes[layer, expert * layout.expert_width + index] = relative
    refinement = _refinement(catalog, folders)
    facts = _facts(catalog, refinement, sizes)
    neurons = tuple(ChangedNeuron(*place, relative, facts[place]) for place, relative in sorted(sizes.items()))
    return CheckpointDifference(difference, neurons, others, refinement)


def _layers(folder: Path) -> tuple[Layout, Mapping[tuple[str, int], list[tuple[int, int]]]] | None:
    """Return the layout, and the (layer, expert) pairs whose down projection is the n-th matrix of a tensor."""
    try:
        layout = layout_of(folder)
        stored = down_tensors(folder, layout)
    except ModelError:
        return None  # not a family of the table: its tensors can be compared all the same
    homes: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for place, one in stored.items():
        homes[one.tensor, one.member or 0].append(place)
    return layout, homes


def _refinement(catalog: Catalog, folders: Iterable[Path]) -> Refinement | None:
    known = {checkpoint.sha256: checkpoint.id for checkpoint in catalog.checkpoints()}
    for folder in folders:
        checkpoint_id = known.get(weights_sha256(folder))
        if checkpoint_id is not None and (found := catalog.refinements(checkpoint_id)):
            return found[0]
    return None


def _facts(
    catalog: Catalog, refinement: Refinement | None, neurons: Iterable[tuple[int, int]]
) -> Mapping[tuple[int, int], tuple[str, ...]]:
    found: dict[tuple[int, int], list[str]] = defaultdict(list)
    for use in catalog.sharing(refinement.id, list(neurons)) if refinement else ():
        found[use.neuron.layer, use.neuron.index].append(f"{use.relation}/{use.fact.subject}")
    return defaultdict(tuple, {place: tuple(sorted(names)) for place, names in found.items()})

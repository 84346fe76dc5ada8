"""Describe neurons: read their value vectors through the output embedding, and keep that in the catalog.

Knows nothing of how a vector is read.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from knedit.analysis.vocabulary_reading import Place, read_values
from knedit.catalog.remarks import check_places
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.models.model import Model
from knedit.records import Checkpoint, show_id
from knedit.remarks import NeuronDescription

logger = logging.getLogger(__name__)

DEFAULT_TOP = 10
DEFAULT_MEMORY = 2**30


def describe_neurons(
    catalog: Catalog,
    checkpoint: Checkpoint,
    load: Callable[[Checkpoint], Model],
    places: Sequence[Place],
    *,
    top: int = DEFAULT_TOP,
    memory: int = DEFAULT_MEMORY,
) -> int:
    """Read the neurons' value vectors in the checkpoint and store that, some at a time; return how many there were.

    `load` is called once the neurons are known to exist. Reading again replaces what was read.
    """
    check_places(checkpoint, places)
    model, done = load(checkpoint), 0
    for readings in read_values(model, places, top=top, memory=memory):
        now = datetime.now(UTC)
        catalog.put_descriptions(
            NeuronDescription(checkpoint.id, *one.place, {"top": one.top, "bottom": one.bottom}, now)
            for one in readings
        )
        done += len(readings)
        logger.debug("%d of %d neurons are read.", done, len(places))
    return done


def choose_places(
    catalog: Catalog, checkpoint: Checkpoint, *, neurons: Sequence[str] = (), refinement: str | None = None
) -> list[Place]:
    """Return the neurons named as LAYER:INDEX and those of a refinement; without either, all refined ones.

    The refinement may be another checkpoint's, as a parent's are an edited model's. Raises CatalogError where a name
    cannot be read, or no neuron is there.
    """
    places = [read_place(word) for word in neurons]
    if refinement is not None:
        places += catalog.refined_places(checkpoint.id, refinement_id=_refinement(catalog, refinement))
    elif not neurons:
        places = catalog.refined_places(checkpoint.id)
    if not places:
        raise CatalogError(
            f"no neuron of {checkpoint.name} was refined",
            catalog.address,
            f"Run: knedit refine {checkpoint.name}, or name neurons with --neuron LAYER:INDEX.",
        )
    return sorted(set(places))


def read_place(word: str) -> Place:
    """Return the layer and index that a word such as "10:2484" says; raise CatalogError for any other word."""
    layer, _, index = word.partition(":")
    if not (layer.isascii() and layer.isdigit() and index.isascii() and index.isdigit()):
        raise CatalogError("a neuron is written LAYER:INDEX", repr(word), "Example: 10:2484.")
    return int(layer), int(index)


def _refinement(catalog: Catalog, reference: str) -> int:
    found = [one for one in catalog.refinements() if show_id(one.id).startswith(reference)]
    if len(found) != 1:
        raise CatalogError(f"{len(found)} refinements begin with {reference!r}", catalog.address, "Give more digits.")
    return found[0].id

"""Bring neurons that others published into the catalog, joined to the facts that it has, and write them as they do.

No model is needed: the checkpoint may be known by name and revision alone.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from knedit.attribution.refine import Thresholds
from knedit.catalog.answers import PublishedCount
from knedit.catalog.formats import eleuther
from knedit.catalog.formats.kn_results import FLOOR, kept_words, told_words
from knedit.catalog.formats.pararel import DATASET
from knedit.catalog.formats.registry import NEURON_FORMATS, detect, find_format
from knedit.catalog.formats.streams import Fault, stop
from knedit.catalog.published import Publication, Wordings
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError, FactsError
from knedit.flows.export import refuse_taken
from knedit.flows.neurons import newest_refinement
from knedit.records import Checkpoint, Config, PublishedNeurons, PublishedScores

SCORES = ("kn-paper-scores",)
NEURON_WRITERS = {"eleuther": eleuther.write}

_COUNTED = "Are these another model's neurons? Layers and neurons count from 0."
_REGISTER = "Run: knedit checkpoint register {name} --revision R, or say --revision here as well."


def import_neurons(
    catalog: Catalog,
    path: Path,
    checkpoint: str,
    *,
    revision: str | None = None,
    format: str | None = None,
    fault: Fault = stop,
) -> list[PublishedCount]:
    """Import a file or folder of published neurons or scores for a checkpoint; all of it or nothing.

    A checkpoint that is not known is registered if its `revision` is given. What is broken, or cannot be joined to the
    catalog's facts, goes to `fault`, which by default raises it. Neurons get the roles that refinement would give them;
    scores are yet to be refined.
    """
    owner = find_or_name(catalog, checkpoint, revision)
    name = format or detect(path, NEURON_FORMATS)
    published = _fitting(find_format(name, NEURON_FORMATS).read(path, fault), owner, path, fault)
    kind = "scores" if name in SCORES else "neurons"
    config = partial(_config, kind, name)
    publication = Publication(str(path), owner, config, version("knedit"), datetime.now(UTC), fault)
    if kind == "scores":
        return catalog.import_scores(publication, published, Wordings(told_words, kept_words))
    rule = Thresholds()
    config_of_roles = {"published": kind, "hub_share": rule.hub_share, "hub_relations": rule.hub_relations}
    return catalog.import_neurons(publication, published, rule=rule, config=config_of_roles)


def find_or_name(catalog: Catalog, reference: str, revision: str | None) -> Checkpoint:
    """Return the checkpoint that is referred to; where there is none, one of this name and revision, not yet put in.

    Raises CatalogError where there is none and no revision, or where it has another revision.
    """
    named = [one for one in catalog.checkpoints() if one.name == reference]
    if not named and revision is not None:
        return named_checkpoint(reference, revision)
    try:
        found = named[0] if named else catalog.find_checkpoint(reference)
    except CatalogError as error:
        cure = " ".join(part for part in (error.cure, _REGISTER.format(name=reference)) if part)
        raise CatalogError(error.what, error.where, cure) from None
    if revision is not None and revision != found.revision:
        raise CatalogError(
            f'The checkpoint "{found.name}" is of revision "{found.revision}", not "{revision}"',
            catalog.address,
            "Leave --revision out, or give another name.",
        )
    return found


def named_checkpoint(name: str, revision: str, *, n_layers: int = 0, ffn_width: int = 0) -> Checkpoint:
    """Return a checkpoint without files; raise CatalogError where name or revision is blank."""
    for what, words in (("name", name), ("revision", revision)):
        if not words.strip() or words != words.strip():
            raise CatalogError(
                f"The checkpoint's {what} is empty or has blanks at its ends: {words!r}", cure="Write it out."
            )
    return Checkpoint.named(name, revision, n_layers=n_layers, ffn_width=ffn_width)


def export_neurons(
    catalog: Catalog,
    output: Path,
    checkpoint: str | None,
    *,
    format: str = "eleuther",
    dataset: str = DATASET,
    overwrite: bool = False,
) -> int:
    """Write a checkpoint's newest refined neurons by the facts' keys in a data set; return how many keys there were.

    Raises FactsError where the file exists or cannot be written, CatalogError where keys are missing or shared.
    """
    refuse_taken(output, overwrite)
    refinement = newest_refinement(catalog, checkpoint)
    catalog.check_keys(refinement.id, dataset)
    with closing(catalog.neurons_by_key(refinement.id, dataset)) as rows:
        return NEURON_WRITERS[format](output, _by_key(dataset, rows))


def _by_key(dataset: str, rows: Iterable[tuple[str, int | None, int | None]]) -> Iterator[PublishedNeurons]:
    for key, own in groupby(rows, key=lambda row: row[0]):
        neurons = tuple((layer, index) for _, layer, index in own if layer is not None and index is not None)
        yield PublishedNeurons(dataset, key, neurons)


def _config(kind: str, format: str, dataset: str, method: str) -> Config:
    told: dict[str, Any] = {"published": kind, "format": format, "dataset": dataset}
    if method:
        told["method"] = method
    return told | ({"floor": FLOOR} if kind == "scores" else {})


def _fitting(
    published: Iterable[PublishedNeurons | PublishedScores], checkpoint: Checkpoint, path: Path, fault: Fault
) -> Iterator[Any]:
    """Yield the records whose neurons the checkpoint has, as far as its layers and width are known."""
    n_layers, width = checkpoint.n_layers or 2**31, checkpoint.ffn_width or 2**31
    for one in published:
        places = one.neurons if isinstance(one, PublishedNeurons) else one.scores
        beyond = next(((layer, index) for layer, index, *_ in places if layer >= n_layers or index >= width), None)
        if beyond is None:
            yield one
            continue
        fault(FactsError(_beyond(beyond, one.key, checkpoint), str(path), _COUNTED))


def _beyond(neuron: tuple[int, int], key: str, checkpoint: Checkpoint) -> str:
    layers, width = (size or "any number of" for size in (checkpoint.n_layers, checkpoint.ffn_width))
    has = f'the checkpoint "{checkpoint.name}", which has {layers} layers of {width} neurons'
    return f'The neuron {neuron} of "{key}" is beyond {has}'

"""Neurons as EleutherAI published them: JSON files {uuid: [[layer, index], …]}, by ParaRel's uuids, layers from 0.

Reads one file or a folder of them, writes one. Knows nothing of the facts that the uuids name.
Source: EleutherAI/knowledge-neurons, bert_base_uncased_neurons.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from knedit.catalog.formats.kn_results import neurons
from knedit.catalog.formats.pararel import DATASET
from knedit.catalog.formats.shapes import Glimpse
from knedit.catalog.formats.streams import Fault, each, entries, reader
from knedit.catalog.formats.values import noun
from knedit.catalog.formats.writing import replacing
from knedit.records import PublishedNeurons

_FILES = "*_neurons*.json"


def fits(glimpse: Glimpse) -> bool:
    if glimpse.kind == "object":
        return _is_neurons(glimpse.first)
    return glimpse.has(_FILES)


@reader
def read(path: Path, fault: Fault) -> Iterator[PublishedNeurons]:
    """Yield the neurons of each uuid."""
    for file in [path] if path.is_file() else sorted(path.glob(_FILES)):
        yield from each(entries(file, fault), _published, fault)


def write(path: Path, published: Iterable[PublishedNeurons]) -> int:
    """Write the neurons by key; return how many facts there were. Every key must come once."""
    count = 0
    with replacing(path) as file:
        file.write(b"{")
        for count, one in enumerate(published, start=1):
            sign = ",\n" if count > 1 else "\n"
            file.write(f"{sign} {json.dumps(one.key)}: {json.dumps(one.neurons)}".encode())
        file.write(b"\n}\n")
    return count


def _published(entry: tuple[str, Any]) -> list[PublishedNeurons]:
    key, value = entry
    return [PublishedNeurons(DATASET, noun(key, "The uuid"), neurons(value))]


def _is_neurons(value: Any) -> bool:
    numbers = (
        [number for pair in value[:3] if isinstance(pair, list) for number in pair] if isinstance(value, list) else []
    )
    return bool(numbers) and all(type(number) is int for number in numbers)

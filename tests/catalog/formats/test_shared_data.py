"""The published files themselves, where they are at hand: what each holds, counted."""

import logging
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from knedit.catalog.formats.registry import FORMATS, NEURON_FORMATS, detect
from knedit.catalog.formats.streams import stop
from knedit.records import Fact, FactSource, Prompt, Relation, RequestedRewrite

FOLDER = Path(os.environ.get("KNEDIT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no folder of published data at {FOLDER}"),
]

# records told; then, each counted once: relations, facts, prompts, sources, wishes
COUNTS = {
    "pararel": ("pararel", 27_610, (39, 27_593, 224_468, 27_610, 0)),
    "kn_paper": ("kn-paper", 27_738, (34, 27_717, 253_195, 27_738, 0)),
    "counterfact/counterfact_dev.jsonl": ("counterfact", 2000, (32, 2000, 27_541, 2000, 2000)),
    "zsre/zsre_mend_eval_portability_gpt4.json": ("zsre", 1083, (512, 1083, 4240, 1083, 1037)),
    "zsre/zsre_mend_train-1k.json": ("zsre", 1032, (509, 1032, 3064, 1032, 998)),
    "known_1000/known_1000.json": ("known-facts", 1209, (33, 1209, 1209, 1209, 0)),
    "relations": ("lre", 8654, (40, 8634, 24_331, 8654, 0)),
}


def told(path: str) -> Iterable[Any]:
    return FORMATS[detect(FOLDER / path)].read(FOLDER / path, stop)


@pytest.mark.parametrize("path", COUNTS)
def test_a_published_file_holds_so_many_facts_and_prompts(path: str) -> None:
    name, count, distinct = COUNTS[path]
    ids: dict[type, set[Any]] = {kind: set() for kind in (Relation, Fact, Prompt, FactSource, RequestedRewrite)}
    facts = 0
    for record in told(path):
        ids[type(record)].add(getattr(record, "id", record))
        facts += isinstance(record, Fact)
    assert (detect(FOLDER / path), facts, tuple(len(found) for found in ids.values())) == (name, count, distinct)


def test_relations_without_patterns_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "knedit"):
        sources = [record for record in told("pararel") if isinstance(record, FactSource)]
    assert [message.split(" in ")[0] + message.split(":")[-1] for message in caplog.messages] == [
        "P31 has no patterns its 879 facts are left out",
        "P527 has no patterns its 922 facts are left out",
    ]
    told_again = Counter(Counter(source.fact_id for source in sources).values())
    assert told_again == {1: 27_579, 2: 12, 3: 1, 4: 1}


def test_published_neurons_join_pararel_by_uuid() -> None:
    facts = {record.key: record.fact_id for record in told("pararel") if isinstance(record, FactSource)}
    folder = FOLDER / "bert_neurons"
    rows: set[tuple[int, int, int]] = set()
    count = 0
    for one in NEURON_FORMATS[detect(folder, NEURON_FORMATS)].read(folder, stop):
        count += 1
        rows.update((facts[one.key], *neuron) for neuron in one.neurons)
    assert (count, len(rows), len({row[1:] for row in rows})) == (27_610, 304_563, 5688)

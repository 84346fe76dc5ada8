"""The published files themselves, where they are at hand: what a catalog holds of them, and how it comes out again."""

import json
from pathlib import Path

import pytest

from knedit.catalog.answers import Count, ImportCount
from knedit.catalog.store import Catalog
from knedit.flows.facts import export_facts, import_file
from knedit.flows.published import export_neurons, import_neurons
from tests.catalog.formats.test_shared_data import COUNTS, FOLDER

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no folder of published data at {FOLDER}"),
]


def test_pararel_and_its_published_neurons_are_imported_whole_and_once(tmp_path: Path, catalog: Catalog) -> None:
    again = ImportCount(Count(39, 0), Count(27_610, 0), Count(224_674, 0), Count(27_610, 0), Count(0, 0))
    first = ImportCount(Count(39, 39), Count(27_610, 27_593), Count(224_674, 224_468), Count(27_610, 27_610), Count())
    for expected in (first, again):
        assert import_file(catalog, FOLDER / "pararel") == expected
    for facts, neurons in ((27_593, 304_563), (0, 0)):
        (count,) = import_neurons(catalog, FOLDER / "bert_neurons", "bert-base-uncased", revision="main")
        assert (count.records, count.neurons) == (Count(27_610, facts), Count(304_711, neurons))
    (refinement,) = catalog.refinements()
    assert [(hub.layer, hub.index, hub.facts) for hub in catalog.hubs(refinement.id, limit=3)] == [
        (10, 2484, 6665),
        (10, 925, 6245),
        (7, 2778, 5727),
    ]
    output = tmp_path / "neurons.json"
    assert export_neurons(catalog, output, "bert-base-uncased") == 27_610
    published: dict[str, list[list[int]]] = {}
    for file in (FOLDER / "bert_neurons").glob("*.json"):
        published |= {key: sorted(neurons) for key, neurons in json.loads(file.read_text()).items()}
    assert json.loads(output.read_text()) == published


@pytest.mark.parametrize("path", COUNTS)
def test_a_published_file_that_is_exported_and_imported_is_exported_equally(
    tmp_path: Path, sqlite_catalog_url: str, path: str
) -> None:
    output, again = tmp_path / "exported.jsonl", tmp_path / "again.jsonl"
    with Catalog(sqlite_catalog_url) as catalog:
        count = import_file(catalog, FOLDER / path)
        added = tuple(one.added for one in (count.relations, count.facts, count.prompts, count.sources, count.rewrites))
        assert added == COUNTS[path][2]
        export_facts(catalog, output)
        with Catalog(f"sqlite:///{tmp_path / 'other.db'}") as other:
            assert import_file(other, output, format="knedit-jsonl").facts.added == count.facts.added
            export_facts(other, again)
    assert again.read_bytes() == output.read_bytes()

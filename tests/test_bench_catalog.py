"""The benchmark of the catalog, but for its clock: that it runs on a small world, and what its world is."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from knedit.catalog.store import Catalog
from scripts.benchmark.questions import QUESTIONS
from scripts.benchmark.synthetic import LAYERS, RELATIONS, WIDTH, World

ROOT = Path(__file__).parents[1]
HERE = os.environ | {"PYTHONPATH": str(ROOT)}


def test_the_world_is_the_same_again_and_each_fact_has_its_number_of_neurons() -> None:
    world = World(300, 10)
    ids = world.fact_ids()
    rows = list(world.neurons(ids))
    assert rows == list(world.neurons(ids))
    assert Counter(one.fact_id for one in rows) == Counter(dict.fromkeys(ids.tolist(), 10))
    assert len({(one.fact_id, one.layer, one.index) for one in rows}) == 3000
    assert all(0 <= one.layer < LAYERS and 0 <= one.index < WIDTH for one in rows)
    assert Counter(one.role for one in rows).keys() == {"fact", "relation", "generic"}


def test_the_commonest_neuron_is_in_about_a_quarter_of_the_facts() -> None:
    world = World(2000, 10)
    common = Counter((one.layer, one.index) for one in world.neurons(world.fact_ids()))
    assert 0.2 < common.most_common(1)[0][1] / 2000 < 0.3


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/bench_catalog.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=HERE, capture_output=True, text=True, check=False)


def test_it_runs_and_a_second_time_asks_alone(database: str, tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    told = bench("--database", database, "--quick", "--json", str(file))
    assert (told.returncode, told.stderr) == (0, "")
    found = json.loads(file.read_text())
    assert [part["rows"] for part in found["load"]["parts"]] == [2_000, 20_000]
    assert [one["name"] for one in found["questions"]["timings"]] == [one.name for one in QUESTIONS]
    assert all(one["plan"] for one in found["questions"]["timings"])
    with Catalog(database) as catalog:
        assert len(catalog.relations()) == RELATIONS
        assert catalog.check() == []
    assert "already loaded" in bench("--database", database, "--quick").stdout


def test_it_leaves_a_catalog_of_something_else_alone(sqlite_url: str) -> None:
    with Catalog(sqlite_url) as catalog:
        catalog.import_facts(World(5, 1).told())
    told = bench("--database", sqlite_url, "--quick")
    assert told.returncode == 1
    assert told.stderr.startswith("Error: The catalog holds something else")


def test_its_help_tells_every_option() -> None:
    told = bench("--help").stdout
    assert [one for one in ("--facts", "--rows", "--points", "--json", "--quick") if one not in told] == []

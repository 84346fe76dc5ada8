"""What a user can get wrong: one clear error on stderr, exit code 2, no traceback, and nothing changed."""

import json
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from knedit.catalog.store import Catalog
from tests.cli.running import Ran, knedit
from tests.flows.making import FACTS, save_model, write_facts

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two tiny checkpoints, facts, and neurons and an edit of the first checkpoint."""
    folder = tmp_path_factory.mktemp("ready")
    save_model("llama", folder / "base")
    save_model("llama", folder / "other", seed=1)
    write_facts(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KNEDIT_DATABASE", "facts.db")
        for command in (
            "checkpoint add base",
            "checkpoint add other",
            "facts import facts.jsonl",
            "attribute base --rule gauss --steps 2",
            "refine base --threshold 0.1 --share 0.3 --min-prompts 2 --hub-share 1",
            "edit plan base --erase capital/France --solver zero --roles fact,relation,generic",
        ):
            assert knedit(*command.split()).code == 0
    return folder


@pytest.fixture
def place(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it to work in; at the end, the catalog must be what it was."""
    folder = tmp_path / "copy"
    shutil.copytree(ready, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("KNEDIT_DATABASE", "facts.db")
    with Catalog("facts.db") as catalog:
        moved = [(one, catalog.find_checkpoint(one)) for one in ("base", "other")]
    for name, _ in moved:
        assert knedit("checkpoint", "add", name).code == 0
    before = snapshot()
    yield folder
    assert snapshot() == before


def snapshot() -> object:
    with Catalog("facts.db") as catalog:
        run = catalog.runs()[0]
        return (
            catalog.fact_summary(),
            catalog.checkpoints(),
            catalog.runs(),
            catalog.attributions(run.id),
            catalog.refinements(),
            catalog.edits(),
        )


def assert_refused(ran: Ran, *words: str) -> None:
    assert ran.code == 2
    assert ran.err.startswith(("Error: ", "Usage: ")) or "\nError: " in ran.err
    assert "Traceback" not in ran.err + ran.out
    for word in words:
        assert word in ran.err


def edit_id() -> str:
    with Catalog("facts.db") as catalog:
        return f"{catalog.edits()[0].id:016x}"


def test_a_missing_file_of_facts(place: Path) -> None:
    assert_refused(knedit("facts", "import", "nowhere.jsonl"), "nowhere.jsonl")


def test_a_malformed_line_seven(place: Path) -> None:
    good = [json.dumps(FACTS[0] | {"relation": f"r{n}"}) for n in range(8)]
    good[6] = '{"relation": "r6", '
    (place / "bad.jsonl").write_text("\n".join(good))
    assert_refused(knedit("facts", "import", "bad.jsonl"), "bad.jsonl", "line 7")


def test_a_template_without_object(place: Path) -> None:
    (place / "bad.jsonl").write_text(json.dumps(FACTS[0] | {"templates": ["the capital of {subject} is"]}))
    assert_refused(knedit("facts", "import", "bad.jsonl"), "line 1", "{object}")


def test_an_answer_of_several_tokens_where_one_is_asked_for(place: Path) -> None:
    ran = knedit(
        "edit",
        "plan",
        "base",
        "--update",
        "capital/France=big old city",
        "--solver",
        "embedding",
        "--roles",
        "fact,relation,generic",
    )
    assert_refused(ran, "'big old city' is 3 tokens", "capital/France")


def test_a_checkpoint_with_only_pickle_weights(place: Path) -> None:
    (place / "pickled").mkdir()
    shutil.copy(place / "base/config.json", place / "pickled")
    torch.save({}, place / "pickled/pytorch_model.bin")
    assert_refused(knedit("checkpoint", "add", "pickled"), "only pickle weights", "safetensors")


@pytest.mark.parametrize("shard", ["../base/model.safetensors", "/etc/passwd", "model-00001-of-00002.safetensors"])
def test_an_index_whose_shards_are_not_there(place: Path, shard: str) -> None:
    shutil.copytree(place / "base", place / "sharded")
    (place / "sharded/model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"model.norm.weight": shard}}
    (place / "sharded/model.safetensors.index.json").write_text(json.dumps(index))
    assert_refused(knedit("checkpoint", "add", "sharded"), shard, "sharded")


def test_an_unknown_family(place: Path) -> None:
    shutil.copytree(place / "base", place / "strange")
    config = json.loads((place / "strange/config.json").read_text())
    (place / "strange/config.json").write_text(json.dumps(config | {"model_type": "gizmo"}))
    assert_refused(knedit("checkpoint", "add", "strange"), "'gizmo'", "Known families", "llama")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_attribution_of_a_checkpoint_whose_files_changed(place: Path, name: str) -> None:
    content = bytearray((place / "base" / name).read_bytes())
    content[-9] ^= 1
    (place / "base" / name).write_bytes(content)
    assert_refused(knedit("attribute", "base", "--rule", "gauss"), "changed since it was added", name)


def test_an_edit_whose_neurons_came_from_another_checkpoint(place: Path) -> None:
    with Catalog("facts.db") as catalog:
        refinement = f"{catalog.refinements()[0].id:016x}"
    ran = knedit("edit", "plan", "other", "--erase", "capital/France", "--solver", "zero", "--refinement", refinement)
    assert_refused(ran, "found in another checkpoint", "knedit attribute other")


def test_an_output_folder_that_exists(place: Path) -> None:
    (place / "taken").mkdir()
    assert_refused(knedit("edit", "apply", edit_id(), "--output", "taken"), "taken", "exists")
    assert list((place / "taken").iterdir()) == []


def test_an_output_whose_name_is_taken_is_refused_before_it_is_written(place: Path) -> None:
    (place / "inner").mkdir()
    assert_refused(knedit("edit", "apply", edit_id(), "--output", "inner/other"), "other is taken", "--name")
    assert list((place / "inner").iterdir()) == []


def test_an_unreachable_postgres(place: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"postgresql://someone:secret@127.0.0.1:{port}/nothing"
    ran = knedit("facts", "list", "--database", url)
    assert_refused(ran, f"127.0.0.1:{port}")
    assert "secret" not in ran.err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("checkpoint add nowhere/at/all", ("no such file or folder",)),
        ("checkpoint show nothing", ("nothing",)),
        ("checkpoint verify nowhere", ("nowhere",)),
        ("attribute nothing", ("nothing",)),
        ("attribute base --relation captial", ("captial", "capital")),
        ("attribute base --steps 0", ("0 steps",)),
        ("attribute base --tolerance 7", ("tolerance",)),
        ("attribute base --rule simpson", ("simpson",)),
        ("attribute base --method magic", ("magic", "integrated-gradients")),
        ("attribute base --method activation --tolerance 0.1", ("tolerance 0.1", "activation")),
        ("attribute base --baseline one", ("one", "mask-token")),
        ("attribute base --smoothing blur", ("blur", "noisegrad")),
        ("attribute base --smoothing noisegrad --samples 0", ("0 samples",)),
        ("attribute base --smoothing noisegrad --sigma -1", ("sigma -1",)),
        ("attribute base --seed 5", ("seed 5",)),
        ("attribute base --position middle", ("middle",)),
        ("attribute base --dtype float8", ("float8", "bfloat16")),
        ("attribute base --dtype tf32 --device cpu", ("TF32", "float32")),
        ("attribute base --batch 0", ("--batch",)),
        ("attribute base --memory abc", ("'abc'", "2GiB")),
        ("attribute base --memory 0MB", ("'0MB'",)),
        ("attribute base --memory 5iB", ("'5iB'",)),
        ("attribute base --device gizmo", ("gizmo",)),
        ("attribute base --device-map everywhere", ("everywhere", "balanced")),
        ("attribute base --device-map auto --device cpu", ("not both",)),
        ("attribute base --workers 0", ("--workers",)),
        ("attribute base --workers 2 --device cuda:3", ("cuda:3",)),
        ("attribute base --like ffff", ('no run "ffff"',)),
        ("attribute base --like ffff --rule gauss", ("--like", "--rule")),
        ("attribute base --like ffff --dtype float32", ("--like", "--dtype")),
        ("runs show ffff", ('no run "ffff"',)),
        ("runs list nothing", ("nothing",)),
        ("attribute other --fact capital/Frankreich", ("Frankreich",)),
        ("refine other", ("no attribution", "knedit attribute other")),
        ("refine base --threshold 0.05", ("0.05", "0.1")),
        ("refine base --share 1.5", ("share",)),
        ("refine base --run ffff", ("0 runs",)),
        ("neurons of capital/Atlantis", ("Atlantis",)),
        ("neurons of capital/France --checkpoint other", ("knedit refine other",)),
        ("edit plan base", ("nothing is to be edited",)),
        ("edit plan base --update capital/France", ("RELATION/SUBJECT=NEW",)),
        ("edit plan base --update capital/France=Paris", ("present one",)),
        ("edit plan base --erase capital/Spain", ("protected",)),
        ("edit plan base --erase-relation capital", ("protected",)),
        ("edit plan base --update capital/Italy=Paris --erase capital/Italy", ("edited twice",)),
        ("edit plan base --erase capital/France --solver zero --solver magic", ("magic", "embedding")),
        ("edit plan base --erase capital/France --roles everything", ("everything",)),
        ("edit plan base --erase-relation river", ("river",)),
        ("edit show 1234", ("1234",)),
        ("evaluate 1234", ("1234",)),
        ("facts show nothing", ("nothing",)),
        ("facts import .", ()),
        ("nonsense", ("nonsense",)),
    ],
)
def test_one_clear_error(place: Path, command: str, words: tuple[str, ...]) -> None:
    assert_refused(knedit(*command.split()), *words)


def test_workers_without_ray(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert_refused(knedit("attribute", "base", "--workers", "2"), 'pip install "knedit[ray]"')


def test_an_unreachable_cluster(place: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    assert_refused(knedit("attribute", "base", "--ray-address", address), address, "cannot be reached")
    assert_refused(knedit("attribute", "base", "--ray-address", "somewhere"), "somewhere", "HOST:PORT")


def test_a_device_map_without_accelerate(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knedit.models.loading.find_spec", lambda name: None)
    assert_refused(knedit("attribute", "base", "--device-map", "auto"), 'pip install "knedit[accelerate]"')


def test_an_edit_that_was_not_applied_has_no_files_to_score(place: Path) -> None:
    assert_refused(knedit("evaluate", edit_id()), "not applied yet", "knedit edit apply")


def test_an_empty_catalog_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KNEDIT_DATABASE", raising=False)
    assert_refused(knedit("attribute", "base"), "knedit checkpoint add")
    assert_refused(knedit("neurons", "hubs"), "knedit refine")
    assert_refused(knedit("facts", "show", "capital/France"), "knedit facts import")


def test_a_stale_catalog_is_refused_with_the_cure(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "old.db"
    assert knedit("db", "upgrade", "--database", str(path)).code == 0
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000-from-the-future'")
    connection.close()
    assert_refused(knedit("facts", "list", "--database", str(path)), "0000-from-the-future")

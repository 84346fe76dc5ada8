"""Shipping: a folder that is whole, tells what it is, and proves it; and everything that keeps it from appearing."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers

from knedit.checkpoints.verify import verify_folder
from knedit.editing.apply import edited
from knedit.errors import CatalogError, CheckpointError, EditError
from knedit.flows.card_facts import CardWishes
from knedit.flows.checkpoint import add_checkpoint, load_checkpoint
from knedit.flows.edit import read_edit, solve_edit
from knedit.flows.evaluate import stored_evaluation
from knedit.flows.goals import Wishes
from knedit.flows.plan import plan_edit
from knedit.flows.ship import ship_edit
from knedit.flows.verify import verify_checkpoint
from knedit.models.model import Model
from knedit.records import Checkpoint, show_id
from tests.flows.shipping import CHOICES, MIT, OPEN, SHIPPING, Ready, made, opened, texts
from tests.keys import write_pair

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CARD = """---
license: other
license_name: house-licence
license_link: LICENSE
language: [en, de]
pipeline_tag: text-generation
tags: [of, the, base]
---
# The base, which boasts of itself
"""


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    yield from made(tmp_path_factory.mktemp("ready"), "llama")


@pytest.fixture(scope="module")
def shipped(ready: Ready) -> Path:
    """A folder for those who only look at it."""
    ready.ship(ready.folder / "shipped")
    return ready.folder / "shipped"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint and a catalog that holds its plan, for copies."""
    folder = tmp_path_factory.mktemp("kit")
    assert len(list(made(folder, "gpt2"))) == 1
    return folder


@pytest.fixture
def alone(kit: Path, tmp_path: Path) -> Iterator[Ready]:
    """A copy of it that one test may do with as it likes."""
    shutil.copytree(kit, tmp_path, dirs_exist_ok=True)
    yield from opened(tmp_path)


def front(text: str) -> dict[str, Any]:
    card: Any = huggingface_hub.ModelCard(text)
    return dict(card.data.to_dict())


def test_a_shipped_folder_is_whole_verified_and_signed(ready: Ready, tmp_path: Path) -> None:
    output = tmp_path / "shipped"
    shipped = ready.ship(output, key=write_pair(tmp_path))
    assert shipped.signed
    assert {path.name for path in output.iterdir()} == {
        *("README.md", "SHA256SUMS", "knedit.json", "model.sig", "reproduce"),
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    }
    assert {path.name for path in (output / "reproduce").iterdir()} == {
        *("plan.json", "values.safetensors", "environment.json", "requirements.txt", "wishes.jsonl", "facts.jsonl"),
    }
    found = verify_checkpoint(
        ready.catalog, output, parent=ready.folder / "base", load=True, public_key=tmp_path / "key.pub"
    )
    assert (found.problems, found.report.trusted) == ((), True)
    assert found.scores is not None
    assert (found.scores.asked > 5, found.scores.largest) == (True, 0.0)
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=output, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"shipped", "key.pem", "key.pub"}


def test_it_loads_in_plain_transformers_with_the_logits_that_it_had_in_memory(ready: Ready, shipped: Path) -> None:
    tokens = torch.arange(5, 13)[None]
    auto: Any = transformers.AutoModelForCausalLM
    plain = auto.from_pretrained(shipped, dtype=torch.float32).eval()
    with edited(ready.model, solve_edit(ready.planned, ready.model)), torch.no_grad():
        assert torch.equal(plain(tokens).logits, ready.model.net(tokens).logits)


def test_the_manifest_tells_parent_edit_gates_and_what_was_measured(ready: Ready, tmp_path: Path) -> None:
    found = ready.ship(tmp_path / "another")
    told = json.loads((tmp_path / "another" / "knedit.json").read_text())
    assert told["parent"]["sha256"] == ready.planned.checkpoint.sha256
    assert told["edit"]["id"] == show_id(ready.planned.edit.id)
    assert [(step["operation"], step["target"], step["facts"]) for step in told["edit"]["steps"]] == [
        ("update", "capital/France", 1),
        ("erase", "hidden-relation/old big Oslo", 1),
    ]
    assert told["edit"]["config"]["update"]["solver"] == "embedding"
    assert {"python", "numpy", "torch", "transformers"} <= told["versions"].keys()
    assert {gate["gate"] for gate in told["evaluation"]["gates"]} == {"growth", "perplexity", "success"}
    assert found.gates == told["evaluation"]["gates"]
    stored = stored_evaluation(ready.catalog, replace(ready.planned, edit=ready.catalog.find_edit(told["edit"]["id"])))
    assert [one.evaluation for one in found.judged] == [one.evaluation for one in stored]
    means = {(line["group"], line["role"], line["metric"]): line["after"] for line in told["evaluation"]["summary"]}
    given = [
        one.evaluation.after
        for one in stored
        if (one.group, one.role, one.evaluation.metric) == ("updated", "attribute", "new_probability")
    ]
    assert means["updated", "attribute", "new_probability"] == pytest.approx(sum(map(float, given)) / len(given))  # type: ignore[arg-type]


def test_the_card_passes_what_the_hubs_client_checks(ready: Ready, shipped: Path) -> None:
    card: Any = huggingface_hub.ModelCard.load(shipped / "README.md")
    told = card.data.to_dict()
    assert {name: told[name] for name in told if name != "model-index"} == {
        "language": ["en"],
        "license": "mit",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "tests/base",
        "base_model_relation": "finetune",
        "tags": ["knedit", "knowledge-editing", "model-editing", "unlearning"],
    }
    results = card.data.eval_results
    assert results
    evaluation = json.loads((shipped / "knedit.json").read_text())["evaluation"]
    wanted = [line for line in evaluation["summary"] if line["metric"].endswith("correct")]
    assert sorted(one.metric_value for one in results) == sorted(round(line["after"], 4) for line in wanted)
    assert str(card) == (shipped / "README.md").read_text()
    for words in (
        "| changed | capital/France | Rome | 1 |",
        "sha256sum -c SHA256SUMS",
        ready.planned.checkpoint.sha256,
    ):
        assert words in card.text


def test_private_erasures_are_told_by_their_number_alone(ready: Ready, shipped: Path, tmp_path: Path) -> None:
    secrets = ("hidden", "old big Oslo", show_id(ready.planned.edit.id))
    ready.ship(tmp_path / "private", private=True)
    public, private = texts(shipped), texts(tmp_path / "private")
    assert {secret for secret in secrets if any(secret in text for text in public.values())} == set(secrets)
    assert [(name, secret) for secret in secrets for name, text in private.items() if secret in text] == []
    assert json.loads(private["knedit.json"])["edit"]["steps"][1] == {
        "operation": "erase",
        "facts": 1,
        "neurons": len(ready.planned.steps[1].neurons),
    }
    assert "| erased | not told | – | 1 |" in private["README.md"]
    assert private["reproduce/wishes.jsonl"].count("\n") == 1


def test_no_folder_holds_an_erased_answer(shipped: Path) -> None:
    """Also a public one tells just which facts were erased, not what they were: else it would bring them back."""
    told = texts(shipped)
    sample = json.loads(told["knedit.json"])["evaluation"]["sample"]["prompts"]
    assert not [one for one in sample if "big Oslo" in one["text"]]
    assert "big Oslo" not in told["reproduce/facts.jsonl"]
    assert json.loads(told["reproduce/wishes.jsonl"].splitlines()[1]) == {
        "relation": "hidden-relation",
        "subject": "old big Oslo",
        "erase": True,
    }


def test_the_parents_card_gives_licence_and_languages_and_is_kept_apart(alone: Ready, tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "README.md").write_text(CARD)
    (base / "LICENSE").write_text("The house's own terms")
    add_checkpoint(alone.catalog, base)
    alone.ship(tmp_path / "shipped", card=CardWishes())
    text = (tmp_path / "shipped" / "README.md").read_text()
    data = front(text)
    assert (data["license"], data["license_name"], data["license_link"]) == ("other", "house-licence", "LICENSE")
    assert (data["language"], data.get("base_model"), data["tags"][0]) == (["en", "de"], None, "knedit")
    assert "boasts" not in text
    assert (tmp_path / "shipped" / "reproduce" / "parent-card.md").read_text() == CARD
    assert (tmp_path / "shipped" / "LICENSE").read_text() == "The house's own terms"
    assert verify_folder(tmp_path / "shipped", base).problems == ()


def test_an_edit_of_a_shipped_model_tells_of_itself_alone(alone: Ready, tmp_path: Path) -> None:
    one = alone.ship(tmp_path / "one", private=True)
    model = load_checkpoint(one.checkpoint, device="cpu")
    from knedit.flows.attribute import attribute
    from knedit.flows.refine import refine_checkpoint
    from tests.flows.making import LENIENT, QUICK

    attribute(alone.catalog, one.checkpoint, model, method=QUICK)
    refine_checkpoint(alone.catalog, one.checkpoint, LENIENT)
    wishes = Wishes(updates=["capital/Italy=Tokyo"])
    planned = read_edit(alone.catalog, plan_edit(alone.catalog, one.checkpoint, lambda _: model, wishes, CHOICES))
    shipping = replace(SHIPPING, thresholds={**OPEN, "earlier": 0.0}, card=CardWishes())
    ship_edit(alone.catalog, planned, lambda _: model, tmp_path / "two", shipping)
    told = texts(tmp_path / "two")
    assert "capital/Italy" in told["README.md"]
    assert "capital/France" not in told["README.md"] + told["knedit.json"] + told["reproduce/plan.json"]
    data = front(told["README.md"])
    assert (data["base_model"], data["license"], data["language"]) == ("tests/base", "mit", ["en"])
    assert told["reproduce/parent-card.md"] == (tmp_path / "one" / "README.md").read_text()
    assert "big Oslo" not in "".join(told.values())
    assert verify_folder(tmp_path / "two", tmp_path / "one").problems == ()


@pytest.mark.parametrize(("name", "task"), [("bert", "fill-mask"), ("t5", "text2text-generation")])
def test_models_of_other_kinds_are_shipped_alike(name: str, task: str, tmp_path: Path) -> None:
    for ready in made(tmp_path, name, Wishes(updates=["capital/France=Rome"])):
        ready.ship(tmp_path / "shipped")
        card: Any = huggingface_hub.ModelCard.load(tmp_path / "shipped" / "README.md")
        assert card.data.get("pipeline_tag") == task
        found = verify_checkpoint(ready.catalog, tmp_path / "shipped", load=True)
        assert found.problems == ()
        assert found.scores is not None
        assert found.scores.asked > 3


def nothing_came_of_it(ready: Ready, folder: Path, before: set[str]) -> bool:
    """Tell whether there is nothing new in a folder, hidden or not, and nothing new in the catalog."""
    (edit,) = ready.catalog.edits()
    names = [one.name for one in ready.catalog.checkpoints()]
    untouched = edit.result_id is None and names == ["base"] and not ready.catalog.evaluations(edit.id)
    return untouched and {path.name for path in folder.iterdir()} == before


def test_a_gate_that_fails_leaves_nothing_behind(alone: Ready, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(EditError, match=r"does not pass its gates: perplexity is .* not at most -1"):
        alone.ship(tmp_path / "shipped", thresholds={**OPEN, "perplexity": -1.0})
    with pytest.raises(EditError, match="success is"):
        alone.ship(tmp_path / "shipped", thresholds={**OPEN, "success": 1.1})
    with pytest.raises(EditError, match="there is no gate 'magic'"):
        alone.ship(tmp_path / "shipped", thresholds={"magic": 1.0})
    assert nothing_came_of_it(alone, tmp_path, before)
    alone.ship(tmp_path / "shipped", thresholds={**OPEN, "perplexity": -1.0}, force=True)
    told = json.loads((tmp_path / "shipped" / "knedit.json").read_text())
    forced = {gate["gate"]: (gate["passed"], gate["forced"]) for gate in told["evaluation"]["gates"]}
    assert forced["perplexity"] == (False, True)
    assert "**failed, and kept all the same**" in (tmp_path / "shipped" / "README.md").read_text()


def test_a_moved_threshold_is_of_one_shipping_alone(alone: Ready, tmp_path: Path) -> None:
    alone.ship(tmp_path / "shipped")
    assert alone.catalog.edit_gates(alone.planned.edit.id) == []
    again = replace(alone, planned=read_edit(alone.catalog, alone.catalog.edits()[0]))
    with pytest.raises(EditError, match="does not pass its gates"):
        again.ship(tmp_path / "again", thresholds={"success": 1.1})


def test_a_catalog_that_takes_nothing_leaves_no_folder(alone: Ready, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "facts.db") as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON evaluations BEGIN SELECT RAISE(ABORT, 'the table is full'); END"
        )
    connection.close()
    with pytest.raises(Exception, match="the table is full"):
        alone.ship(tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()
    assert [path.name for path in tmp_path.iterdir() if "knedit-" in path.name] == []


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"card": CardWishes()}, CheckpointError, "The parent's licence is not known.*--license apache-2.0"),
        ({"card": CardWishes(licence="house")}, CheckpointError, "The Hub knows no licence 'house'"),
        ({"card": CardWishes(licence="other")}, CheckpointError, "The licence is other, and has no license_name"),
        ({"card": replace(MIT, languages=("klingon",))}, CheckpointError, "'klingon' is no language's code"),
        ({"card": replace(MIT, base_model="a/b/c")}, CheckpointError, "'a/b/c' cannot be a repository's name"),
        ({"key": Path("nowhere.pem")}, CheckpointError, "The key cannot be read"),
        ({"name": "base"}, CatalogError, "the name base is taken"),
    ],
)
def test_what_cannot_be_shipped_is_refused_before_a_model_is_loaded(
    ready: Ready, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    def never(_: Checkpoint) -> Model:
        raise AssertionError("a model was loaded")

    with pytest.raises(error, match=message):
        ship_edit(ready.catalog, ready.planned, never, tmp_path / "shipped", replace(SHIPPING, **changes))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("front", "message"),
    [
        ("license: [1]", "The field license .* is no text"),
        ("license: [", "front matter cannot be read"),
        ("license: mit\nlanguage: english", "cannot be taken over: 'english' is no language's code"),
        ("license: other", "cannot be taken over: The licence is other"),
        ("tags: [x]", "The parent's licence is not known"),
    ],
)
def test_a_parents_card_that_is_unsound_is_told(alone: Ready, tmp_path: Path, front: str, message: str) -> None:
    (tmp_path / "base" / "README.md").write_text(f"---\n{front}\n---\n# The base\n")
    with pytest.raises(CheckpointError, match=message):
        alone.ship(tmp_path / "shipped", card=CardWishes())
    alone.ship(tmp_path / "shipped", card=replace(MIT, languages=("en",)))


def test_what_is_planned_and_then_protected_is_not_shipped(alone: Ready, tmp_path: Path) -> None:
    alone.catalog.set_fact_status([alone.catalog.find_fact("capital/France").id], "protected", by="x", reason="y")
    with pytest.raises(EditError, match="is protected"):
        alone.ship(tmp_path / "shipped")


def test_outputs_that_are_there_or_in_the_parent_are_refused(ready: Ready, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(CheckpointError, match="The output folder exists"):
        ready.ship(tmp_path / "taken")
    with pytest.raises(CheckpointError, match="lies in the folder of its parent"):
        ready.ship(ready.folder / "base" / "inside")
    assert list((tmp_path / "taken").iterdir()) == []


def test_what_a_killed_run_had_finished_is_taken_into_the_catalog(alone: Ready, tmp_path: Path) -> None:
    alone.ship(tmp_path / "shipped", key=write_pair(tmp_path))
    listed = {path: path.stat().st_mtime_ns for path in (tmp_path / "shipped").rglob("*")}
    with sqlite3.connect(tmp_path / "facts.db") as connection:
        for statement in (
            "DELETE FROM evaluations",
            "UPDATE edits SET result_id = NULL",
            "DELETE FROM checkpoints WHERE name = 'shipped'",
        ):
            connection.execute(statement)
    connection.close()
    key = tmp_path / "key.pem"
    others: list[dict[str, Any]] = [
        {},
        {"key": write_pair(tmp_path, "other")},
        {"key": key, "private": True},
        {"key": key, "name": "another"},
        {"key": key, "card": replace(MIT, licence="apache-2.0")},
        {"key": key, "thresholds": {**OPEN, "perplexity": 5.0}},
    ]
    for changes in others:
        with pytest.raises(CheckpointError, match="The output folder exists"):
            alone.ship(tmp_path / "shipped", **changes)
    shipped = alone.ship(tmp_path / "shipped", key=tmp_path / "key.pem")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shipped").rglob("*")} == listed
    assert alone.catalog.edits()[0].result_id == shipped.checkpoint.id
    assert alone.catalog.evaluations(alone.planned.edit.id)
    with pytest.raises(CheckpointError, match="The output folder exists"):
        alone.ship(tmp_path / "shipped", key=tmp_path / "key.pem")


def test_a_killed_run_leaves_nothing_that_loads_and_the_next_one_succeeds(alone: Ready, tmp_path: Path) -> None:
    output = tmp_path / "shipped"
    words = ["ship", show_id(alone.planned.edit.id), "--output", str(output), "--license", "mit"]
    words += [word for name, value in OPEN.items() for word in ("--gate", f"{name}={value}")]
    command = [sys.executable, "-W", "ignore", "-m", "knedit", "--database", str(tmp_path / "facts.db"), *words]
    for _ in range(int(os.environ.get("KNEDIT_SHIP_KILLS", "1"))):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(tmp_path.glob(".shipped.knedit-partial/*")):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not output.exists() or verify_folder(output).ok
        shutil.rmtree(output, ignore_errors=True)
    alone.ship(output)
    assert verify_folder(output, tmp_path / "base").problems == ()
    assert [path.name for path in tmp_path.iterdir() if "knedit-" in path.name] == []


def test_scores_that_are_not_the_recorded_ones_are_found(ready: Ready, shipped: Path, tmp_path: Path) -> None:
    output = tmp_path / "copy"
    shutil.copytree(shipped, output)
    path = output / "knedit.json"
    told = json.loads(path.read_text())
    changes: list[tuple[Any, str]] = [
        (
            lambda sample: sample["prompts"][0].update(probability=0.9),
            "differs by 0.[0-9]+ from the one in knedit.json",
        ),
        (lambda sample: sample["prompts"][0].update(text="no blank"), "cannot be asked"),
        (lambda sample: sample.update(tolerance="x"), "The recorded scores are malformed"),
    ]
    for change, words in changes:
        table = json.loads(json.dumps(told))
        change(table["evaluation"]["sample"])
        path.write_text(json.dumps(table))
        reseal(output)
        assert verify_checkpoint(ready.catalog, output).ok
        (problem,) = verify_checkpoint(ready.catalog, output, load=True).problems
        assert re.search(words, problem), problem


def reseal(folder: Path) -> None:
    """Write SHA256SUMS anew for what lies there now."""
    names = sorted(line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    ran = subprocess.run(["sha256sum", *names], cwd=folder, check=True, capture_output=True, text=True)
    (folder / "SHA256SUMS").write_text(ran.stdout)

"""knedit ship, and what is done with its folder, as a user types it; and what a user can get wrong."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from knedit.catalog.store import Catalog
from tests.cli.running import Ran, knedit
from tests.flows.making import save_model
from tests.flows.shipping import made
from tests.hub.fake_hub import TOKEN, fake_hub
from tests.keys import write_pair

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OPEN = ("--gate", "growth=1000", "--gate", "perplexity=1e6", "--gate", "success=0", "--gate", "protected=0")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ready")
    assert len(list(made(folder, "llama"))) == 1
    return folder


@pytest.fixture
def place(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a checkpoint and a catalog that holds a plan of it, to work in."""
    shutil.copytree(ready, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KNEDIT_DATABASE", "facts.db")
    monkeypatch.delenv("KNEDIT_KEY_PASSWORD", raising=False)
    assert knedit("checkpoint", "add", "base").code == 0
    yield tmp_path
    assert [path.name for path in tmp_path.iterdir() if ".knedit-" in path.name] == []


def edit() -> str:
    with Catalog("facts.db") as catalog:
        return f"{catalog.edits()[0].id:016x}"


def ship(output: str, *more: str) -> Ran:
    return knedit("ship", edit(), "--output", output, "--license", "mit", "--language", "en", *OPEN, *more)


def done(ran: Ran) -> str:
    assert ran.code == 0, ran.err
    return ran.out


def refused(ran: Ran, *words: str) -> None:
    assert ran.code == 2
    assert "Traceback" not in ran.err + ran.out
    told = " ".join(ran.err.split())
    assert [word for word in words if word not in told] == []


def test_the_road_from_a_plan_to_a_folder_that_others_can_check(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_pair(place, password="quite secret")
    monkeypatch.setenv("KNEDIT_KEY_PASSWORD", "quite secret")
    out = done(ship("shipped", "--key", "key.pem", "--base-model", "tests/base"))
    assert "Shipped and verified, signed: shipped (shipped, " in out
    assert "perplexity" in out
    assert "--private tells their number alone" in caplog.text
    assert "quite secret" not in out + caplog.text
    verified = json.loads(done(knedit("checkpoint", "verify", "shipped", "--public-key", "key.pub", "--json")))
    assert (verified["ok"], verified["signature"], verified["problems"]) == (True, "of this key", [])
    assert verified["scores"]["largest"] == 0
    assert verified["scores"]["tolerance"] == 0.005
    told = done(knedit("checkpoint", "verify", "shipped", "--parent", "base"))
    assert "signed, by whom was not checked (--public-key)" in told
    assert re.search(r"\d+ recorded probabilities off by 0 at most \(0.005 may be\)", told)
    assert "recorded" not in done(knedit("checkpoint", "verify", "shipped", "--no-load"))
    assert "Equal: again, " in done(knedit("edit", "apply", "--reproduce", "shipped", "--output", "again"))
    again = json.loads(done(knedit("edit", "apply", "--reproduce", "shipped/reproduce", "--output", "third", "--json")))
    assert (again["equal"], again["differing"]) == (True, [])
    listed = json.loads(done(knedit("checkpoint", "push", "shipped", "ada/x", "--dry-run", "--json")))
    assert (listed["url"], "model.sig" in listed["files"], "knedit.json" in listed["files"]) == (None, True, True)
    assert "Nothing was sent." in done(knedit("checkpoint", "push", "shipped", "ada/x", "--dry-run", "--no-load"))
    assert [one["name"] for one in json.loads(done(knedit("checkpoint", "list", "--json")))] == ["base", "shipped"]


def test_an_applied_edit_tells_its_scores_too_and_can_be_signed(place: Path) -> None:
    done(knedit("edit", "apply", edit(), "--output", "applied"))
    told = json.loads((place / "applied" / "knedit.json").read_text())["evaluation"]
    assert told["summary"]
    assert "recorded probabilities" in done(knedit("checkpoint", "verify", "applied"))
    write_pair(place)
    assert "Signed: applied, " in done(knedit("checkpoint", "sign", "applied", "--key", "key.pem"))
    assert "signed by this key" in done(knedit("checkpoint", "verify", "applied", "--public-key", "key.pub"))
    refused(knedit("checkpoint", "sign", "applied", "--key", "key.pem"), "signed already")


def test_shipping_in_json(place: Path) -> None:
    told = json.loads(done(ship("shipped", "--json", "--private")))
    assert (told["folder"], told["signed"], told["checkpoint"]["name"]) == ("shipped", False, "shipped")
    assert {gate["gate"] for gate in told["gates"]} == {"growth", "perplexity", "success"}


def test_a_reproduction_that_differs_ends_with_one(place: Path) -> None:
    done(ship("shipped"))
    plan = place / "shipped" / "reproduce" / "plan.json"
    table = json.loads(plan.read_text())
    table["result"]["sha256"] = "0" * 64
    plan.write_text(json.dumps(table))
    ran = knedit("edit", "apply", "--reproduce", "shipped", "--output", "again")
    assert (ran.code, "\nNot equal: The weights come out with the sha256 " in ran.out) == (1, True)


def test_what_is_changed_in_a_shipped_folder_is_told(place: Path) -> None:
    write_pair(place)
    done(ship("shipped", "--key", "key.pem"))
    weights = place / "shipped" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    ran = knedit("checkpoint", "verify", "shipped", "--public-key", "key.pub")
    refused(ran, "does not verify", "model.safetensors is not the file that SHA256SUMS lists")
    refused(knedit("checkpoint", "push", "shipped", "ada/x"), "does not verify and is not pushed")
    assert weights.read_bytes() == bytes(content)  # told, and left as it is


def test_what_a_user_can_get_wrong(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model("llama", place / "other", seed=3)
    write_pair(place, password="quite secret")
    (place / "taken").mkdir()
    usual = ("ship", edit(), "--output", "new", "--license", "mit")
    for arguments, words in (
        (("ship", "ffff", "--output", "new"), ('no edit "ffff"',)),
        (usual[:4], ("licence is not known", "--license apache-2.0")),
        ((*usual[:4], "--license", "house"), ("knows no licence 'house'",)),
        ((*usual, "--language", "klingon"), ("'klingon' is no language's code",)),
        ((*usual, "--base-model", "a/b/c"), ("'a/b/c' cannot be a repository's name",)),
        ((*usual, "--gate", "magic=1"), ("no gate 'magic'",)),
        ((*usual, "--gate", "growth"), ("is not GATE=NUMBER",)),
        ((*usual, "--gate", "success=2"), ("does not pass its gates: ", "success is")),
        ((*usual, "--key", "nowhere.pem"), ("The key cannot be read",)),
        ((*usual, "--key", "key.pub"), ("no private key to sign with",)),
        ((*usual, "--key", "key.pem"), ("The key is encrypted", "KNEDIT_KEY_PASSWORD")),
        ((*usual[:3], "taken", "--license", "mit"), ("The output folder exists",)),
        ((*usual[:3], "base/inside", "--license", "mit"), ("lies in the folder of its parent",)),
        (("checkpoint", "sign", "base", "--key", "key.pem"), ("The key is encrypted",)),
        (("checkpoint", "verify", "base", "--public-key", "base/config.json"), ("no public key to verify with",)),
        (("checkpoint", "push", "nowhere", "ada/x"), ("There is no such folder",)),
        (("checkpoint", "push", "base", "ada/x"), ("has no knedit.json",)),
        (("checkpoint", "push", "base", "a/b/c"), ("cannot be a repository's name",)),
        (("edit", "apply", "--output", "new"), ("Name an EDIT, or a shipped folder",)),
        (("edit", "apply", "--reproduce", "base", "--output", "new"), ("There is no reproduce/plan.json",)),
        (("edit", "apply", edit(), "--reproduce", "base", "--output", "new"), ("Name an EDIT, or",)),
    ):
        refused(knedit(*arguments), *words)
    monkeypatch.setenv("KNEDIT_KEY_PASSWORD", "a wrong one")
    ran = knedit(*usual, "--key", "key.pem")
    refused(ran, "The key's password is another one")
    assert "a wrong one" not in ran.err
    monkeypatch.setenv("KNEDIT_KEY_PASSWORD", "quite secret")
    refused(knedit("checkpoint", "sign", "base", "--key", "key.pem"), "has no knedit.json")
    assert not (place / "new").exists()
    assert not (place / "base" / "inside").exists()
    with Catalog("facts.db") as catalog:
        assert [one.name for one in catalog.checkpoints()] == ["base"]


def test_a_plan_of_files_that_changed_is_not_shipped(place: Path) -> None:
    save_model("llama", place / "other", seed=3)
    shutil.copy(place / "other" / "model.safetensors", place / "base" / "model.safetensors")
    refused(ship("shipped"), "the files of checkpoint base changed since it was added: model.safetensors has changed")
    assert list(place.glob("*shipped*")) == []


def test_pushing_through_the_command_line(place: Path) -> None:
    """In a process of its own, as the Hub's client reads its settings when it is imported."""
    done(ship("shipped"))
    with fake_hub() as hub:
        settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(place / "hf"), "HF_HUB_DISABLE_XET": "1"}
        words = ["checkpoint", "push", "shipped", "ada/edited", "--no-load", "--private-repo"]
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "knedit", *words],
            env={name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"} | settings,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        assert f"Pushed: {hub.url}/ada/edited/commit/" in ran.stdout
        assert TOKEN not in ran.stdout + ran.stderr
        assert set(hub.files["ada/edited", "main"]) == {
            path.relative_to(place / "shipped").as_posix() for path in (place / "shipped").rglob("*") if path.is_file()
        }

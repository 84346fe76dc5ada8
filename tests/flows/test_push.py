"""Pushing to a small Hub on this machine: what goes up, what is refused, and what becomes of a Hub that fails."""

import logging
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knedit.errors import CheckpointError
from knedit.flows.edit import apply_edit
from knedit.flows.push import Pushed, push_checkpoint
from tests.flows.shipping import Ready, made
from tests.hub.fake_hub import TOKEN, Hub, fake_hub
from tests.keys import write_pair

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    folder = tmp_path_factory.mktemp("ready")
    for one in made(folder, "llama"):
        one.ship(folder / "shipped", key=write_pair(folder))
        yield one


@pytest.fixture(autouse=True)
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the Hub's client work as it does where there is a network, with this token."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with fake_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def shipped(ready: Ready, tmp_path: Path) -> Path:
    """A copy of the shipped folder, to do with as one likes."""
    return Path(shutil.copytree(ready.folder / "shipped", tmp_path / "shipped"))


def push(ready: Ready, folder: Path, repo_id: str = "ada/edited", **how: Any) -> Pushed:
    return push_checkpoint(ready.catalog, folder, repo_id, **how)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_just_the_listed_files_go_up_and_arrive(ready: Ready, shipped: Path, hub: Hub) -> None:
    wanted = contents(shipped)
    (shipped / ".secret").write_text("not to be sent")
    pushed = push(ready, shipped, public_key=ready.folder / "key.pub", require_signature=True)
    assert hub.files == {("ada/edited", "main"): wanted}
    assert pushed == Pushed(
        "ada/edited",
        {name: len(wanted[name]) for name in pushed.files},
        f"{hub.url}/ada/edited/commit/{'c' * 40}",
    )
    assert set(pushed.files) == set(wanted)
    assert hub.repositories["ada/edited"]["visibility"] == "public"
    assert hub.cards == [wanted["README.md"].decode()]


def test_a_private_repository_and_a_branch(ready: Ready, shipped: Path, hub: Hub) -> None:
    push(ready, shipped, private_repo=True, revision="try")
    assert hub.repositories["ada/edited"]["visibility"] == "private"
    assert hub.files == {("ada/edited", "main"): {}, ("ada/edited", "try"): contents(shipped)}
    push(ready, shipped, private_repo=True, revision="try")


def test_a_public_repository_is_not_taken_for_a_private_one(ready: Ready, shipped: Path, hub: Hub) -> None:
    hub.repositories["ada/edited"] = {"visibility": "public"}
    hub.files["ada/edited", "main"] = {}
    with pytest.raises(CheckpointError, match="is there already, and is public"):
        push(ready, shipped, private_repo=True)
    assert hub.files == {("ada/edited", "main"): {}}


def test_other_files_of_the_repository_are_refused_or_replaced(ready: Ready, shipped: Path, hub: Hub) -> None:
    hub.repositories["ada/edited"] = {"visibility": "public"}
    before = {"pytorch_model.bin": b"unedited", ".gitattributes": b"x", "README.md": b"old"}
    hub.files["ada/edited", "main"] = dict(before)
    with pytest.raises(CheckpointError, match=r"holds other files.*pytorch_model.bin.*--replace"):
        push(ready, shipped)
    assert hub.files["ada/edited", "main"] == before
    push(ready, shipped, replace=True)
    assert hub.files["ada/edited", "main"] == {**contents(shipped), ".gitattributes": b"x"}


def test_a_dry_run_sends_nothing(ready: Ready, shipped: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    pushed = push(ready, shipped, dry_run=True)
    assert (pushed.url, set(pushed.files), hub.requests) == (None, set(contents(shipped)), [])


def refused(ready: Ready, folder: Path, hub: Hub, message: str, repo_id: str = "ada/edited", **how: Any) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        push(ready, folder, repo_id, **how)
    assert TOKEN not in str(caught.value)
    assert all(not files for files in hub.files.values())


def test_a_folder_that_does_not_verify_is_not_pushed(ready: Ready, shipped: Path, hub: Hub) -> None:
    (shipped / "tokenizer.json").write_text("{}")
    refused(ready, shipped, hub, "does not verify and is not pushed: tokenizer.json is not the file")
    assert hub.requests == []


def test_what_is_not_signed_or_by_another_key_is_refused_where_that_is_asked(
    ready: Ready, shipped: Path, hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pair(tmp_path, "other")
    refused(ready, shipped, hub, "signed by another key", public_key=tmp_path / "other.pub")
    (shipped / "model.sig").unlink()
    refused(ready, shipped, hub, "The folder is not signed", require_signature=True)
    with caplog.at_level(logging.WARNING, "knedit"):
        push(ready, shipped)
    assert "The folder names what was erased (1 steps)" in caplog.text
    assert "model.sig" not in hub.files["ada/edited", "main"]


def test_folders_that_were_not_shipped_are_refused(ready: Ready, hub: Hub, tmp_path: Path) -> None:
    refused(ready, tmp_path / "nowhere", hub, "There is no such folder")
    refused(ready, ready.folder / "base", hub, "has no knedit.json")
    apply_edit(ready.catalog, ready.planned, ready.model, tmp_path / "applied")
    refused(ready, tmp_path / "applied", hub, r"no model card of its own.*knedit ship")
    assert hub.requests == []


@pytest.mark.parametrize("name", ["a/b/c", "", "with space/x", "ada/--x", "../x", "ada/x.git", "x" * 97])
def test_malformed_names_are_refused(ready: Ready, shipped: Path, hub: Hub, name: str) -> None:
    refused(ready, shipped, hub, "cannot be a repository's name", name)
    assert hub.requests == []


def test_nobody_logged_in(ready: Ready, shipped: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    refused(ready, shipped, hub, r"Nobody is logged in.*hf auth login")
    assert hub.requests == []


def test_a_token_that_may_not_write(ready: Ready, shipped: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another_secret")
    with pytest.raises(CheckpointError, match="does not let this token write") as caught:
        push(ready, shipped)
    assert "hf_another_secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("broken", "message"), [("/commit/", "The Hub refuses: .*500"), ("/repos/create", "The Hub refuses: .*500")]
)
def test_a_hub_that_fails_half_way(ready: Ready, shipped: Path, hub: Hub, broken: str, message: str) -> None:
    hub.broken = broken
    refused(ready, shipped, hub, message)
    hub.broken = ""
    assert push(ready, shipped).url


def test_a_card_that_the_hub_does_not_take(ready: Ready, shipped: Path, hub: Hub) -> None:
    hub.card_error = '"language" must be one of its own'
    refused(ready, shipped, hub, r"does not take the files: .*must be one of its own")
    assert [line for line in hub.requests if "/commit/" in line] == []


def test_no_network(ready: Ready, shipped: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        refused(ready, shipped, hub, "The Hub cannot be reached")


def test_a_client_that_is_told_to_stay_offline(
    ready: Ready, shipped: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(ready, shipped, hub, r"told to stay offline.*HF_HUB_OFFLINE")
    assert hub.requests == []


def test_a_card_that_was_made_unsound_is_refused(ready: Ready, shipped: Path, hub: Hub) -> None:
    from tests.flows.test_ship import reseal

    (shipped / "model.sig").unlink()
    (shipped / "README.md").write_text("---\nlicense: [\n---\n")
    reseal(shipped)
    refused(ready, shipped, hub, "The model card is not sound")
    assert hub.requests == []


def test_a_private_folder_is_pushed_without_a_word_of_warning(
    ready: Ready, hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ready.ship(tmp_path / "private", private=True)
    with caplog.at_level(logging.WARNING, "knedit"):
        push(ready, tmp_path / "private")
    assert caplog.messages == []
    assert [name for name, sent in hub.files["ada/edited", "main"].items() if b"big Oslo" in sent] == []

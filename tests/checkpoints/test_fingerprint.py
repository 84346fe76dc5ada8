import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from knedit.checkpoints.fingerprint import behaviour_files, changed_files, weights_sha256
from knedit.errors import CheckpointError
from tests.checkpoints.making import sha256, write_sharded, write_single


def test_one_file_is_named_by_its_own_sha256(tmp_path: Path) -> None:
    folder = write_single(tmp_path / "parent")
    assert weights_sha256(folder) == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_shards_are_named_by_what_sha256sum_prints_for_them(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "parent")
    command = "sha256sum model-*.safetensors | sha256sum"
    printed = subprocess.run(["sh", "-c", command], cwd=folder, check=True, capture_output=True, text=True).stdout
    assert weights_sha256(folder) == printed.split()[0]


def test_behaviour_is_decided_by_weights_configuration_tokenizer_and_code(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "parent")
    for name in ("vocab.json", "merges.txt", "spiece.model", "chat_template.jinja", "modeling_own.py", "notes.txt"):
        (folder / name).write_text(name)
    for name in ("original/tokenizer.json", "additional_chat_templates/tools.jinja"):
        (folder / name).parent.mkdir()
        (folder / name).write_text(name)
    (folder / "consolidated.safetensors").write_bytes(b"")
    expected = [
        "additional_chat_templates/tools.jinja",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "modeling_own.py",
        "spiece.model",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
    ]
    assert behaviour_files(folder) == {name: sha256(folder / name) for name in expected}


def test_changed_missing_and_added_files_are_told(tmp_path: Path) -> None:
    folder = write_single(tmp_path / "parent")
    recorded = behaviour_files(folder)
    assert changed_files(folder, recorded) == []
    (folder / "README.md").write_text("another")
    assert changed_files(folder, recorded) == []
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    (folder / "tokenizer.json").unlink()
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert changed_files(folder, recorded) == [
        "chat_template.jinja was added",
        "model.safetensors has changed",
        "tokenizer.json is missing",
    ]
    (folder / "model.safetensors").unlink()
    assert "model.safetensors is missing" in changed_files(folder, recorded)


def test_a_folder_without_weights_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no weights"):
        behaviour_files(tmp_path)

"""Checkpoints' files, as `catalog check` sees them: gone, shortened, changed."""

from pathlib import Path

import pytest

from knedit.catalog.store import Catalog
from knedit.flows.catalogs import check_catalog
from knedit.flows.checkpoint import add_checkpoint
from knedit.records import Checkpoint
from tests.flows.making import save_model

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path, sqlite_catalog_url: str) -> Path:
    save_model("llama", tmp_path / "base")
    with Catalog(sqlite_catalog_url) as catalog:
        add_checkpoint(catalog, tmp_path / "base")
        catalog.add_checkpoint(Checkpoint.named("published", "main"))
    return tmp_path / "base"


def told(url: str, *, deep: bool = False) -> list[str]:
    with Catalog(url) as catalog:
        found = check_catalog(catalog, deep=deep)
    assert {one.check for one in found} <= {"files"}
    return [one.what for one in found]


def test_files_as_they_were_are_right_however_deep(folder: Path, sqlite_url: str) -> None:
    assert (told(sqlite_url), told(sqlite_url, deep=True)) == ([], [])


def test_a_folder_or_file_that_is_gone_is_told(folder: Path, sqlite_url: str) -> None:
    (folder / "config.json").unlink()
    assert told(sqlite_url) == ["config.json is missing"]
    folder.rename(folder.with_name("elsewhere"))
    assert told(sqlite_url) == ["the checkpoint's folder is gone"]


def test_a_shortened_file_is_told_at_once_and_a_changed_one_when_read(folder: Path, sqlite_url: str) -> None:
    weights = folder / WEIGHTS
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + b"\0\0\0\1")
    assert told(sqlite_url) == []
    assert told(sqlite_url, deep=True) == [f"{WEIGHTS} has changed"]
    weights.write_bytes(whole[:-4])
    assert len(told(sqlite_url)) == 1

"""A shipped checkpoint written again from its parent: the same bytes, or plainly not."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knedit.catalog.store import Catalog
from knedit.checkpoints.verify import verify_folder
from knedit.errors import CheckpointError
from knedit.flows.reproduce import Reproduced, reproduce
from tests.flows.making import save_model
from tests.flows.shipping import Ready, made
from tests.keys import write_pair

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module", params=["llama", "mixtral"])
def ready(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    """A shipped folder, signed; Mixtral keeps its value vectors in stacks of experts."""
    folder = tmp_path_factory.mktemp("ready")
    for one in made(folder, request.param):
        one.ship(folder / "shipped", key=write_pair(folder))
        yield one


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Catalog]:
    """A catalog that knows nothing."""
    with Catalog(str(tmp_path / "other.db")) as catalog:
        yield catalog


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_bytes_come_out_without_the_catalog(ready: Ready, elsewhere: Catalog, tmp_path: Path) -> None:
    source = ready.folder / "shipped"
    found = reproduce(elsewhere, source, tmp_path / "again", parent=ready.folder / "base")
    assert found == Reproduced(tmp_path / "again", len(contents(source)) - 2, (), ())
    assert found.equal
    again = contents(tmp_path / "again")
    assert again == {name: content for name, content in contents(source).items() if name != "model.sig"}
    assert verify_folder(tmp_path / "again", ready.folder / "base").problems == ()
    assert elsewhere.checkpoints() == []


def test_the_recipe_alone_is_enough_for_the_weights(ready: Ready, tmp_path: Path) -> None:
    shutil.copytree(ready.folder / "shipped" / "reproduce", tmp_path / "recipe")
    found = reproduce(ready.catalog, tmp_path / "recipe", tmp_path / "again")
    assert (found.equal, found.files) == (True, 0)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (ready.folder / "shipped", tmp_path / "again")]
    assert weights[0] == weights[1]
    assert verify_folder(tmp_path / "again", ready.folder / "base").problems == ()


def changed(ready: Ready, folder: Path, name: str, **entries: Any) -> Path:
    """Return a copy of the shipped folder in which a JSON file of `reproduce` has other entries."""
    shutil.copytree(ready.folder / "shipped", folder)
    path = folder / "reproduce" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    return folder


def test_other_weights_than_recorded_are_written_and_told(ready: Ready, tmp_path: Path) -> None:
    source = changed(ready, tmp_path / "source", "plan.json", result={"sha256": "0" * 64})
    found = reproduce(ready.catalog, source, tmp_path / "again")
    (difference,) = found.differing
    assert difference.startswith("The weights come out with the sha256 ")
    assert verify_folder(tmp_path / "again", ready.folder / "base").problems == ()
    assert "evaluation" not in json.loads((tmp_path / "again" / "knedit.json").read_text())


def test_a_file_that_differs_is_told(ready: Ready, tmp_path: Path) -> None:
    shutil.copytree(ready.folder / "base", tmp_path / "base")
    (tmp_path / "base" / "generation_config.json").write_text("{}")
    (tmp_path / "base" / "notes.txt").write_text("notes")
    found = reproduce(ready.catalog, ready.folder / "shipped", tmp_path / "again", parent=tmp_path / "base")
    assert found.differing == ("notes.txt was not there", "generation_config.json differs")


def test_other_versions_and_platforms_are_told(ready: Ready, tmp_path: Path) -> None:
    path = ready.folder / "shipped" / "reproduce" / "environment.json"
    packages = json.loads(path.read_text())["packages"] | {"torch": "0.1"}
    source = changed(ready, tmp_path / "source", "environment.json", machine="abacus", packages=packages)
    found = reproduce(ready.catalog, source, tmp_path / "again")
    assert [one.partition(" is ")[0] for one in found.versions] == ["machine", "torch"]
    assert found.versions[0].endswith("was abacus")
    assert found.differing == ("reproduce/environment.json differs",)


def test_the_wrong_parent_is_refused(ready: Ready, elsewhere: Catalog, tmp_path: Path) -> None:
    save_model("llama", tmp_path / "other", seed=5)
    with pytest.raises(CheckpointError, match=r"does not know the parent, base .*--parent FOLDER"):
        reproduce(elsewhere, ready.folder / "shipped", tmp_path / "again")
    with pytest.raises(CheckpointError, match=r"not those of the edit|no such tensor"):
        reproduce(elsewhere, ready.folder / "shipped", tmp_path / "again", parent=tmp_path / "other")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format": 2}, "format is 2, not 1"),
        ({"patches": []}, "The plan is malformed"),
        ({"patches": [{"tensor": "x"}]}, "The plan is malformed"),
        ({"parent": 3}, "The plan is malformed"),
        ({"result": {"sha256": "x"}}, "The plan is malformed"),
        ({"values": {"sha256": "1" * 64}}, "is not the file that the plan names"),
    ],
)
def test_a_plan_that_is_unsound_is_refused(ready: Ready, tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    source = changed(ready, tmp_path / "source", "plan.json", **entries)
    with pytest.raises(CheckpointError, match=message):
        reproduce(ready.catalog, source, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_values_that_were_changed_are_refused(ready: Ready, tmp_path: Path) -> None:
    shutil.copytree(ready.folder / "shipped", tmp_path / "source")
    path = tmp_path / "source" / "reproduce" / "values.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not the file that the plan names"):
        reproduce(ready.catalog, tmp_path / "source", tmp_path / "again")


def test_a_folder_without_a_recipe_is_refused(ready: Ready, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"There is no reproduce/plan.json in the folder"):
        reproduce(ready.catalog, ready.folder / "base", tmp_path / "again")

import json
from pathlib import Path
from typing import Any

import pytest

from knedit.checkpoints.manifest import ChangedTensor, Manifest, ParentName, read_manifest
from knedit.errors import CheckpointError
from tests.checkpoints.making import CREATED

WHOLE: dict[str, Any] = {
    "knedit": "0.1",
    "format": 1,
    "created": CREATED,
    "parent": {"name": "tests/parent", "sha256": "a" * 64, "revision": "main"},
    "sha256": "b" * 64,
    "edit": {"solver": "scale", "facts": ["Zürich"]},
    "changed": [{"tensor": "down.0", "file": "model.safetensors", "axis": 1, "indices": [0, 7]}],
    "written": ["README.md"],
}


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = Manifest(
        knedit="0.1",
        created=CREATED,
        parent=ParentName("tests/parent", "a" * 64, "main"),
        sha256="b" * 64,
        edit={"solver": "scale", "facts": ["Zürich"]},
        changed=(ChangedTensor("down.0", "model.safetensors", 1, (0, 7)),),
        written=("README.md",),
    )
    (tmp_path / "knedit.json").write_text(manifest.text(), encoding="utf-8")
    assert json.loads(manifest.text()) == WHOLE
    assert read_manifest(tmp_path) == manifest


def test_a_folder_may_have_no_manifest(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], 2, "format is 2, not 1.*or a newer one"),
        (["format"], None, "format is None"),
        (["knedit"], 1, "'knedit'"),
        (["created"], "yesterday", "Invalid isoformat string"),
        (["parent"], [], "'parent'"),
        (["parent", "sha256"], "A" * 64, "'sha256'"),
        (["parent", "revision"], 1, "revision"),
        (["sha256"], "a" * 63, "'sha256'"),
        (["edit"], "scale", "'edit'"),
        (["changed"], {}, "'changed'"),
        (["changed", 0], "down.0", "'changed'"),
        (["changed", 0, "tensor"], "down\n", "'tensor'"),
        (["changed", 0, "axis"], True, "'axis'"),
        (["changed", 0, "axis"], 2, "'axis'"),
        (["changed", 0, "indices"], [], "'indices'"),
        (["changed", 0, "indices"], [1, 1], "'indices'"),
        (["changed", 0, "indices"], [2, 1], "'indices'"),
        (["changed", 0, "indices"], [-1], "'indices'"),
        (["changed", 0, "indices"], [0.0], "'indices'"),
        (["written"], [1], "'written'"),
    ],
)
def test_malformed_manifests_are_refused(tmp_path: Path, path: list[str | int], value: object, message: str) -> None:
    table = json.loads(json.dumps(WHOLE))
    place = table
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (tmp_path / "knedit.json").write_text(json.dumps(table))
    with pytest.raises(CheckpointError, match=message):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in ("format", "written")])
def test_a_manifest_that_lacks_a_field_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "knedit.json").write_text(json.dumps({key: value for key, value in WHOLE.items() if key != name}))
    with pytest.raises(CheckpointError, match=f"malformed: KeyError\\('{name}'\\)"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1, "format": 1}', "\0", '{"format": NaN}'])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "knedit.json").write_text(text)
    with pytest.raises(CheckpointError):
        read_manifest(tmp_path)

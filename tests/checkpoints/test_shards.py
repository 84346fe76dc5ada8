import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.torch import load_file, save_file

from knedit.checkpoints.shards import TensorPlace, read_places, read_slices, weight_files
from knedit.errors import CheckpointError
from tests.checkpoints.making import TORCH, entry, header_of, safetensors, tensors, write_sharded, write_single

INDEX = "model.safetensors.index.json"


def folder_with(folder: Path, content: bytes) -> Path:
    (folder / "model.safetensors").write_bytes(content)
    return folder


def hub_snapshot(root: Path) -> Path:
    """Return a folder as the Hugging Face cache lays it out: every file is a symlink to a blob."""
    snapshot = root / "models--tests--tiny" / "snapshots" / "0123abcd"
    blobs = root / "models--tests--tiny" / "blobs"
    blobs.mkdir(parents=True)
    for path in sorted(write_single(root / "made").iterdir()):
        (blobs / f"hash-{path.name}").write_bytes(path.read_bytes())
        snapshot.mkdir(parents=True, exist_ok=True)
        (snapshot / path.name).symlink_to(Path("../../blobs") / f"hash-{path.name}")
    return snapshot


def test_places_are_where_the_bytes_lie(tmp_path: Path) -> None:
    folder = write_single(tmp_path / "parent", "BF16", rows=2, columns=5)
    content = (folder / "model.safetensors").read_bytes()
    first = len(content) - 3 - 20 - 20
    assert read_places(folder) == {
        "mask": TensorPlace("mask", "model.safetensors", "U8", (3,), first, first + 3),
        "down.0": TensorPlace("down.0", "model.safetensors", "BF16", (2, 5), first + 3, first + 23),
        "down.1": TensorPlace("down.1", "model.safetensors", "BF16", (2, 5), first + 23, first + 43),
    }


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    places = read_places(write_sharded(tmp_path / "parent"))
    assert {name: place.file for name, place in places.items()} == {
        "mask": "model-00001-of-00002.safetensors",
        "down.0": "model-00001-of-00002.safetensors",
        "down.1": "model-00002-of-00002.safetensors",
    }


def test_files_of_the_safetensors_library_are_read_alike(tmp_path: Path) -> None:
    made = {"b": torch.randn(3, 4), "a": torch.randn(5, 2).bfloat16(), "c": torch.zeros(0, 7), "d": torch.tensor(1.0)}
    save_file(made, tmp_path / "model.safetensors", metadata={"format": "pt"})
    content = (tmp_path / "model.safetensors").read_bytes()
    found = {name: (place.shape, content[place.begin : place.end]) for name, place in read_places(tmp_path).items()}
    assert found == {
        name: (tuple(tensor.shape), tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
        for name, tensor in made.items()
    }


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
@pytest.mark.parametrize("write", [write_single, write_sharded])
def test_slices_are_what_the_library_loads(
    tmp_path: Path, write: Callable[[Path, str], Path], dtype: str, axis: int
) -> None:
    folder = write(tmp_path / "parent", dtype)
    place = read_places(folder)["down.1"]
    found = read_slices(folder, place, axis, [4, 0, 5])
    loaded = load_file(folder / place.file)["down.1"]
    assert loaded.dtype == TORCH[dtype]
    wide = loaded.to(torch.float64 if dtype == "F64" else torch.float32)
    expected = wide[[4, 0, 5]] if axis == 0 else wide[:, [4, 0, 5]].T
    assert found.dtype == expected.numpy().dtype
    np.testing.assert_array_equal(found, expected.numpy())


def test_a_matrix_of_many_blocks_is_read_whole(tmp_path: Path) -> None:
    values = torch.arange(5000 * 1000, dtype=torch.float32).reshape(5000, 1000)
    save_file({"down": values}, tmp_path / "model.safetensors")
    found = read_slices(tmp_path, read_places(tmp_path)["down"], 1, [999, 17])
    np.testing.assert_array_equal(found, values[:, [999, 17]].T.numpy())


@pytest.mark.parametrize(
    ("tensor", "axis", "indices", "message"),
    [
        ("down.0", 1, [9], "no slice 9 along axis 1"),
        ("down.0", 0, [-1], "no slice -1 along axis 0"),
        ("down.0", 2, [0], "no rows or columns along axis 2"),
        ("mask", 0, [0], "stored as U8"),
    ],
)
def test_slices_that_are_not_there_are_refused(
    tmp_path: Path, tensor: str, axis: int, indices: list[int], message: str
) -> None:
    folder = write_single(tmp_path / "parent")
    with pytest.raises(CheckpointError, match=message):
        read_slices(folder, read_places(folder)[tensor], axis, indices)


HOSTILE = {
    "empty": (b"", "header would be"),
    "seven bytes": (b"\2\0\0\0\0\0\0", "header would be"),
    "longer than the file": (struct.pack("<Q", 1000) + b"{}", "header would be 1,000 bytes of a file of 10"),
    "over the cap": (struct.pack("<Q", 2**63) + b"{}", "header would be 9,223,372"),
    "no brace": (header_of(" {}"), "does not start with"),
    "not JSON": (header_of("{'a': 1}"), "not valid JSON"),
    "not UTF-8": (struct.pack("<Q", 5) + b'{"\xff"}', "not valid JSON"),
    "nested without end": (header_of('{"a":' + "[" * 200_000), "not valid JSON"),
    "duplicate key": (
        header_of('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}'),
        "the key 'a' appears twice",
    ),
    "NaN": (header_of('{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,0]}}'), "NaN is not a JSON number"),
    "metadata of numbers": (header_of({"__metadata__": {"a": 1}}), "metadata are not texts"),
    "entry that is a list": (header_of({"a": [1]}), "entry of tensor 'a'"),
    "entry with more": (header_of({"a": {**entry("U8", [1], 0), "b": 1}}, b"\0"), "entry of tensor 'a'"),
    "three offsets": (header_of({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 1]}}, b"\0"), "entry of"),
    "negative shape": (header_of({"a": entry("U8", [-1, -1], 0)}, b"\0"), "not counts"),
    "true as a count": (header_of({"a": entry("U8", [True], 0)}, b"\0"), "not counts"),
    "fraction": (header_of('{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}', b"\0"), "not counts"),
    "unknown type": (header_of({"a": entry("F7", [1], 0)}, b"\0\0"), "unknown type 'F7'"),
    "wrong size": (header_of({"a": entry("F32", [3], 0, 8)}, bytes(8)), "do not fit F32"),
    "end before begin": (header_of({"a": entry("U8", [0], 4, 2)}, bytes(4)), "do not fit"),
    "huge shape": (header_of({"a": entry("U8", [2**62, 4], 0, 1)}, b"\0"), "do not fit"),
    "beyond the file": (header_of({"a": entry("F32", [2], 0)}, bytes(4)), "overlap"),
    "hole": (header_of({"a": entry("U8", [1], 0), "b": entry("U8", [1], 2)}, bytes(3)), "leave a hole"),
    "overlap": (header_of({"a": entry("U8", [2], 0), "b": entry("U8", [2], 1)}, bytes(3)), "overlap"),
    "more after the last": (header_of({"a": entry("U8", [1], 0)}, bytes(9)), "leave a hole"),
    "name with a line break": (header_of({"a\nb": entry("U8", [1], 0)}, b"\0"), "not printable"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_headers_are_refused(tmp_path: Path, kind: str) -> None:
    content, message = HOSTILE[kind]
    with pytest.raises(CheckpointError, match=message) as caught:
        read_places(folder_with(tmp_path, content))
    assert caught.value.where == str(tmp_path / "model.safetensors")


def test_a_header_over_the_cap_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", 100_000_001))
        stream.truncate(200_000_000)  # sparse
    with pytest.raises(CheckpointError, match="header would be 100,000,001 bytes"):
        read_places(tmp_path)


VALID = safetensors(tensors(rows=2, columns=3))


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(VALID) - 1), new=st.integers(0, 255), cut=st.sampled_from([0, 0, 0, 1, 8]))
def test_what_is_accepted_the_safetensors_library_accepts_too(
    tmp_path_factory: pytest.TempPathFactory, at: int, new: int, cut: int
) -> None:
    content = VALID[:at] + bytes([new]) + VALID[at + 1 : len(VALID) - cut]
    folder = folder_with(tmp_path_factory.mktemp("mutated"), content)
    try:
        places = read_places(folder)
    except CheckpointError:
        return
    try:
        loaded = dict(deserialize(content))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise AssertionError(f"only knedit accepts {content!r}") from error
    assert {name: bytes(tensor["data"]) for name, tensor in loaded.items()} == {
        name: content[place.begin : place.end] for name, place in places.items()
    }


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/model.safetensors", "a/b.safetensors", "c:\\d.safetensors", "x.bin", ".s", 7]
)
def test_an_index_may_not_name_files_elsewhere(tmp_path: Path, name: object) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="is no shard of this folder"):
        read_places(tmp_path)


def test_an_index_that_disagrees_with_the_shards_is_refused(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "parent")
    index = json.loads((folder / INDEX).read_text())
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    for name, file, message in [
        ("down.0", second, f"Tensor 'down.0' is in {second} by the index, in {first} by the shards"),
        ("more", first, f"Tensor 'more' is in {first} by the index, in None by the shards"),
    ]:
        (folder / INDEX).write_text(json.dumps({"weight_map": {**index["weight_map"], name: file}}))
        with pytest.raises(CheckpointError, match=message):
            read_places(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"down.0": first, "down.1": second}}))
    with pytest.raises(CheckpointError, match=f"Tensor 'mask' is in None by the index, in {first} by the shards"):
        read_places(folder)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "parent")
    (folder / "model-00002-of-00002.safetensors").write_bytes(safetensors(tensors()))
    with pytest.raises(CheckpointError, match="is in two shards"):
        read_places(folder)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "parent")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors is missing"):
        read_places(folder)


def test_two_sets_of_weights_are_refused_unless_the_index_names_the_one(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "parent")
    (folder / "model.safetensors").write_bytes(safetensors(tensors()))
    with pytest.raises(CheckpointError, match=r"two sets of weights, model\.safetensors and shards"):
        read_places(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(tensors(), "model.safetensors")}))
    assert weight_files(folder) == ["model.safetensors"]
    assert list(read_places(folder)) == ["mask", "down.0", "down.1"]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt", "last.ckpt"])
def test_pickle_weights_are_refused_with_the_cure(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match=f"only pickle weights, {name}.*Convert them to safetensors with a tool"):
        read_places(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="The folder has no weights"):
        read_places(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(VALID)
    with pytest.raises(CheckpointError, match="holds an adapter, no model"):
        read_places(tmp_path)
    with pytest.raises(CheckpointError, match="There is no such folder"):
        read_places(tmp_path / "nowhere")


def test_weights_under_another_name_in_the_configuration_are_refused(tmp_path: Path) -> None:
    folder = write_single(tmp_path / "parent")
    (folder / "config.json").write_text('{"transformers_weights": "other.safetensors", "limit": Infinity}')
    with pytest.raises(CheckpointError, match=r"loads the weights from 'other\.safetensors'"):
        read_places(folder)
    (folder / "config.json").write_text('{"transformers_weights": "model.safetensors", "limit": Infinity}')
    assert list(read_places(folder)) == ["mask", "down.0", "down.1"]


def test_symlinks_into_the_blobs_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    snapshot = hub_snapshot(tmp_path)
    assert read_places(snapshot) == read_places(tmp_path / "made")
    place = read_places(snapshot)["down.0"]
    np.testing.assert_array_equal(read_slices(snapshot, place, 1, [3]), read_slices(tmp_path / "made", place, 1, [3]))


def test_symlinks_inside_the_folder_are_followed(tmp_path: Path) -> None:
    folder = write_single(tmp_path / "parent")
    (folder / "store").mkdir()
    (folder / "model.safetensors").rename(folder / "store" / "weights")
    (folder / "model.safetensors").symlink_to("store/weights")
    assert list(read_places(folder)) == ["mask", "down.0", "down.1"]


def test_symlinks_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    folder = write_single(tmp_path / "parent")
    (folder / "model.safetensors").rename(tmp_path / "weights")
    (folder / "model.safetensors").symlink_to("../weights")
    with pytest.raises(CheckpointError, match=r"model\.safetensors leads out of the checkpoint's folder"):
        read_places(folder)
    snapshot = hub_snapshot(tmp_path / "cache")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(tmp_path / "weights")
    with pytest.raises(CheckpointError, match="leads out of the checkpoint's folder"):
        read_places(snapshot)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="is not a regular file"):
        read_places(folder)

import json
import os
import re
import shutil
import subprocess
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from knedit.checkpoints.patch import TensorPatch, cast, write_patched
from knedit.checkpoints.verify import verify_folder
from knedit.errors import CheckpointError
from tests.checkpoints.making import (
    CREATED,
    listing,
    manifest_for,
    matrix,
    sha256,
    tensor_begin,
    weights_hash,
    with_slices,
    write_sharded,
    write_single,
)
from tests.thorough import rounds

DISK_POINTS = rounds("KNEDIT_DISK_POINTS", 4, 10)
Writer = Callable[..., Path]


def patch_of(values: Mapping[int, torch.Tensor], *, tensor: str = "down.1", axis: int = 1) -> TensorPatch:
    stacked = np.stack([value.numpy() for value in values.values()])
    return TensorPatch(tensor, axis, tuple(values), stacked)


def new_slices(axis: int, indices: tuple[int, ...] = (7, 0, 3)) -> dict[int, torch.Tensor]:
    """Return new columns (of 6) or rows (of 9) for the matrices that the checkpoints here have."""
    chosen = indices if axis == 1 else tuple(index % 6 for index in indices)
    values = matrix(len(chosen), 6 if axis == 1 else 9, seed=9)
    return dict(zip(chosen, values, strict=True))


def write(parent: Path, output: Path, *patches: TensorPatch, **more: Any) -> Path:
    return write_patched(parent, output, patches, manifest=manifest_for(parent), **more)


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return write_single(tmp_path / "parent")


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
@pytest.mark.parametrize(
    ("make", "file"), [(write_single, "model.safetensors"), (write_sharded, "model-00002-of-00002.safetensors")]
)
def test_exactly_the_planned_bytes_change(tmp_path: Path, make: Writer, file: str, dtype: str, axis: int) -> None:
    parent = make(tmp_path / "parent", dtype)
    before = listing(parent)
    values = new_slices(axis)
    written = write(parent, tmp_path / "edited", patch_of(values, axis=axis))
    begin = tensor_begin(parent / file, "down.1")
    expected = with_slices(before[file], begin, dtype=dtype, shape=(6, 9), axis=axis, values=values)
    after = listing(written)
    assert after.pop("knedit.json")
    assert after.pop("SHA256SUMS")
    assert expected != before[file]
    assert after == {**before, file: expected}
    assert listing(parent) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edited", "parent"]


def test_several_tensors_change_at_once_and_load(tmp_path: Path, parent: Path) -> None:
    columns, row = new_slices(1), new_slices(0, (2,))
    write(parent, tmp_path / "edited", patch_of(columns, tensor="down.1"), patch_of(row, tensor="down.0", axis=0))
    expected = load_file(parent / "model.safetensors")
    for index, value in columns.items():
        expected["down.1"][:, index] = value.float()
    expected["down.0"][2] = row[2].float()
    loaded = load_file(tmp_path / "edited" / "model.safetensors")
    assert {name: value.tolist() for name, value in loaded.items()} == {n: v.tolist() for n, v in expected.items()}


def test_the_manifest_tells_the_edit_and_the_sums_list_every_file(tmp_path: Path, parent: Path) -> None:
    (parent / "sub").mkdir()
    (parent / "sub" / "notes.txt").write_text("kept")
    edited = write(parent, tmp_path / "edited", patch_of(new_slices(1)), texts={"README.md": "# Edited\n"})
    assert json.loads((edited / "knedit.json").read_text()) == {
        "format": 1,
        **manifest_for(parent),
        "sha256": sha256(edited / "model.safetensors"),
        "changed": [{"tensor": "down.1", "file": "model.safetensors", "axis": 1, "indices": [0, 3, 7]}],
        "written": ["README.md"],
    }
    assert (edited / "README.md").read_text() == "# Edited\n"
    names = sorted(set(listing(edited)) - {"SHA256SUMS"})
    assert "sub/notes.txt" in names
    assert (edited / "SHA256SUMS").read_text() == "".join(f"{sha256(edited / name)}  {name}\n" for name in names)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_accepts_the_sums(tmp_path: Path) -> None:
    edited = write(write_sharded(tmp_path / "parent"), tmp_path / "edited", patch_of(new_slices(1)))
    ran = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=edited)
    assert ran.returncode == 0


def test_the_same_edit_twice_gives_the_same_bytes(tmp_path: Path, parent: Path) -> None:
    values = new_slices(1)
    first = write(parent, tmp_path / "first", patch_of(values))
    second = write(parent, tmp_path / "second", patch_of(dict(reversed(values.items()))))
    assert listing(first) == listing(second)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
def test_cast_tells_what_will_be_stored(tmp_path: Path, dtype: str) -> None:
    parent = write_single(tmp_path / "parent", dtype)
    values = new_slices(1)
    edited = write(parent, tmp_path / "edited", patch_of(values))
    loaded = load_file(edited / "model.safetensors")["down.1"][:, list(values)].T
    stored = cast(np.stack([value.numpy() for value in values.values()]), dtype)
    np.testing.assert_array_equal(stored, loaded.to(torch.float64 if dtype == "F64" else torch.float32).numpy())


def test_unedited_copies_hidden_files_and_old_manifests_stay_behind(tmp_path: Path, parent: Path) -> None:
    carried = listing(parent)
    for name in (
        *("pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.safetensors", "model.fp16.safetensors"),
        *("consolidated.00.pth", "old.pt", "last.CKPT", "tf_model.h5", "flax_model.msgpack", "model-q4.gguf"),
        *("original/params.json", "onnx/model.onnx_data", "openvino/openvino_model.xml", "weights.npz", "m.onnx"),
        *("sub/adapter_model.safetensors", ".git/HEAD", ".cache/x", ".gitattributes", "sub/.hidden"),
        *("rust_model.ot", "model.ckpt-1000.data-00000-of-00001", "bert_model.ckpt.index", "saved_model.pb"),
        *("variables/variables.data-00000-of-00001", "Model.mlpackage/Data/weights/blob", "model.mlmodel", "m.pte"),
        *("model.onnx_data_1", "model.llamafile", "model.litertlm", "gemma.task", "rank0.engine", "all.tar.gz"),
        *("weights.zip", "model.npy", "pytorch_model.bin.part1", "mlx/model.json", "model.keras", "model.pdparams"),
        *("knedit.json", "SHA256SUMS", "model.sig", "model.safetensors.index.fp16.json", "__pycache__/a.pyc"),
    ):
        (parent / name).parent.mkdir(parents=True, exist_ok=True)
        (parent / name).write_bytes(b"the unedited weights")
    for name in ("sub/deeper/figure.png", "LICENSE", "tokenizer.model"):
        (parent / name).parent.mkdir(parents=True, exist_ok=True)
        (parent / name).write_bytes(name.encode())
        carried[name] = name.encode()
    edited = listing(write(parent, tmp_path / "edited", patch_of(new_slices(1))))
    assert edited.pop("model.safetensors") != carried.pop("model.safetensors")
    assert {name: content for name, content in edited.items() if name not in ("knedit.json", "SHA256SUMS")} == carried


def test_an_edited_checkpoint_can_be_edited_again(tmp_path: Path, parent: Path) -> None:
    first = write(parent, tmp_path / "first", patch_of(new_slices(1)))
    second = write(first, tmp_path / "second", patch_of(new_slices(0), tensor="down.0", axis=0))
    told = json.loads((second / "knedit.json").read_text())
    assert told["parent"]["sha256"] == sha256(first / "model.safetensors")
    assert [change["tensor"] for change in told["changed"]] == ["down.0"]


def test_a_hub_cache_gives_a_folder_of_plain_files(tmp_path: Path) -> None:
    plain = write_single(tmp_path / "plain")
    root = tmp_path / "models--tests--tiny"
    snapshot = root / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    shutil.copytree(plain, root / "blobs")
    for name in listing(plain):
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    from_cache = write(snapshot, tmp_path / "from-cache", patch_of(new_slices(1)))
    assert listing(from_cache) == listing(write(plain, tmp_path / "from-plain", patch_of(new_slices(1))))
    assert not any(path.is_symlink() for path in from_cache.rglob("*"))


def assert_refused(parent: Path, output: Path, message: str, *patches: TensorPatch, **more: Any) -> CheckpointError:
    """Assert that the edit is refused with `message`, that the parent stays and that nothing new lies about."""
    beside = sorted(output.parent.iterdir()) if output.parent.is_dir() else None
    before = listing(parent)
    with pytest.raises(CheckpointError, match=message) as caught:
        write(parent, output, *patches, **more)
    assert listing(parent) == before
    assert (sorted(output.parent.iterdir()) if output.parent.is_dir() else None) == beside
    return caught.value


@pytest.mark.parametrize("kind", ["folder", "full folder", "file", "dangling symlink"])
def test_an_existing_output_is_refused_and_kept(tmp_path: Path, parent: Path, kind: str) -> None:
    output = tmp_path / "edited"
    match kind:
        case "folder":
            output.mkdir()
        case "full folder":
            write(parent, output, patch_of(new_slices(1)))
        case "file":
            output.write_text("mine")
        case _:
            output.symlink_to("nowhere")
    before = listing(tmp_path)
    assert_refused(parent, output, "The output folder exists", patch_of(new_slices(1)))
    assert listing(tmp_path) == before


def test_an_output_in_its_parent_is_refused(tmp_path: Path, parent: Path) -> None:
    for output in (parent, parent / "edited", parent / "a" / ".." / "b", tmp_path / "parent"):
        assert_refused(parent, output, "lies in the folder of its parent", patch_of(new_slices(1)))


VALUES = np.zeros((2, 6))


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (TensorPatch("up.0", 1, (0, 1), VALUES), r"There is no such tensor \(up.0 in "),
        (TensorPatch("mask", 1, (0, 1), VALUES), "stored as U8, not as plain floats"),
        (TensorPatch("down.0", 1, (0, 9), VALUES), r"no slice 9 along axis 1 of shape \(6, 9\)"),
        (TensorPatch("down.0", 1, (0, -1), VALUES), "no slice -1 along axis 1"),
        (TensorPatch("down.0", 2, (0, 1), VALUES), "no rows or columns along axis 2"),
        (TensorPatch("down.0", 1, (3, 3), VALUES), "names no slice, or one twice"),
        (TensorPatch("down.0", 1, (), np.zeros((0, 6))), "names no slice, or one twice"),
        (TensorPatch("down.0", 0, (0, 1), VALUES), r"values are of shape \(2, 6\), not \(2, 9\)"),
        (TensorPatch("down.0", 1, (0,), VALUES), r"values are of shape \(2, 6\), not \(1, 6\)"),
        (TensorPatch("down.0", 1, (0, 1), VALUES * np.nan), r"not finite: 12 of 12, the first at \[0, 0\] \(down.0 in"),
        (TensorPatch("down.0", 1, (0, 1), VALUES + 1e39), "too large for F32"),
        (TensorPatch("down.0", 1, (0, 1), np.zeros((2, 6), dtype=np.int32)), "int32 are not plain floats"),
    ],
)
def test_patches_that_do_not_fit_are_refused(tmp_path: Path, parent: Path, patch: TensorPatch, message: str) -> None:
    assert_refused(parent, tmp_path / "edited", message, patch)


def test_two_patches_of_one_tensor_are_refused(tmp_path: Path, parent: Path) -> None:
    patches = [patch_of({0: torch.zeros(6)}), patch_of({1: torch.zeros(6)})]
    assert_refused(parent, tmp_path / "edited", "Two patches change one tensor", *patches)


def test_an_edit_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    parent = write_single(tmp_path / "parent", "BF16")
    kept = load_file(parent / "model.safetensors")["down.1"][:, 4].double()
    lost = kept * (1 + 2.0**-12)  # rounds back to what is stored
    assert not torch.equal(kept, lost)
    for patches in ([], [patch_of({4: kept})], [patch_of({4: lost})]):
        assert_refused(parent, tmp_path / "edited", "The edit changes nothing", *patches)


def test_a_changed_sign_of_zero_is_a_change(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    save_file({"down.1": torch.zeros(6, 9)}, parent / "model.safetensors")
    edited = write(parent, tmp_path / "edited", patch_of({4: -torch.zeros(6)}))
    assert torch.signbit(load_file(edited / "model.safetensors")["down.1"]).sum() == 6


@pytest.mark.parametrize(
    "config", [{"quantization_config": {"bits": 4}}, {"text_config": {"quantization_config": {"quant_method": "fp8"}}}]
)
def test_quantised_parents_are_refused(tmp_path: Path, parent: Path, config: object) -> None:
    (parent / "config.json").write_text(json.dumps(config))
    assert_refused(parent, tmp_path / "edited", "The model is quantised", patch_of(new_slices(1)))


def test_adapters_beside_the_model_are_refused(tmp_path: Path, parent: Path) -> None:
    (parent / "adapter_config.json").write_text("{}")
    assert_refused(parent, tmp_path / "edited", "An adapter lies beside the model", patch_of(new_slices(1)))


def test_symlinks_out_of_the_parent_are_not_copied(tmp_path: Path, parent: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (parent / "notes.txt").symlink_to("../secret")
    assert_refused(parent, tmp_path / "edited", r"notes\.txt leads out of", patch_of(new_slices(1)))
    (parent / "notes.txt").unlink()
    (parent / "folder").symlink_to("/etc")
    with pytest.raises(CheckpointError, match="folder is a symlink to a folder"):
        write(parent, tmp_path / "edited", patch_of(new_slices(1)))


def test_a_parent_that_is_not_the_edits_is_refused(tmp_path: Path, parent: Path) -> None:
    manifest = manifest_for(parent)
    manifest["parent"]["sha256"] = "0" * 64
    with pytest.raises(CheckpointError, match="weights are not those of the edit"):
        write_patched(parent, tmp_path / "edited", [patch_of(new_slices(1))], manifest=manifest)
    assert [path.name for path in tmp_path.iterdir()] == ["parent"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"created": "now"}, "Invalid isoformat"),
        ({"edit": {"factor": float("nan")}}, "cannot be told as JSON"),
        ({"edit": {"factor": object()}}, "cannot be told as JSON"),
        ({"parent": None}, "'parent'"),
    ],
)
def test_manifests_that_cannot_be_read_back_are_refused(
    tmp_path: Path, parent: Path, change: Mapping[str, object], message: str
) -> None:
    manifest = {**manifest_for(parent), **change}
    with pytest.raises(CheckpointError, match=message):
        write_patched(parent, tmp_path / "edited", [patch_of(new_slices(1))], manifest=manifest)
    assert [path.name for path in tmp_path.iterdir()] == ["parent"]


@pytest.mark.parametrize(
    "name",
    ["config.json", "tokenizer.json", "model.safetensors", "a.bin", "knedit.json", "../x", "a/b", ".x", "", "a\n"],
)
def test_texts_may_not_replace_what_decides_behaviour(tmp_path: Path, parent: Path, name: str) -> None:
    assert_refused(parent, tmp_path / "edited", "cannot be written beside", patch_of(new_slices(1)), texts={name: "x"})


def test_missing_folders_above_the_output_are_made(tmp_path: Path, parent: Path) -> None:
    output = tmp_path / "a" / "b" / "edited"
    assert write(parent, output, patch_of(new_slices(1))) == output
    assert (output / "knedit.json").exists()


def test_a_thousand_columns_are_written_well_within_a_second(tmp_path: Path) -> None:
    parent = write_single(tmp_path / "parent", rows=576, columns=1536)
    values = dict(enumerate(matrix(1000, 576, seed=1)))
    manifest, patch = manifest_for(parent), patch_of(values)
    start = time.process_time()  # waiting for the disk does not count
    write_patched(parent, tmp_path / "edited", [patch], manifest=manifest)
    assert time.process_time() - start < 0.5
    loaded = load_file(tmp_path / "edited" / "model.safetensors")["down.1"]
    assert torch.equal(loaded[:, :1000].T, torch.stack(list(values.values())).float())


@pytest.mark.parametrize("axis", [0, 1])
def test_memory_stays_far_below_the_size_of_a_tensor(tmp_path: Path, axis: int) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    save_file({"down.1": torch.zeros(6000, 4000)}, parent / "model.safetensors")
    patch = patch_of({1: torch.ones(4000 if axis == 0 else 6000)}, axis=axis)
    manifest = manifest_for(parent)
    tracemalloc.start()
    write_patched(parent, tmp_path / "edited", [patch], manifest=manifest)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6 < 96e6 < (parent / "model.safetensors").stat().st_size


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Give a function that mounts a tmpfs with the given options; skips where mounting is not permitted."""
    mounted = []

    def mount(options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("mounting is not permitted")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    parent = write_single(tmp_path / "parent", rows=512, columns=512)
    needed = 1 << 20
    needed += sum(len(content) for content in listing(parent).values())
    # the files alone would fit into 3 MiB, not with the megabyte that is kept free
    error = assert_refused(parent, small_disk("size=3m") / "edited", "The disk is full", patch_of({0: torch.ones(512)}))
    match = re.search(r"/disk needs ([\d,]+) bytes, ([\d,]+) free", error.what)
    assert match is not None
    least, free = (int(number.replace(",", "")) for number in match.groups())
    assert (needed < least < needed + 2000, free) == (True, 3 << 20)
    assert error.cure == "Free some space, or choose a folder on another disk."


def test_a_disk_that_fills_up_midway_keeps_nothing(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    parent = write_single(tmp_path / "parent")
    disk = small_disk("size=64m,nr_inodes=5")  # room for the lock, the folder and two files
    assert_refused(parent, disk / "edited", "The disk is full", patch_of(new_slices(1)))
    assert list(disk.iterdir()) == []


def test_a_disk_that_is_full_at_any_point_keeps_nothing_and_the_next_run_succeeds(
    tmp_path: Path, small_disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = write_sharded(tmp_path / "parent", rows=256, columns=512)
    before, size = listing(parent), sum(len(content) for content in listing(parent).values())
    disk = small_disk("size=64m")
    edit = patch_of({3: torch.ones(256)})
    with monkeypatch.context() as while_another_program_writes:
        while_another_program_writes.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
        for point in range(DISK_POINTS):
            room = 16384 + size * point // DISK_POINTS
            subprocess.run(["mount", "-o", f"remount,size={room}", str(disk)], check=True)
            assert_refused(parent, disk / "edited", "The disk is full", edit)
            assert list(disk.iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    write(parent, disk / "edited", edit)
    assert verify_folder(disk / "edited", parent).problems == ()
    assert [path.name for path in disk.iterdir()] == ["edited"]
    assert listing(parent) == before


def test_a_disk_that_fills_up_before_the_manifest_is_written_keeps_nothing(
    tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    parent = write_single(tmp_path / "parent")
    disk = small_disk("size=4m")

    def fill(folder: Path) -> dict[str, float]:
        with (disk / "filler").open("wb", buffering=0) as stream:
            while stream.write(bytes(1 << 16)) == 1 << 16:  # fewer are written when there is no more room
                pass
        return {}

    with pytest.raises(CheckpointError, match="The disk is full"):
        write(parent, disk / "edited", patch_of(new_slices(1)), judge=fill)
    assert [path.name for path in disk.iterdir()] == ["filler"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, parent: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_refused(
        parent,
        tmp_path / "file" / "edited",
        "cannot be written: Not a directory|cannot be written: File exists",
        patch_of(new_slices(1)),
    )
    name = "n" * 250
    assert_refused(parent, tmp_path / name, "cannot be written: File name too long", patch_of(new_slices(1)))


def test_times_and_names_in_the_folder_do_not_matter_to_the_sums(tmp_path: Path, parent: Path) -> None:
    first = write(parent, tmp_path / "first", patch_of(new_slices(1)))
    os.utime(parent / "config.json", (0, 0))
    second = write(parent, tmp_path / "second", patch_of(new_slices(1)))
    assert (first / "SHA256SUMS").read_bytes() == (second / "SHA256SUMS").read_bytes()
    assert weights_hash(second) == json.loads((second / "knedit.json").read_text())["sha256"]
    assert json.loads((second / "knedit.json").read_text())["created"] == CREATED

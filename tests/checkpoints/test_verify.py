import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from knedit.checkpoints.patch import TensorPatch, write_patched
from knedit.checkpoints.verify import VerifyReport, verify_folder
from knedit.errors import CheckpointError
from tests.checkpoints.making import (
    listing,
    manifest_for,
    sha256,
    tensor_begin,
    weights_hash,
    write_sharded,
    write_single,
)
from tests.thorough import rounds

FLIPS = rounds("KNEDIT_FLIPS", 50, 1000)
SHARD = "model-00002-of-00002.safetensors"


def edit(parent: Path, output: Path) -> Path:
    columns = TensorPatch("down.1", 1, (2, 5, 8), np.arange(18.0).reshape(3, 6))
    rows = TensorPatch("down.0", 0, (4,), np.ones((1, 9)))
    return write_patched(
        parent, output, [columns, rows], manifest=manifest_for(parent), texts={"README.md": "# Edited\n"}
    )


@pytest.fixture(params=[write_single, write_sharded])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    parent = request.param(tmp_path / "parent")
    return parent, edit(parent, tmp_path / "edited")


@pytest.fixture
def sharded(tmp_path: Path) -> tuple[Path, Path]:
    parent = write_sharded(tmp_path / "parent")
    return parent, edit(parent, tmp_path / "edited")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def reseal(folder: Path, **changes: object) -> None:
    """Make the manifest and the sums fit the files that are there, as a forger would, with `changes`."""
    table = json.loads((folder / "knedit.json").read_text())
    (folder / "knedit.json").write_text(json.dumps({**table, "sha256": weights_hash(folder), **changes}))
    names = sorted(set(listing(folder)) - {"SHA256SUMS"})
    (folder / "SHA256SUMS").write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in names))


def test_an_edited_checkpoint_is_what_it_says(pair: tuple[Path, Path]) -> None:
    parent, edited = pair
    files = len(listing(edited))
    assert verify_folder(edited) == VerifyReport(edited, (), files)
    assert verify_folder(edited, parent, finite=True) == VerifyReport(edited, (), files, tensors=2, slices=4)
    assert verify_folder(edited, parent).ok


def test_slices_that_stay_as_they_were_are_not_listed(tmp_path: Path) -> None:
    parent = write_single(tmp_path / "parent")
    kept = load_file(parent / "model.safetensors")["down.1"][:, 3].numpy()
    patch = TensorPatch("down.1", 1, (3, 4), np.stack([kept, kept]))
    edited = write_patched(parent, tmp_path / "edited", [patch], manifest=manifest_for(parent))
    report = verify_folder(edited, parent)
    assert (report.problems, report.tensors, report.slices) == ((), 1, 1)
    named = {"tensor": "down.1", "file": "model.safetensors", "axis": 1}
    assert json.loads((edited / "knedit.json").read_text())["changed"] == [{**named, "indices": [4]}]
    reseal(edited, changed=[{**named, "indices": [3, 4]}])
    assert verify_folder(edited, parent).problems == (
        "Tensor down.1 in model.safetensors is the parent's in slices that the edit names: 3",
    )


def test_one_flipped_bit_in_any_file_is_found(pair: tuple[Path, Path], tmp_path: Path) -> None:
    _, edited = pair
    for name in sorted(set(listing(edited)) - {"SHA256SUMS", "knedit.json"}):
        broken = tmp_path / "broken"
        shutil.copytree(edited, broken)
        flip(broken / name, -2)
        assert f"{name} is not the file that SHA256SUMS lists" in verify_folder(broken).problems
        shutil.rmtree(broken)


def test_any_flipped_bit_is_found(pair: tuple[Path, Path]) -> None:
    parent, edited = pair
    chance, before = random.Random(0), listing(edited)
    files = sorted(before)
    for number in range(FLIPS):
        name = files[number % len(files)] if number < len(files) else chance.choice(files)
        content = bytearray(before[name])
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (edited / name).write_bytes(content)
        assert not verify_folder(edited).ok, name
        (edited / name).write_bytes(before[name])
    assert verify_folder(edited, parent).ok


@pytest.mark.parametrize("name", ["knedit.json", "SHA256SUMS"])
def test_a_changed_manifest_or_list_is_found(pair: tuple[Path, Path], name: str) -> None:
    _, edited = pair
    flip(edited / name, 0)
    assert not verify_folder(edited).ok


def test_added_and_missing_files_are_found(pair: tuple[Path, Path]) -> None:
    parent, edited = pair
    (edited / "sub").mkdir()
    (edited / "sub" / "pytorch_model.bin").write_bytes(b"the unedited weights")
    (edited / "tokenizer.json").unlink()
    assert verify_folder(edited).problems == (
        "tokenizer.json is missing, SHA256SUMS lists it",
        "sub/pytorch_model.bin is not listed in SHA256SUMS",
    )
    assert verify_folder(edited, parent).problems[2:] == (
        "tokenizer.json is missing, the parent has it",
        "sub/pytorch_model.bin is not of the parent",
    )


def test_hidden_files_may_come_later(pair: tuple[Path, Path]) -> None:
    parent, edited = pair
    (edited / ".gitattributes").write_text("*.safetensors filter=lfs")
    (edited / ".cache").mkdir()
    (edited / ".cache" / "x").write_text("x")
    assert verify_folder(edited, parent).problems == ()


def test_a_signature_that_is_none_is_a_problem(pair: tuple[Path, Path]) -> None:
    _, edited = pair
    (edited / "model.sig").write_text("signed")
    (problem,) = verify_folder(edited).problems
    assert "This is not valid JSON" in problem


def test_missing_sums_are_a_problem_of_an_edited_checkpoint_only(pair: tuple[Path, Path]) -> None:
    parent, edited = pair
    (edited / "SHA256SUMS").unlink()
    assert verify_folder(edited).problems == ("SHA256SUMS is missing",)
    assert verify_folder(parent).problems == ()


def test_other_weights_under_the_same_manifest_are_found(sharded: tuple[Path, Path]) -> None:
    _, edited = sharded
    told = json.loads((edited / "knedit.json").read_text())["sha256"]
    flip(edited / SHARD, -1)
    reseal(edited, sha256=told)
    assert verify_folder(edited).problems == ("The weights are not those that knedit.json names by their sha256",)


@pytest.mark.parametrize(
    ("row", "column", "problem"),
    [
        (3, 5, ()),
        (3, 6, (f"Tensor down.1 in {SHARD} differs from the parent's in slices no edit names: 6",)),
    ],
)
def test_a_change_outside_the_named_columns_is_found_however_well_sealed(
    sharded: tuple[Path, Path], row: int, column: int, problem: tuple[str, ...]
) -> None:
    parent, edited = sharded
    flip(edited / SHARD, tensor_begin(edited / SHARD, "down.1") + (row * 9 + column) * 4)
    reseal(edited)
    assert verify_folder(edited).problems == ()
    assert verify_folder(edited, parent).problems == problem


def test_changes_in_rows_tensors_headers_and_lengths_are_found(sharded: tuple[Path, Path], tmp_path: Path) -> None:
    parent, edited = sharded
    first = "model-00001-of-00002.safetensors"

    def problems(change: Callable[[Path], object]) -> tuple[str, ...]:
        broken = tmp_path / "broken"
        shutil.copytree(edited, broken)
        change(broken / first)
        reseal(broken)
        found = verify_folder(broken, parent).problems
        shutil.rmtree(broken)
        return found

    begin = tensor_begin(edited / first, "down.0")
    assert problems(lambda path: flip(path, begin + 3 * 36)) == (
        f"Tensor down.0 in {first} differs from the parent's in slices no edit names: 3",
    )
    assert problems(lambda path: flip(path, begin - 2)) == (f"Tensor mask in {first} differs from the parent's",)
    content = (edited / first).read_bytes()
    assert problems(lambda path: path.write_bytes(content.replace(b'"pt"', b'"tf"'))) == (
        f"The header of {first} differs from the parent's",
    )
    again = load_file(edited / first)
    assert problems(lambda path: save_file(again, path))[-1] in (
        f"{first} is not as long as the parent's",
        f"The header of {first} differs from the parent's",
    )


def test_a_changed_configuration_or_tokenizer_is_found_however_well_sealed(pair: tuple[Path, Path]) -> None:
    parent, edited = pair
    (edited / "config.json").write_text("{}")
    (edited / "tokenizer_config.json").write_text("{}")
    (edited / "README.md").write_text("# Another card\n")
    reseal(edited)
    assert verify_folder(edited).problems == ()
    assert verify_folder(edited, parent).problems == (
        "config.json differs from the parent's",
        "tokenizer_config.json differs from the parent's",
    )
    reseal(edited, written=["config.json", "tokenizer_config.json", "README.md"])
    assert verify_folder(edited, parent).problems == (
        "config.json may not differ from the parent's",
        "tokenizer_config.json may not differ from the parent's",
        "config.json differs from the parent's",
        "tokenizer_config.json differs from the parent's",
    )


def test_another_parent_is_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    _, edited = pair
    other = write_single(tmp_path / "other", "BF16")
    assert verify_folder(edited, other).problems == (f"{other} is not the parent that knedit.json names by its sha256",)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"tensor": "up.0"}, "The manifest names up.0 in model.safetensors, which the parent has not"),
        ({"file": "other.safetensors"}, "The manifest names down.0 in other.safetensors, which the parent has not"),
        ({"indices": [6]}, "There is no slice 6 along axis 0"),
        ({"tensor": "mask"}, "The tensor is stored as U8"),
    ],
)
def test_a_manifest_that_does_not_fit_the_weights_is_told(
    tmp_path: Path, change: dict[str, object], problem: str
) -> None:
    parent = write_single(tmp_path / "parent")
    edited = edit(parent, tmp_path / "edited")
    named = {"tensor": "down.0", "file": "model.safetensors", "axis": 0, "indices": [4]}
    reseal(edited, changed=[{**named, **change}])
    assert verify_folder(edited).ok
    (told,) = verify_folder(edited, parent).problems
    assert told.startswith(problem)


def test_a_plain_checkpoint_needs_sound_headers(pair: tuple[Path, Path], tmp_path: Path) -> None:
    parent, _ = pair
    assert verify_folder(parent) == VerifyReport(parent, (), len(listing(parent)))
    (path,) = [path for path in parent.glob("model*.safetensors") if "00001" not in path.name]
    path.write_bytes(path.read_bytes()[:-1])
    (problem,) = verify_folder(parent).problems
    assert problem.startswith("The tensors overlap at byte")


def test_a_plain_checkpoint_cannot_be_compared(pair: tuple[Path, Path]) -> None:
    parent, _ = pair
    assert verify_folder(parent, parent).problems == (
        "There is no sound knedit.json, which would tell what may differ from the parent",
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_values_that_are_not_finite_are_found_when_asked(tmp_path: Path, dtype: torch.dtype, value: float) -> None:
    values = torch.zeros(40, 3, dtype=dtype)
    save_file({"a": values.clone(), "ids": torch.full((3,), -1)}, tmp_path / "model.safetensors")
    assert verify_folder(tmp_path, finite=True).problems == ()
    values[39, 2] = value
    save_file({"a": values, "ids": torch.full((3,), -1)}, tmp_path / "model.safetensors")
    assert verify_folder(tmp_path).problems == ()
    assert verify_folder(tmp_path, finite=True).problems == (
        "Tensor a in model.safetensors has values that are not finite",
    )


@pytest.mark.parametrize(
    "text", ["x\n", "a" * 64 + " *config.json\n", "a" * 64 + "  a\\nb\n", "a" * 64 + "  x\n" + "b" * 64 + "  x\n", "a"]
)
def test_malformed_sums_are_told(pair: tuple[Path, Path], text: str) -> None:
    _, edited = pair
    (edited / "SHA256SUMS").write_text(text)
    (problem,) = verify_folder(edited).problems
    assert str(edited / "SHA256SUMS") in problem


def test_there_must_be_folders(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no such folder"):
        verify_folder(tmp_path / "nowhere")
    parent = write_single(tmp_path / "parent")
    with pytest.raises(CheckpointError, match="There is no such folder"):
        verify_folder(parent, tmp_path / "nowhere")

"""Every stored precision in every layout: exactly the planned bytes change, and going back gives the parent's sha256.

What must come out is put together here byte by byte, without knedit's reader.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from knedit.checkpoints.delta import read_delta, write_delta
from knedit.checkpoints.extraction import deltas_of_child, deltas_of_patches
from knedit.checkpoints.patch import TensorPatch, write_patched
from knedit.checkpoints.stacking import NamedDelta, apply_deltas, revert
from knedit.checkpoints.verify import verify_folder
from tests.checkpoints.making import (
    TORCH,
    listing,
    manifest_for,
    matrix,
    safetensors,
    stored,
    tensor_begin,
    write_settings,
)


@dataclass(frozen=True)
class Layout:
    """A tensor's shape, and how its value vectors are cut from it."""

    shape: tuple[int, ...]
    axis: int
    member: int | None = None
    span: tuple[int, int] | None = None
    indices: tuple[int, ...] = (7, 0, 3)

    @property
    def depth(self) -> int:
        return self.span[1] - self.span[0] if self.span else self.shape[-2:][1 - self.axis]

    def places(self) -> Iterator[tuple[int, int, int]]:
        """Yield the slice's number, the position in it, and the number's place in the tensor, row after row."""
        rows, columns = self.shape[-2:]
        first = self.span[0] if self.span else 0
        for number, index in enumerate(self.indices):
            for position in range(self.depth):
                row, column = (first + position, index) if self.axis == 1 else (index, first + position)
                yield number, position, ((self.member or 0) * rows + row) * columns + column


LAYOUTS = {
    "Linear [D, F]": Layout((6, 9), 1),
    "Conv1D [F, D]": Layout((9, 6), 0),
    "experts [E, D, F]": Layout((3, 6, 9), 1, member=1),
    "experts [E, F, D]": Layout((3, 9, 6), 0, member=2),
    "gate, up and down [3 D, F]": Layout((18, 9), 1, span=(12, 18)),
    "gate, up and down [F, 3 D]": Layout((9, 18), 0, span=(6, 12)),
    "fused experts [E, 3 D, F]": Layout((2, 18, 9), 1, member=1, span=(12, 18)),
    "the last column and row": Layout((6, 9), 1, indices=(8,)),
}


def write_parent(folder: Path, layout: Layout, dtype: str, *, sharded: bool) -> tuple[Path, str]:
    """Write a checkpoint with the tensor between two others; return it and the file that the tensor is in."""
    folder.mkdir()
    numbers = matrix(1, int(np.prod(layout.shape)), seed=3).reshape(layout.shape)
    before, after = ("U8", (3,), b"\1\2\3"), ("F32", (2,), b"12345678")
    down = (dtype, layout.shape, stored(numbers, dtype))
    if not sharded:
        (folder / "model.safetensors").write_bytes(safetensors({"a": before, "down": down, "z": after}))
        return write_settings(folder), "model.safetensors"
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    (folder / first).write_bytes(safetensors({"z": after}))
    (folder / second).write_bytes(safetensors({"a": before, "down": down}))
    index = f'{{"metadata": {{}}, "weight_map": {{"z": "{first}", "a": "{second}", "down": "{second}"}}}}'
    (folder / "model.safetensors.index.json").write_text(index)
    return write_settings(folder), second


@pytest.mark.parametrize("sharded", [False, True], ids=["single", "sharded"])
@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("name", LAYOUTS)
def test_exactly_the_planned_bytes_change_and_go_back(tmp_path: Path, name: str, dtype: str, sharded: bool) -> None:
    layout = LAYOUTS[name]
    parent, file = write_parent(tmp_path / "parent", layout, dtype, sharded=sharded)
    before = listing(parent)
    values = matrix(len(layout.indices), layout.depth, seed=9)
    patch = TensorPatch("down", layout.axis, layout.indices, values.numpy(), layout.member, layout.span)

    expected, begin, size = bytearray(before[file]), tensor_begin(parent / file, "down"), TORCH[dtype].itemsize
    for number, position, place in layout.places():
        at = begin + place * size
        expected[at : at + size] = stored(values[number, position][None], dtype)
    assert len(expected) == len(before[file])
    assert expected != before[file]

    edited = write_patched(parent, tmp_path / "edited", [patch], manifest=manifest_for(parent))
    after = listing(edited)
    written = {name: after.pop(name) for name in ("knedit.json", "SHA256SUMS")}
    assert after == {**before, file: bytes(expected)}
    assert listing(parent) == before
    report = verify_folder(edited, parent, finite=True)
    assert (report.problems, report.tensors, report.slices) == ((), 1, len(layout.indices))

    there, back = deltas_of_child(edited, parent)
    write_delta(tmp_path / "there.safetensors", there)
    write_delta(tmp_path / "back.safetensors", back)
    named = {kind: NamedDelta(kind, read_delta(tmp_path / f"{kind}.safetensors")) for kind in ("there", "back")}
    applied = apply_deltas(parent, [named["there"]], tmp_path / "applied", manifest={})
    assert listing(applied) == {**after, **written}
    for old in (
        revert(edited, tmp_path / "by-parent", parent=parent),
        revert(edited, tmp_path / "by-delta", delta=named["back"]),
    ):
        content = listing(old)
        assert content.pop("SHA256SUMS")
        assert content == before

    planned = deltas_of_patches(parent, [patch], manifest_for(parent))
    assert [one.manifest for one in planned] == [there.manifest, back.manifest]
    assert [one.bits[0].tolist() for one in planned] == [there.bits[0].tolist(), back.bits[0].tolist()]


def test_two_experts_of_one_stack_are_patched_at_once(tmp_path: Path) -> None:
    layout = LAYOUTS["experts [E, D, F]"]
    parent, file = write_parent(tmp_path / "parent", layout, "BF16", sharded=False)
    patches = [TensorPatch("down", 1, (4,), np.full((1, 6), float(member)), member) for member in (2, 0)]
    edited = write_patched(parent, tmp_path / "edited", patches, manifest=manifest_for(parent))
    begin = tensor_begin(parent / file, "down")
    content = bytearray((parent / file).read_bytes())
    for member in (0, 2):
        for row in range(6):
            at = begin + ((member * 6 + row) * 9 + 4) * 2
            content[at : at + 2] = stored(torch.tensor([float(member)]), "BF16")
    assert (edited / file).read_bytes() == bytes(content)
    report = verify_folder(edited, parent)
    assert (report.problems, report.tensors, report.slices) == ((), 1, 2)

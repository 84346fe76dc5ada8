"""A disk that is full at any point of writing: nothing is kept, the sources stay, and the next run succeeds.

`KNEDIT_DISK_POINTS` sets at how many points.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from knedit.checkpoints.delta import read_delta, write_delta
from knedit.checkpoints.extraction import deltas_of_child
from knedit.checkpoints.patch import TensorPatch, write_patched
from knedit.checkpoints.stacking import NamedDelta, apply_deltas, revert
from knedit.checkpoints.verify import verify_folder
from knedit.errors import CheckpointError
from tests.checkpoints.making import listing, manifest_for, weights_hash, write_sharded
from tests.conftest import SmallDisk
from tests.thorough import rounds

DISK_POINTS = rounds("KNEDIT_DISK_POINTS", 4, 10)
COLUMNS = tuple(range(0, 128, 2))


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return write_sharded(tmp_path / "parent", rows=256, columns=512)


@pytest.fixture
def child(parent: Path, tmp_path: Path) -> Path:
    return patched(parent, tmp_path / "child")


def patched(parent: Path, output: Path) -> Path:
    patch = TensorPatch("down.1", 1, COLUMNS, np.ones((len(COLUMNS), 256)))
    return write_patched(parent, output, [patch], manifest=manifest_for(parent))


def resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def survives(disk: Path, write: Callable[[], object], size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `write`, which takes `size` bytes, run into a full disk at every point, and then through."""
    with monkeypatch.context() as while_another_program_writes:
        while_another_program_writes.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
        for point in range(DISK_POINTS):
            resize(disk, 16384 + max(0, size - 16384) * point // DISK_POINTS)
            with pytest.raises(CheckpointError, match=r"The disk is full|No space left on device"):
                write()
            assert list(disk.iterdir()) == []
    resize(disk, 64 << 20)
    write()
    assert len(list(disk.iterdir())) == 1


def test_while_an_edit_is_written(
    tmp_path: Path, parent: Path, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, before = small_disk("size=64m"), listing(parent)
    survives(disk, lambda: patched(parent, disk / "edited"), sum(map(len, before.values())), monkeypatch)
    assert verify_folder(disk / "edited", parent).problems == ()
    assert listing(parent) == before


def test_while_a_delta_is_written(child: Path, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = small_disk("size=64m")
    delta = deltas_of_child(child)[0]
    survives(disk, lambda: write_delta(disk / "delta.safetensors", delta), len(COLUMNS) * 256 * 4, monkeypatch)
    assert np.array_equal(read_delta(disk / "delta.safetensors").bits[0], delta.bits[0])


def test_while_a_delta_is_put_into_effect_and_while_an_edit_is_taken_back(
    tmp_path: Path, parent: Path, child: Path, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, before, after = small_disk("size=64m"), listing(parent), listing(child)
    size = sum(map(len, before.values()))
    write_delta(tmp_path / "delta.safetensors", deltas_of_child(child)[0])
    delta = NamedDelta("delta", read_delta(tmp_path / "delta.safetensors"))
    survives(disk, lambda: apply_deltas(parent, [delta], disk / "again", manifest={}), size, monkeypatch)
    assert weights_hash(disk / "again") == weights_hash(child)
    shutil.rmtree(disk / "again")
    survives(disk, lambda: revert(child, disk / "back", parent=parent), size, monkeypatch)
    assert weights_hash(disk / "back") == weights_hash(parent)
    assert (listing(parent), listing(child)) == (before, after)

"""On a file system that clones, an edited checkpoint shares its parent's bytes but for the blocks that change."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from knedit.checkpoints import writing
from knedit.checkpoints.copying import Copy, can_clone, copy_files
from knedit.checkpoints.patch import TensorPatch, write_patched
from knedit.checkpoints.planning import fitting_writes
from knedit.checkpoints.verify import verify_folder
from tests.checkpoints.making import listing, manifest_for, write_sharded

SIZES = {"btrfs": 160 << 20, "xfs": 320 << 20}  # about the smallest that they can be


@pytest.fixture(params=SIZES)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small file system that clones; skips where there is no program to make it or mounting is not permitted."""
    make, image, folder = shutil.which(f"mkfs.{request.param}"), tmp_path / "image", tmp_path / "disk"
    if not make:
        pytest.skip(f"there is no mkfs.{request.param}")
    with image.open("wb") as stream:
        stream.truncate(SIZES[request.param])
    folder.mkdir()
    try:
        subprocess.run([make, "-q", str(image)], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting is not permitted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def room(disk: Path) -> int:
    """Return the bytes in use once everything is on the disk."""
    subprocess.run(["sync", "-f", str(disk)], check=True)
    return shutil.disk_usage(disk).used


@pytest.mark.parametrize("long", [1, 1 << 40], ids=["past the cache", "through the cache"])
def test_only_blocks_that_change_are_written_and_take_room(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: int
) -> None:
    monkeypatch.setattr(writing, "LONG", long)
    parent = write_sharded(disk / "parent", rows=2048, columns=1024)  # two shards of 8 MiB
    before = listing(parent)
    row = TensorPatch("down.1", 0, (2000,), np.ones((1, 1024)))
    other = write_patched(parent, tmp_path / "other", [row], manifest=manifest_for(parent))

    assert can_clone(parent / "config.json", disk)
    assert not can_clone(parent / "config.json", tmp_path)
    (write,) = fitting_writes(parent, [row])
    names = [name for name in before if name.endswith(".safetensors")]
    slices = [(write.slices,) if name == write.change.file else () for name in names]
    pairs = zip(names, slices, strict=True)
    copied = copy_files([Copy(parent / name, disk / name, own) for name, own in pairs])
    assert [one.written for one in copied] == [(2 << 20) * len(own) for own in slices]
    for name in names:
        (disk / name).unlink()

    used = room(disk)
    edited = write_patched(parent, disk / "edited", [row], manifest=manifest_for(parent))
    assert room(disk) - used < 4 << 20 < 16 << 20
    assert listing(edited) == listing(other)
    assert listing(parent) == before
    assert verify_folder(edited, parent).problems == ()

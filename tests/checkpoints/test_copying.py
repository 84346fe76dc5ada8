"""Files copied with slices laid over them: long rows, links, what others have mapped, what changes meanwhile."""

import json
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knedit.checkpoints import copying
from knedit.checkpoints.copying import Copy, copy_files
from knedit.checkpoints.patch import TensorPatch, write_patched
from knedit.checkpoints.slices import Matrix, Slices, read_bits
from knedit.checkpoints.verify import verify_folder
from knedit.errors import CheckpointError
from tests.checkpoints.making import listing, manifest_for, sha256, weights_hash, write_sharded, write_single

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def patch(tensor: str = "down.1") -> TensorPatch:
    return TensorPatch(tensor, 1, (2, 5), np.arange(12.0).reshape(2, 6))


@pytest.mark.parametrize("block", [2, 3, 5, 6, 10, 16, 34, 1 << 20])
@pytest.mark.parametrize(
    ("matrix", "axis", "indices"),
    [
        (Matrix(3, 4, 5, 5, "BF16"), 1, (0, 1, 4)),
        (Matrix(3, 4, 5, 5, "BF16"), 0, (1, 3)),
        (Matrix(7, 4, 3, 5, "BF16"), 0, (0, 2, 3)),
        (Matrix(3, 1, 19, 19, "F16"), 1, (0, 7, 18)),
        (Matrix(3, 19, 1, 1, "F16"), 0, (0, 7, 18)),
    ],
)
def test_blocks_of_any_size_change_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, matrix: Matrix, axis: int, indices: tuple[int, ...]
) -> None:
    monkeypatch.setattr(copying, "BLOCK", block)
    content = bytes(range(1, 61))
    (tmp_path / "a").write_bytes(content)
    depth = matrix.shape[1 - axis]
    bits = (1000 + np.arange(len(indices) * depth, dtype="<u2")).reshape(-1, depth)
    expected, changed = bytearray(content), set[int]()
    for number, index in enumerate(indices):
        for position in range(depth):
            row, column = (position, index) if axis == 1 else (index, position)
            at = matrix.begin + (row * matrix.pitch + column) * 2
            expected[at : at + 2] = bits[number, position].tobytes()
            changed |= {at, at + 1}
    one = Slices(matrix, axis, np.array(indices), bits)
    (copied,) = copy_files([Copy(tmp_path / "a", tmp_path / "b", (one,))])
    assert (tmp_path / "b").read_bytes() == bytes(expected)
    assert (copied.source, copied.target) == (sha256(tmp_path / "a"), sha256(tmp_path / "b"))
    assert read_bits(tmp_path / "b", matrix, axis, indices[::-1]).tolist() == bits[::-1].tolist()
    assert [one.tolist() for one in copied.differing] == [[True] * len(indices)]
    (again,) = copy_files([Copy(tmp_path / "b", tmp_path / "c", (one,))])
    assert (again.source, again.target, bool(again.differing[0].any())) == (copied.target, copied.target, False)
    found = Slices(matrix, axis, np.array(indices), np.zeros_like(bits))
    content = (tmp_path / "b").read_bytes()
    for begin, end in matrix.blocks(max(block, 2)):
        found.take_from(begin, bytearray(content[begin:end]))
        assert found.meets(begin, end) == bool(changed.intersection(range(begin, end)))
    assert found.bits.tolist() == bits.tolist()
    covered = [at for begin, end in matrix.blocks(max(block, 2)) for at in range(begin, end)]
    assert covered == list(range(matrix.begin, matrix.end))
    assert all(end - begin <= max(block, 2) for begin, end in matrix.blocks(max(block, 2)))


def test_with_links_untouched_shards_are_the_parents_and_the_others_are_not(tmp_path: Path) -> None:
    parent = write_sharded(tmp_path / "parent")
    before = listing(parent)
    plain = write_patched(parent, tmp_path / "plain", [patch()], manifest=manifest_for(parent))
    linked = write_patched(parent, tmp_path / "linked", [patch()], manifest=manifest_for(parent), link=True)
    assert listing(linked) == listing(plain)
    assert listing(parent) == before
    same = [name for name in before if (parent / name).samefile(linked / name)]
    assert same == [SHARDS[0]]
    assert verify_folder(linked, parent).problems == ()


def test_links_into_a_hub_cache_lead_to_its_blobs(tmp_path: Path) -> None:
    plain = write_sharded(tmp_path / "plain")
    root = tmp_path / "models--tests--tiny"
    snapshot = root / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    plain.rename(root / "blobs")
    for path in (root / "blobs").iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    linked = write_patched(snapshot, tmp_path / "linked", [patch()], manifest=manifest_for(snapshot), link=True)
    assert not any(path.is_symlink() for path in linked.iterdir())
    assert (linked / SHARDS[0]).samefile(root / "blobs" / SHARDS[0])


def test_where_no_link_can_be_made_the_file_is_copied(tmp_path: Path) -> None:
    if not os.access("/dev/shm", os.W_OK) or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    import tempfile

    parent = write_sharded(tmp_path / "parent")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        linked = write_patched(parent, Path(elsewhere) / "linked", [patch()], manifest=manifest_for(parent), link=True)
        assert not (linked / SHARDS[0]).samefile(parent / SHARDS[0])
        assert verify_folder(linked, parent).problems == ()


def test_what_another_process_has_mapped_does_not_change(tmp_path: Path) -> None:
    parent = write_sharded(tmp_path / "parent")
    with (parent / SHARDS[1]).open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        before = bytes(mapped)
        for name, link in (("linked", True), ("plain", False)):
            write_patched(parent, tmp_path / name, [patch()], manifest=manifest_for(parent), link=link)
        assert bytes(mapped) == before == (parent / SHARDS[1]).read_bytes()


def test_a_parent_that_changed_since_its_hashes_were_taken_is_told(tmp_path: Path) -> None:
    parent = write_sharded(tmp_path / "parent")
    manifest, known = manifest_for(parent), {name: sha256(parent / name) for name in SHARDS}
    content = bytearray((parent / SHARDS[0]).read_bytes())
    content[-1] ^= 1
    (parent / SHARDS[0]).write_bytes(content)
    with pytest.raises(CheckpointError, match="the file changed while it was copied"):
        write_patched(parent, tmp_path / "edited", [patch()], manifest=manifest, known=known)
    assert [path.name for path in tmp_path.iterdir()] == ["parent"]


def test_hashes_that_were_just_taken_give_the_same_folder(tmp_path: Path) -> None:
    parent = write_sharded(tmp_path / "parent")
    known = {name: sha256(parent / name) for name in listing(parent)}
    one = write_patched(parent, tmp_path / "one", [patch()], manifest=manifest_for(parent))
    two = write_patched(parent, tmp_path / "two", [patch()], manifest=manifest_for(parent), known=known)
    assert listing(one) == listing(two)


def test_what_the_judge_finds_is_told_and_what_it_refuses_is_not_written(tmp_path: Path) -> None:
    parent = write_single(tmp_path / "parent")
    seen: list[Any] = []

    def judge(folder: Path) -> dict[str, float]:
        seen.append((weights_hash(folder), (folder / "knedit.json").exists(), (tmp_path / "edited").exists()))
        return {"success": 1.0}

    def refuse(folder: Path) -> dict[str, float]:
        raise CheckpointError("A protected fact is lost", str(folder))

    edited = write_patched(parent, tmp_path / "edited", [patch()], manifest=manifest_for(parent), judge=judge)
    told = json.loads((edited / "knedit.json").read_text())
    assert (told["evaluation"], seen) == ({"success": 1.0}, [(told["sha256"], False, False)])
    assert verify_folder(edited, parent).problems == ()
    with pytest.raises(CheckpointError, match="A protected fact is lost"):
        write_patched(parent, tmp_path / "refused", [patch()], manifest=manifest_for(parent), judge=refuse)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edited", "parent"]

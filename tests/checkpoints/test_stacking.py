"""Several deltas on one checkpoint: those that follow each other, those that lie side by side, those that disagree."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from knedit.checkpoints.delta import read_delta, write_delta
from knedit.checkpoints.extraction import deltas_of_child
from knedit.checkpoints.patch import TensorPatch, write_patched
from knedit.checkpoints.stacking import NamedDelta, apply_deltas, revert
from knedit.checkpoints.verify import verify_folder
from knedit.errors import CheckpointError
from tests.checkpoints.making import CREATED, listing, manifest_for, sha256, weights_hash, write_sharded, write_single

OWN = {"knedit": "0.2", "created": CREATED}


def edit(parent: Path, name: str, columns: Mapping[int, float], *, tensor: str = "down.1", axis: int = 1) -> Path:
    """Return the edited checkpoint `name` beside its parent, each of the columns filled with one number."""
    width = 6 if axis == 1 else 9
    values = np.stack([np.full(width, value) for value in columns.values()])
    patch = TensorPatch(tensor, axis, tuple(columns), values)
    return write_patched(parent, parent.with_name(name), [patch], manifest=manifest_for(parent))


def delta(child: Path) -> NamedDelta:
    path = child.with_name(f"{child.name}.safetensors")
    if not path.exists():
        write_delta(path, deltas_of_child(child)[0])
    return NamedDelta(path.name, read_delta(path))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_sharded(tmp_path / "base", "BF16")


def test_deltas_that_follow_each_other_give_the_last_checkpoint(base: Path) -> None:
    first = edit(base, "first", {1: 1.0, 2: 2.0})
    second = edit(first, "second", {2: 3.0, 4: 4.0})
    both = apply_deltas(base, [delta(first), delta(second)], base.with_name("both"), manifest=OWN)
    assert weights_hash(both) == weights_hash(second)
    told = json.loads((both / "knedit.json").read_text())
    assert [one["sha256"] for one in told["edit"]["deltas"]] == [weights_hash(first), weights_hash(second)]
    assert told["parent"]["sha256"] == weights_hash(base)
    assert [change["indices"] for change in told["changed"]] == [[1, 2, 4]]
    assert verify_folder(both, base).problems == ()


def test_deltas_of_one_parent_are_put_together_where_they_agree(base: Path) -> None:
    first, second = edit(base, "first", {1: 1.0, 2: 2.0}), edit(base, "second", {2: 2.0, 4: 4.0})
    third = edit(base, "third", {0: 5.0}, tensor="down.0", axis=0)
    stacked = [delta(one) for one in (first, second, third)]
    both = apply_deltas(base, stacked, base.with_name("both"), manifest=OWN)
    again = edit(edit(base, "one", {1: 1.0, 2: 2.0, 4: 4.0}), "two", {0: 5.0}, tensor="down.0", axis=0)
    assert weights_hash(both) == weights_hash(again)
    told = json.loads((both / "knedit.json").read_text())
    assert (told["knedit"], told["created"], told["sha256"]) == ("0.2", CREATED, weights_hash(both))
    assert verify_folder(both, base).problems == ()
    other_order = apply_deltas(base, stacked[::-1], base.with_name("other-order"), manifest=OWN)
    assert weights_hash(other_order) == weights_hash(both)


def test_deltas_that_disagree_are_refused_and_the_columns_named(base: Path) -> None:
    first, second = edit(base, "first", {1: 1.0, 2: 2.0, 7: 1.0}), edit(base, "second", {1: 1.5, 4: 4.0, 7: 2.0})
    third = edit(base, "third", {0: 5.0}, axis=0)
    message = (
        r"disagree over the same value vectors \(down\.1, column 1, 7: first\.safetensors and second\.safetensors\)"
    )
    with pytest.raises(CheckpointError, match=message):
        apply_deltas(base, [delta(first), delta(second)], base.with_name("both"), manifest=OWN)
    with pytest.raises(CheckpointError, match=r"down\.1 is cut in two ways"):
        apply_deltas(base, [delta(first), delta(third)], base.with_name("both"), manifest=OWN)
    after_first = edit(first, "after-first", {1: 9.0})
    agrees = edit(base, "agrees", {4: 4.0, 1: 1.0})
    for stacked in ((first, agrees, after_first), (agrees, first, after_first)):
        with pytest.raises(CheckpointError, match=r"column 1: agrees\.safetensors and after-first\.safetensors"):
            apply_deltas(base, [delta(one) for one in stacked], base.with_name("both"), manifest=OWN)
    other_way = [delta(one) for one in (first, after_first, agrees)]
    with pytest.raises(CheckpointError, match=r"column 1: after-first\.safetensors and agrees\.safetensors"):
        apply_deltas(base, other_way, base.with_name("both"), manifest=OWN)
    assert not base.with_name("both").exists()


def test_a_delta_for_other_weights_is_refused(base: Path, tmp_path: Path) -> None:
    other = write_single(tmp_path / "other", "F32")
    made = delta(edit(base, "first", {1: 1.0}))
    with pytest.raises(CheckpointError, match=r"The delta is for the weights of tests/parent with the sha256 "):
        apply_deltas(other, [made], tmp_path / "out", manifest=OWN)
    second = delta(edit(base.with_name("first"), "second", {1: 2.0}))
    with pytest.raises(CheckpointError, match="not for these"):
        apply_deltas(base, [second, made], tmp_path / "out", manifest=OWN)
    assert not (tmp_path / "out").exists()


def test_old_and_new_values_are_not_mistaken_for_each_other(base: Path, tmp_path: Path) -> None:
    child = edit(base, "first", {1: 1.0})
    there, back = (NamedDelta(one.kind, one) for one in deltas_of_child(child, base))
    with pytest.raises(CheckpointError, match="holds the values from before an edit"):
        apply_deltas(child, [back], tmp_path / "out", manifest=OWN)
    with pytest.raises(CheckpointError, match="holds the new values"):
        revert(child, tmp_path / "out", delta=there)
    with pytest.raises(CheckpointError, match="not for these"):
        revert(base, tmp_path / "out", delta=back)
    assert not (tmp_path / "out").exists()


def test_what_came_with_the_edit_stays_behind_when_it_is_taken_back(base: Path, tmp_path: Path) -> None:
    patch = TensorPatch("down.0", 1, (3,), np.ones((1, 6)))
    texts = {"README.md": "# Edited\n", "notes.md": "of the edit"}
    child = write_patched(base, tmp_path / "child", [patch], manifest=manifest_for(base), texts=texts)
    old = revert(child, tmp_path / "old", parent=base)
    expected = {name: content for name, content in listing(base).items() if name != "README.md"}
    assert {name: content for name, content in listing(old).items() if name != "SHA256SUMS"} == expected
    assert verify_folder(old).problems == ()


def test_another_folder_than_the_parent_cannot_give_the_old_values(base: Path, tmp_path: Path) -> None:
    child = edit(base, "child", {1: 1.0})
    other = write_sharded(tmp_path / "other", "F16")
    with pytest.raises(CheckpointError, match=r"not the parent that knedit\.json names"):
        revert(child, tmp_path / "old", parent=other)
    with pytest.raises(CheckpointError, match=r"no knedit\.json"):
        revert(base, tmp_path / "old", parent=other)
    shard = child / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\7")
    with pytest.raises(CheckpointError, match=r"weights are not those that knedit\.json names"):
        revert(child, tmp_path / "old", parent=base)


def test_a_forged_delta_that_gives_other_weights_is_refused(base: Path, tmp_path: Path) -> None:
    made = delta(edit(base, "first", {1: 1.0}))
    path = base.with_name("first.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="The weights come out with the sha256"):
        apply_deltas(base, [NamedDelta(made.name, read_delta(path))], tmp_path / "out", manifest=OWN)
    content[-2:] = b"\xc0\x7f"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"values for down\.1 are not finite"):
        apply_deltas(base, [NamedDelta(made.name, read_delta(path))], tmp_path / "out", manifest=OWN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "first", "first.safetensors"]


def test_a_delta_is_small_and_the_same_each_time(tmp_path: Path) -> None:
    parent = write_single(tmp_path / "parent", "BF16", rows=576, columns=1536)
    child = edit_many(parent)
    for name in ("one", "two"):
        write_delta(tmp_path / name, deltas_of_child(child)[0])
    assert sha256(tmp_path / "one") == sha256(tmp_path / "two")
    assert 64 * 576 * 2 < (tmp_path / "one").stat().st_size < 64 * 576 * 2 + 4000
    with pytest.raises(CheckpointError, match="exists"):
        write_delta(tmp_path / "one", deltas_of_child(child)[0])


def edit_many(parent: Path) -> Path:
    values = np.random.default_rng(0).normal(size=(64, 576))
    patch = TensorPatch("down.1", 1, tuple(range(0, 1536, 24)), values)
    return write_patched(parent, parent.with_name("child"), [patch], manifest=manifest_for(parent))

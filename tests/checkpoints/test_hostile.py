"""Files that nobody vouches for: one clear error each, nothing written, little memory; and mutations by the thousand.

`KNEDIT_MUTATIONS` sets how many mutations there are of each kind of file.
"""

import json
import os
import random
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from knedit.checkpoints.delta import KEY, read_delta, write_delta
from knedit.checkpoints.extraction import deltas_of_child
from knedit.checkpoints.patch import TensorPatch, write_patched
from knedit.checkpoints.stacking import NamedDelta, apply_deltas
from knedit.checkpoints.verify import verify_folder
from knedit.errors import CheckpointError
from tests.checkpoints.making import entry, header_of, listing, manifest_for, write_sharded, write_single
from tests.thorough import rounds

ROUNDS = rounds("KNEDIT_MUTATIONS", 60, 5000)
INDEX = "model.safetensors.index.json"
PATCH = TensorPatch("down.1", 1, (2, 5), np.arange(12.0).reshape(2, 6))


def refusal(parent: Path) -> str:
    """Return the one sentence in which an edit of `parent` is refused: it stays as it is, and nothing is left."""
    before, manifest = listing(parent), manifest_for(write_single(parent.with_name(".whole")))
    beside = sorted(parent.parent.iterdir())
    tracemalloc.start()
    with pytest.raises(CheckpointError) as caught:
        write_patched(parent, parent.with_name("edited"), [PATCH], manifest=manifest)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300e6
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert listing(parent) == before
    assert sorted(parent.parent.iterdir()) == beside
    return str(caught.value)


def replace_header(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)


def sparse(folder: Path, header: int, size: int) -> None:
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", header))
        stream.truncate(size)


def put_link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def put_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


ELSEWHERE = "is no shard of this folder"
ONE_FILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a header longer than the file": (
        lambda folder: replace_header(folder, struct.pack("<Q", 10_000) + b"{}"),
        "header would be 10,000 bytes of a file of 10",
    ),
    "a header of 2⁶³ bytes": (lambda folder: replace_header(folder, struct.pack("<Q", 2**63) + b"{}"), "header would"),
    "overlapping tensors": (
        lambda folder: replace_header(
            folder, header_of({"a": entry("U8", [2], 0), "b": entry("U8", [2], 1)}, bytes(3))
        ),
        "overlap at byte",
    ),
    "a tensor beyond the file": (
        lambda folder: replace_header(folder, header_of({"a": entry("F32", [2], 0)}, bytes(4))),
        "overlap at byte",
    ),
    "a negative offset": (
        lambda folder: replace_header(folder, header_of({"a": entry("U8", [2], -2, 0)}, bytes(4))),
        "not counts",
    ),
    "a key twice": (
        lambda folder: replace_header(
            folder, header_of('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}')
        ),
        "appears twice",
    ),
    "a header of 100 MB": (lambda folder: sparse(folder, 100_000_000, 120_000_000), "header would be 100,000,000"),
    "no JSON, 32 MB of it": (lambda folder: sparse(folder, 32_000_000, 40_000_000), "does not start with"),
    "millions of keys": (
        lambda folder: replace_header(folder, header_of("{" + '"":0,' * 6_300_000 + '"a":0}')),
        "more than 1,000,000 keys",
    ),
    "many keys, one of them twice": (
        lambda folder: replace_header(
            folder, header_of("{" + ",".join(f'"{n % 100_000}":0' for n in range(100_001)) + "}")
        ),
        "the key '0' appears twice",
    ),
    "a symlink out of the folder": (
        lambda folder: put_link(folder / "config.json", "/etc/hostname"),
        "leads out of the checkpoint's folder",
    ),
    "a symlink to itself": (
        lambda folder: put_link(folder / "tokenizer.json", "tokenizer.json"),
        "cannot be reached|is missing",
    ),
    "a pipe": (
        lambda folder: put_pipe(folder / "tokenizer.json"),
        "not a regular file",
    ),
}


@pytest.mark.parametrize("kind", ONE_FILE)
def test_hostile_files_are_refused_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    change, message = ONE_FILE[kind]
    parent = write_single(tmp_path / "parent")
    change(parent)
    assert re.search(message, refusal(parent))


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../model.safetensors"}, ELSEWHERE),
        ({"a": "/etc/model.safetensors"}, ELSEWHERE),
        ({"a": "sub/model.safetensors"}, ELSEWHERE),
        ({"a": "..\\model.safetensors"}, ELSEWHERE),
        ({"a": "model\0.safetensors"}, ELSEWHERE),
        ({"a": ["model.safetensors"]}, ELSEWHERE),
        ({"a": "model-00009-of-00009.safetensors"}, r"model-00009-of-00009\.safetensors is missing"),
        ({"down.1": "model-00001-of-00002.safetensors"}, "by the index"),
        ({}, "no weight_map"),
        ([], "no weight_map"),
    ],
)
def test_a_hostile_index_is_refused_and_nothing_is_written(tmp_path: Path, weight_map: object, message: str) -> None:
    parent = write_sharded(tmp_path / "parent")
    (parent / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert re.search(message, refusal(parent))


def mutate(chance: random.Random, content: bytes, length: int) -> bytes:
    """Return `content` with some bytes of its first `length` changed, left out, doubled or made of its own words."""
    made = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5))):
        made = made or bytearray(b"\0")
        at = chance.randrange(min(length, len(made)))
        match chance.randrange(6):
            case 0:
                made[at] ^= 1 << chance.randrange(8)
            case 1:
                made[at] = chance.choice(b'0123456789-.{}[]",:eEn \\')
            case 2:
                del made[at : at + chance.randrange(1, 9)]
            case 3:
                other = chance.randrange(length)
                made[at:at] = made[other : other + chance.randrange(1, 40)]
            case 4:
                made[:8] = struct.pack(
                    "<Q", chance.choice((0, 1, length - 9, length, 2**31, 2**63, chance.randrange(999)))
                )
            case _:
                made = made[: chance.randrange(len(made))]
    return bytes(made)


def test_mutated_headers_are_refused_or_change_just_the_named_columns(tmp_path: Path) -> None:
    chance = random.Random(1)
    parent = write_single(tmp_path / "parent")
    path, output = parent / "model.safetensors", tmp_path / "edited"
    whole = path.read_bytes()
    length = 8 + struct.unpack("<Q", whole[:8])[0]
    written = 0
    for _ in range(ROUNDS):
        content = mutate(chance, whole, length)
        path.write_bytes(content)
        try:
            write_patched(parent, output, [PATCH], manifest=manifest_for(parent))
        except CheckpointError:
            assert [one.name for one in tmp_path.iterdir()] == ["parent"]
        else:
            written += 1
            changed = (output / "model.safetensors").read_bytes()
            assert len(changed) == len(content)
            assert sum(a != b for a, b in zip(changed, content, strict=True)) <= PATCH.values.size * 8
            assert verify_folder(output, parent).problems == ()
            for one in output.iterdir():
                one.unlink()
            output.rmdir()
        assert path.read_bytes() == content
    assert written < ROUNDS


def test_mutated_deltas_are_refused_or_give_the_whole_edit(tmp_path: Path) -> None:
    chance = random.Random(2)
    parent = write_single(tmp_path / "parent", "BF16")
    child = write_patched(parent, tmp_path / "child", [PATCH], manifest=manifest_for(parent))
    path, output = tmp_path / "delta.safetensors", tmp_path / "out"
    write_delta(path, deltas_of_child(child)[0])
    whole = path.read_bytes()
    there = sorted(one.name for one in tmp_path.iterdir())
    for _ in range(ROUNDS):
        path.write_bytes(mutate(chance, whole, len(whole)))
        try:
            apply_deltas(parent, [NamedDelta("delta", read_delta(path))], output, manifest={})
        except CheckpointError:
            assert sorted(one.name for one in tmp_path.iterdir()) == there
            continue
        assert (output / "model.safetensors").read_bytes() == (child / "model.safetensors").read_bytes()
        assert verify_folder(output, parent).problems == ()
        for one in output.iterdir():
            one.unlink()
        output.rmdir()


def test_mutated_manifests_and_sums_are_found(tmp_path: Path) -> None:
    chance = random.Random(3)
    parent = write_single(tmp_path / "parent", "BF16")
    child = write_patched(parent, tmp_path / "child", [PATCH], manifest=manifest_for(parent))
    for name in ("knedit.json", "SHA256SUMS"):
        whole = (child / name).read_bytes()
        for _ in range(ROUNDS):
            mutated = mutate(chance, whole, len(whole))
            (child / name).write_bytes(mutated)
            assert mutated == whole or not verify_folder(child, parent).ok
        (child / name).write_bytes(whole)
    assert verify_folder(child, parent).ok


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header["__metadata__"].pop(KEY), "no delta of knedit"),
        (lambda header: header["__metadata__"].update(kind="other"), "no delta of knedit"),
        (lambda header: header["__metadata__"].update({KEY: "[]"}), "no JSON object"),
        (lambda header: header["__metadata__"].update({KEY: '{"format": 9}'}), "format is 9"),
        (lambda header: header.update({"down.0": header.pop("down.1")}), "not those that its metadata list"),
        (lambda header: header["down.1"].update(shape=[4, 3]), "is not what its metadata tell"),
        (lambda header: header["down.1"].update(shape=[2, 3, 2]), "is not what its metadata tell"),
        (lambda header: header["down.1"].update(dtype="I16"), "is not what its metadata tell"),
        (lambda header: header["down.1"].update(dtype="F16"), "The delta's values are F16, the weights BF16"),
    ],
)
def test_hostile_deltas_are_refused(
    tmp_path: Path, change: Callable[[dict[str, object]], object], message: str
) -> None:
    parent = write_single(tmp_path / "parent", "BF16")
    child = write_patched(parent, tmp_path / "child", [PATCH], manifest=manifest_for(parent))
    path = tmp_path / "delta.safetensors"
    write_delta(path, deltas_of_child(child)[0])
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    path.write_bytes(header_of(header, content[8 + length :]))
    with pytest.raises(CheckpointError, match=message):
        apply_deltas(parent, [NamedDelta("delta", read_delta(path))], tmp_path / "out", manifest={})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tensor", "file", "message"),
    [
        ("down.1.qweight", None, r"tensor down\.1\.qweight, as GPTQ or AWQ leaves it"),
        ("down.1.g_idx", None, "as GPTQ leaves it"),
        ("down.1.SCB", None, "as bitsandbytes leaves it"),
        ("down.1.quant_state.bitsandbytes__nf4", None, "as bitsandbytes leaves it"),
        (None, "quantize_config.json", "quantize_config.json lies beside it, as GPTQ leaves it"),
        (None, "quant_config.json", "as AWQ leaves it"),
    ],
)
def test_quantised_parents_are_refused_with_the_reason(
    tmp_path: Path, tensor: str | None, file: str | None, message: str
) -> None:
    parent = write_single(tmp_path / "parent")
    if tensor:
        replace_header(parent, header_of({tensor: entry("U8", [1], 0)}, b"\0"))
    if file:
        (parent / file).write_text("{}")
    assert re.search(message, refusal(parent))


def test_gguf_parents_are_refused_with_the_reason(tmp_path: Path) -> None:
    parent = write_single(tmp_path / "parent")
    manifest = manifest_for(parent)
    (parent / "model.safetensors").rename(parent / "model-q4.gguf")
    with pytest.raises(CheckpointError, match=r"only GGUF weights, model-q4\.gguf"):
        write_patched(parent, tmp_path / "edited", [PATCH], manifest=manifest)
    with pytest.raises(CheckpointError, match="A GGUF file cannot be edited where it lies"):
        write_patched(parent / "model-q4.gguf", tmp_path / "edited", [PATCH], manifest=manifest)


def test_eight_bit_weights_with_a_scale_beside_them_are_refused(tmp_path: Path) -> None:
    parent = write_single(tmp_path / "parent")
    tensors = {
        "down.1": {"dtype": "F8_E4M3", "shape": [6, 9], "data_offsets": [0, 54]},
        "down.1_scale_inv": entry("F32", [1], 54),
    }
    replace_header(parent, header_of(tensors, bytes(58)))
    assert re.search(r"The tensor is quantised: down\.1_scale_inv scales it", refusal(parent))

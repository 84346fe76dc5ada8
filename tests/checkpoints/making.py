"""Small checkpoints made by hand: the safetensors bytes are put together here, without knedit's reader or a library."""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

TORCH = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
CREATED = "2026-07-01T12:00:00+00:00"


def stored(values: torch.Tensor, dtype: str) -> bytes:
    """Return `values` as they are stored in `dtype`, rounded by torch."""
    return values.to(TORCH[dtype]).contiguous().view(torch.uint8).numpy().tobytes()


def safetensors(tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> bytes:
    """Return a safetensors file of `tensors` (type, shape, bytes), in their order, padded to 8 bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    buffer = b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(buffer), len(buffer) + len(raw)]}
        buffer += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + buffer


def matrix(rows: int, columns: int, *, seed: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tensors(dtype: str = "F32", *, rows: int = 6, columns: int = 9) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return three tensors: a vector of odd length in bytes, then two matrices "down.0" and "down.1"."""
    made: dict[str, tuple[str, tuple[int, ...], bytes]] = {"mask": ("U8", (3,), b"\1\2\3")}
    for number in range(2):
        values = matrix(rows, columns, seed=number)
        made[f"down.{number}"] = (dtype, (rows, columns), stored(values, dtype))
    return made


def write_single(folder: Path, dtype: str = "F32", *, rows: int = 6, columns: int = 9) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(safetensors(tensors(dtype, rows=rows, columns=columns)))
    return write_settings(folder)


def write_sharded(folder: Path, dtype: str = "F32", *, rows: int = 6, columns: int = 9) -> Path:
    folder.mkdir(parents=True)
    made = tensors(dtype, rows=rows, columns=columns)
    shards = {"model-00001-of-00002.safetensors": ["mask", "down.0"], "model-00002-of-00002.safetensors": ["down.1"]}
    for file, names in shards.items():
        (folder / file).write_bytes(safetensors({name: made[name] for name in names}))
    weight_map = {name: file for file, names in shards.items() for name in names}
    index = {"metadata": {"total_size": sum(len(raw) for _, _, raw in made.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return write_settings(folder)


def write_settings(folder: Path) -> Path:
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text(json.dumps({"of": name}))
    (folder / "README.md").write_text("# The parent\n")
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights_hash(folder: Path) -> str:
    """Return the sha256 of a folder's weights as `sha256sum` would have it, by the file's or the shards' names."""
    single = folder / "model.safetensors"
    if single.exists():
        return sha256(single)
    lines = "".join(f"{sha256(path)}  {path.name}\n" for path in sorted(folder.glob("model-*.safetensors")))
    return hashlib.sha256(lines.encode()).hexdigest()


def manifest_for(parent: Path) -> dict[str, Any]:
    named = {"name": "tests/parent", "sha256": weights_hash(parent), "revision": None}
    return {"knedit": "0.1", "created": CREATED, "parent": named, "edit": {"solver": "scale", "factor": 2.0}}


def tensor_begin(path: Path, name: str) -> int:
    """Return the offset in the file of a tensor's first byte, from the header's own JSON."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return int(8 + length + json.loads(content[8 : 8 + length])[name]["data_offsets"][0])


def with_slices(
    content: bytes, begin: int, *, dtype: str, shape: tuple[int, int], axis: int, values: Mapping[int, torch.Tensor]
) -> bytes:
    """Return `content` with the slices `values` of the matrix at `begin` written number by number."""
    changed = bytearray(content)
    size = len(stored(torch.zeros(1), dtype))
    for index, slice_ in values.items():
        raw = stored(slice_, dtype)
        assert len(raw) == size * shape[1 - axis]
        for position in range(shape[1 - axis]):
            row, column = (position, index) if axis == 1 else (index, position)
            at = begin + (row * shape[1] + column) * size
            changed[at : at + size] = raw[position * size : (position + 1) * size]
    return bytes(changed)


def listing(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file under `folder`, hidden ones too, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def header_of(entries: object, buffer: bytes = b"") -> bytes:
    """Return a file with `entries` (JSON, or text as it is) as header, whatever it holds."""
    text = entries.encode() if isinstance(entries, str) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + buffer


def entry(dtype: str, shape: list[int], begin: int, end: int | None = None) -> dict[str, object]:
    size = {"F32": 4, "U8": 1}.get(dtype, 2)
    return {
        "dtype": dtype,
        "shape": shape,
        "data_offsets": [begin, begin + math.prod(shape) * size if end is None else end],
    }

"""Where the tensors of one safetensors file lie, by its header: no byte of a tensor is read.

Knows nothing of folders and indexes. The checks are the format's own (8 bytes N, N bytes of JSON, one buffer that
the tensors cover without hole or overlap), made before anything is allocated: the file may come from anyone.
"""

import math
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from knedit.checkpoints.strict_json import CURE, LARGEST, parse_json
from knedit.dtypes import BIT_WIDTHS
from knedit.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """A tensor's bytes, `begin` to `end` of `file`, the shard's name in its folder; rows after rows, little-endian."""

    name: str
    file: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path, file: str) -> list[TensorPlace]:
    """Return the places of all tensors in the safetensors file at `path`, in the order of their bytes.

    `file` is what the places call it. Raises CheckpointError for whatever the format forbids.
    """
    return read_whole_header(path, file)[1]


def read_whole_header(path: Path, file: str) -> tuple[dict[str, str], list[TensorPlace]]:
    """Return the header's metadata, and the places as `read_header` does."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            length = int.from_bytes(stream.read(8), "little")
            if size < 10 or not 2 <= length <= min(size - 8, LARGEST):
                _refuse(path, f"The header would be {length:,} bytes of a file of {size:,}")
            text = stream.read(length)
    except OSError as error:
        raise CheckpointError(f"Cannot read the weights: {error.strerror}", str(path)) from error
    if not text.startswith(b"{"):
        _refuse(path, "The header does not start with {")
    header = parse_json(text, str(path))
    metadata = header.pop("__metadata__", {})
    _check_metadata(path, metadata)
    places = [_place(path, file, name, entry, start=8 + length) for name, entry in header.items()]
    places.sort(key=lambda place: (place.begin, place.end))
    _check_cover(path, places, first=8 + length, last=size)
    return metadata, places


def _place(path: Path, file: str, name: str, entry: Any, *, start: int) -> TensorPlace:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end]} if len(entry) == 3:
            pass
        case _:
            _refuse(path, f"The entry of tensor {name!r} is not dtype, shape and data_offsets")
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        _refuse(path, f"Tensor {name!r} has sizes or offsets that are not counts")
    if dtype not in BIT_WIDTHS:
        _refuse(path, f"Tensor {name!r} is of the unknown type {dtype!r}")
    if not name.isprintable():
        _refuse(path, f"The tensor name {name!r} is not printable")
    if (end - begin) * 8 != math.prod(shape) * BIT_WIDTHS[dtype]:
        _refuse(path, f"Tensor {name!r} has {end - begin:,} bytes, which do not fit {dtype} {shape}")
    return TensorPlace(name, file, dtype, tuple(shape), start + begin, start + end)


def _check_metadata(path: Path, metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        _refuse(path, "The header's metadata are not texts")


def _check_cover(path: Path, places: list[TensorPlace], *, first: int, last: int) -> None:
    edges = [(first, first), *((place.begin, place.end) for place in places), (last, last)]
    for (_, end), (begin, _) in pairwise(edges):
        if begin != end:
            _refuse(path, f"The tensors {'leave a hole' if begin > end else 'overlap'} at byte {min(begin, end):,}")


def _refuse(path: Path, what: str) -> NoReturn:
    raise CheckpointError(what, str(path), CURE)

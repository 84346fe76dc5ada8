"""JSON from files that nobody vouches for: read whole but capped, with duplicate keys and NaN refused.

Knows nothing of what the JSON means. The rules are those of the safetensors format.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from knedit.errors import CheckpointError

LARGEST = 32_000_000  # bytes; safetensors allows headers of 100 MB, but the largest known ones have a few
MOST = 1_000_000  # keys: what a file of this size made of nothing else would need is more than a gigabyte
CURE = "The file is damaged or was not made by a tool that keeps to the format: fetch it again."


def parse_json(text: bytes, where: str, *, strict: bool = True) -> Any:
    """Return the JSON value of `text`; not `strict`, the last of duplicate keys counts and NaN is a number.

    Raises CheckpointError.
    """
    if text.count(b":") > MOST or text.count(b",") > 4 * MOST:
        raise CheckpointError(f"There are more than {MOST:,} keys in this JSON", where, CURE)
    try:
        if not strict:
            return json.loads(text.decode())
        return json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"This is not valid JSON: {error}", where, CURE) from error


def read_json(path: Path, *, strict: bool = True) -> dict[str, Any]:
    """Return the JSON object in `path`, of at most 32 MB. Raises CheckpointError."""
    try:
        if path.stat().st_size > LARGEST:
            raise CheckpointError(f"The file is larger than {LARGEST:,} bytes", str(path), CURE)
        text = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"Cannot read the file: {error.strerror}", str(path)) from error
    value = parse_json(text, str(path), strict=strict)
    if not isinstance(value, dict):
        raise CheckpointError("The file holds no JSON object", str(path), CURE)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"the key {next(key for key in counts if counts[key] > 1)!r} appears twice")
    return table


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")

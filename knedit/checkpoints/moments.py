"""Files of second moments: named float64 tables in one safetensors file, beside what they are of.

A file appears whole or not at all; another process may read it meanwhile. Knows nothing of what is counted.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from knedit.errors import CheckpointError

FORMAT = "knedit moments 1"

Tables = Mapping[str, NDArray[np.float64]]


def write_moments(path: Path, tables: Tables, about: Mapping[str, str]) -> None:
    """Write tables and what they are of, over a file that is there. Raises CheckpointError where that cannot be."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file({name: np.ascontiguousarray(table) for name, table in tables.items()}, partial, _told(about))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"the statistics cannot be written: {error}",
            str(path),
            "Free some disk space, or point KNEDIT_CACHE at a folder on another disk.",
        ) from None


def _told(about: Mapping[str, str]) -> dict[str, str]:
    return {"format": FORMAT, **about}


def read_about(path: Path) -> Mapping[str, str] | None:
    """Return what a file's tables are of, or None where there is no file. Raises CheckpointError for another file."""
    opened = _opened(path)
    return None if opened is None else opened[0]


def read_moments(path: Path, *, only: str | None = None) -> tuple[Mapping[str, str], Tables] | None:
    """Return what a file's tables are of, and the tables, or one of them; None where there is no file.

    Raises CheckpointError.
    """
    opened = _opened(path)
    if opened is None:
        return None
    about, file = opened
    return about, {name: file.get_tensor(name) for name in file.keys() if only in (None, name)}  # noqa: SIM118


def _opened(path: Path) -> tuple[Mapping[str, str], Any] | None:
    if not path.exists():
        return None
    try:
        file: Any = safe_open(path, framework="numpy")
        about = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _damaged(path, str(error)) from None
    if about.get("format") != FORMAT:
        raise _damaged(path, "they are of another format")
    return about, file


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"the statistics cannot be read: {why}", str(path), "Remove the file; it is made anew.")

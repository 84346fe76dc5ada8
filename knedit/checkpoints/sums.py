"""`SHA256SUMS`, the list of a folder's files that `sha256sum -c` checks.

Knows nothing of checkpoints. The format is GNU's: 64 digits, two spaces, the file's name; sorted by name.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from knedit.checkpoints.folder import SUMS, reach
from knedit.checkpoints.strict_json import LARGEST
from knedit.errors import CheckpointError

LINE = re.compile(r"([0-9a-f]{64})  ([^\\]+)")


def sums_text(hashes: Mapping[str, str]) -> str:
    """Return the lines for `hashes`, sha256 by file name."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))


def read_sums(folder: Path) -> dict[str, str] | None:
    """Return the sha256 by file name that SHA256SUMS tells, or None where there is none. Raises CheckpointError."""
    if not (folder / SUMS).exists():
        return None
    path = reach(folder, SUMS)
    try:
        if path.stat().st_size > LARGEST:
            raise CheckpointError(f"The file is larger than {LARGEST:,} bytes", str(path))
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"Cannot read {SUMS}: {error}", str(path)) from error
    hashes: dict[str, str] = {}
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        match = LINE.fullmatch(line)
        if not match or not match[2].isprintable() or match[2] in hashes:
            raise CheckpointError("This line is no new sha256 and file name", f"{folder / SUMS}, line {number}")
        hashes[match[2]] = match[1]
    if not text.endswith("\n"):
        raise CheckpointError("The last line is cut short", str(folder / SUMS))
    return hashes

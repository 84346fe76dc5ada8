"""What writing and verifying an edited checkpoint takes of memory, however large it is.

`KNEDIT_LARGE` sets its gigabytes. The parent is sparse, the copy is not: 30 need as much room on the disk, and minutes.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from knedit.checkpoints.fingerprint import weights_sha256
from tests.checkpoints.making import CREATED, header_of
from tests.checkpoints.test_staging import result, writer

GIGABYTES = float(os.environ.get("KNEDIT_LARGE", "0.4"))
ROWS = 8192


def write_sparse(folder: Path, size: int) -> Path:
    """Write two shards of zeros, each one matrix of half the `size` in float16."""
    folder.mkdir()
    columns = size // 4 // ROWS
    entry = {"dtype": "F16", "shape": [ROWS, columns], "data_offsets": [0, ROWS * columns * 2]}
    weight_map = {f"down.{number}": f"model-{number}.safetensors" for number in range(2)}
    for name, file in weight_map.items():
        header = header_of({name: entry})
        with (folder / file).open("wb") as stream:
            stream.write(header)
            stream.truncate(len(header) + ROWS * columns * 2)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_a_checkpoint_is_patched_and_verified_in_little_memory_however_large_it_is(tmp_path: Path) -> None:
    parent = write_sparse(tmp_path / "parent", int(GIGABYTES * 1e9))
    sizes = [path.stat().st_size for path in parent.glob("*.safetensors")]
    assert min(sizes) > 0.49e9 * GIGABYTES
    named = {"name": "zeros", "sha256": weights_sha256(parent), "revision": None}
    manifest: dict[str, Any] = {"knedit": "0.1", "created": CREATED, "parent": named, "edit": {}}
    told: Any = result(writer("measured", parent, tmp_path / "edited", ROWS, manifest=manifest), seconds=3000)
    peak, problems = told
    assert problems == []
    assert peak < 150e6 < sum(sizes), f"{peak:,} bytes of memory for {sum(sizes):,}"
    assert [(tmp_path / "edited" / path.name).stat().st_size for path in parent.glob("*.safetensors")] == sizes
    shutil.rmtree(tmp_path / "edited")

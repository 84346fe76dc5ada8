"""The benchmark of patching runs and tells what it promises; its figures mean nothing at this size."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_small_run_tells_times_memory_and_bytes(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts/bench_patch.py"), "--size", "0.004", "--shards", "2"]
    command += [
        "--columns",
        "10",
        "--repeats",
        "1",
        "--cold",
        "--folder",
        str(tmp_path),
        "--json",
        str(tmp_path / "told.json"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    (told,) = json.loads((tmp_path / "told.json").read_text())["results"]
    assert (told["size"], told["shards"], told["columns"]) == (0.004, 2, 10)
    assert list(told["rows"]) == ["cp", "cp, on the disk", "knedit", "knedit --link"]
    whole, linked = (told["rows"][name] for name in ("knedit", "knedit --link"))
    assert 4_000_000 <= whole["bytes"] < 4_010_000
    assert 2_000_000 <= linked["bytes"] < 2_010_000
    assert whole["memory"] < 300e6
    assert (told["rows"]["cp"]["of cp"], told["rows"]["cp, on the disk"]["of cp, on the disk"]) == (1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["told.json"]

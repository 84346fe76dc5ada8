"""A process that writes edited checkpoints, to be stopped, killed and starved by the tests. Starts without torch.

`python -m tests.checkpoints.writer once MANIFEST PARENT OUTPUT LIMIT` writes one, no file longer than LIMIT bytes
where that is not 0, and tells what came of it. `… killed MANIFEST PARENT OUTPUT KILLS` forks writers and kills each at
a random moment until KILLS were killed at work, then lets one live, and tells what lay there after each: names, and
for a writer's leavings whether they have a config.json and the sha256 of their weights. `… measured MANIFEST PARENT
OUTPUT ROWS` changes columns of ROWS numbers, verifies the result, and tells the most memory that it took and what was
wrong.

Files of a megabyte count as long here, so they go past the page cache.
"""

import hashlib
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from knedit.checkpoints import writing
from knedit.checkpoints.patch import TensorPatch, write_patched
from knedit.checkpoints.verify import verify_folder
from knedit.errors import CheckpointError

Write = Callable[[], object]


def once(write: Write, output: Path, limit: int) -> str:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script in a shell's background starts deaf to it
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        write()
    except CheckpointError as error:
        return str(error)
    except KeyboardInterrupt:
        return "interrupted"
    return "written"


def measured(write: Write, output: Path, rows: int) -> tuple[int, tuple[str, ...]]:
    write()
    report = verify_folder(output, output.with_name("parent"))
    (peak,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line[:6] == "VmHWM:")
    return int(peak) * 1024, report.problems  # unlike ru_maxrss it knows nothing of the process that forked this one


def killed(write: Write, output: Path, kills: int) -> list[tuple[list[str], str | None]]:
    chance, usual, seen, at_work = random.Random(0), 0.2, [], 0
    for number in range(100 + 20 * kills):
        start = time.perf_counter()
        child = fork(write)
        time.sleep(chance.uniform(0, usual))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen.append(look(output))
        if output.exists():  # it was quicker than the kill
            output.rename(output.with_name(f"whole-{number}"))
            usual = time.perf_counter() - start
        at_work += f".{output.name}.knedit-partial" in seen[-1][0]
        if at_work == kills:
            break
    os.waitpid(fork(write), 0)
    return [*seen, look(output)]


def look(output: Path) -> tuple[list[str], str | None]:
    """Return what lies beside `output`, and the sha256 of weights in an unfinished folder that would load."""
    names = sorted(path.name for path in output.parent.iterdir())
    partial = output.with_name(f".{output.name}.knedit-partial")
    if not (partial / "config.json").exists():
        return names, None
    return names, hashlib.sha256((partial / "model.safetensors").read_bytes()).hexdigest()


def fork(write: Write) -> int:
    child = os.fork()
    if not child:
        try:
            write()
        finally:
            os._exit(0)
    return child


def main(verb: str, manifest: str, parent: str, output: str, number: str) -> None:
    writing.LONG = 1 << 20
    rows = int(number) if verb == "measured" else 1024
    patch = TensorPatch("down.1", 1, (0, 5), np.full((2, rows), 0.5))
    told: dict[str, Any] = json.loads(manifest)

    def write() -> Path:
        return write_patched(Path(parent), Path(output), [patch], manifest=told)

    verbs: dict[str, Callable[[Write, Path, int], object]] = {"once": once, "killed": killed, "measured": measured}
    sys.stdout.write(json.dumps(verbs[verb](write, Path(output), int(number))) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

#!/usr/bin/env python3
"""How fast an edited checkpoint is written beside `cp -r --reflink=never`, in how much memory, with how many bytes.

A synthetic checkpoint in bf16 has down projections of 4096 × 14336 and, to fill its shards, other weights. The
contestants take turns in one run, each beginning a round in its turn, and each writes a new folder on the same disk:

* `cp` copies the folder. It leaves the disk behind: its bytes are in memory when it ends.
* `cp, on the disk` waits until they are on the disk, as knedit does before a folder appears under its name.
* `knedit` writes the folder with the edit, its manifest and the sha256 of every file, and waits for the disk. The
  parent's sha256s are known, as the catalog has them; with `--fresh` they are taken on the way.
* `knedit --link` makes hard links of shards that stay as they are.

cp hashes nothing; knedit reads, copies and hashes, on as many cores as there are, so it asks for more of them than cp.
On a busy machine times tell little. Hence CPU seconds are told too, and how busy other programs kept the cores
meanwhile (for cp that includes the kernel, which writes its bytes to the disk); `--quiet 0.1` waits before each turn
until others use less than a tenth of the machine.

An edit of 1,000 columns touches every down projection, one of 10 columns a single one. Memory is the largest resident
set of the writing process, with Python and NumPy in it; bytes are those handed to the kernel to be written.

The default takes 3 GB of disk; `--size 8` needs 24 GB.
"""

import json
import os
import platform
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np

from knedit.checkpoints.fingerprint import file_sha256, weights_sha256
from knedit.checkpoints.folder import list_files
from knedit.checkpoints.patch import TensorPatch, write_patched
from knedit.checkpoints.shards import read_places
from knedit.checkpoints.verify import verify_folder

LARGE, SMALL, NUMBER = (4096, 14336), (64, 2048), 2  # shapes of a down projection, bytes of a number
GIGABYTE = 10**9
CONTESTANTS = ("cp", "cp, on the disk", "knedit", "knedit --link")


def make(folder: Path, size: int, shards: int) -> None:
    """Write a checkpoint of about `size` bytes in `shards` files of equal size."""
    folder.mkdir()
    block = np.random.default_rng(0).integers(0, 2**16, 1 << 22, dtype="<u2") & 0xBFFF  # no infinities, no NaN
    depth, width = LARGE if size // shards >= LARGE[0] * LARGE[1] * NUMBER else SMALL
    matrix, weight_map = depth * width * NUMBER, {}
    for shard in range(shards):
        file = "model.safetensors" if shards == 1 else f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        count = size // shards // matrix
        sizes = {f"layers.{shard}.{number}.down.weight": matrix for number in range(count)}
        sizes[f"layers.{shard}.other"] = (size // shards - count * matrix) // NUMBER * NUMBER
        header, at = {}, 0
        for name, length in sizes.items():
            shape = [depth, width] if length == matrix else [length // NUMBER]
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + length]}
            at += length
            weight_map[name] = file
        text = json.dumps(header).encode()
        with (folder / file).open("wb") as stream:
            stream.write(struct.pack("<Q", len(text)) + text)
            for begin in range(0, at, block.nbytes):
                stream.write(block.data.cast("B")[: min(block.nbytes, at - begin)])
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text("{}")


def patches(folder: Path, columns: int) -> list[TensorPatch]:
    """Return zeros for 10 columns of one down projection, or for more, spread evenly over all."""
    places = read_places(folder)
    names = [name for name in places if name.endswith("down.weight")]
    chosen = names[:1] if columns <= 10 else names
    counts = [columns // len(chosen) + (number < columns % len(chosen)) for number in range(len(chosen))]
    return [
        TensorPatch(name, 1, tuple(range(0, count * 2, 2)), np.zeros((count, places[name].shape[0]), dtype=np.float32))
        for name, count in zip(chosen, counts, strict=True)
    ]


def write(parent: Path, output: Path, columns: int, *, link: bool, known: dict[str, str]) -> None:
    """Write the edit in a process of its own, and tell its seconds, memory and bytes as JSON."""
    named = {"name": "synthetic", "sha256": weights_sha256(parent, known), "revision": None}
    manifest = {"knedit": "bench", "created": "2026-01-01T00:00:00", "parent": named, "edit": {}}
    edit = patches(parent, columns)
    start, worked = time.perf_counter(), time.process_time()
    write_patched(parent, output, edit, manifest=manifest, link=link, known=known)
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    (peak,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line[:6] == "VmHWM:")
    memory = int(peak) * 1024
    (written,) = (
        int(line[7:]) for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("wchar: ")
    )
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu": worked, "memory": memory, "bytes": written}))


def run(name: str, parent: Path, output: Path, columns: int, known: Path, *, fresh: bool) -> dict[str, Any]:
    """Let one contestant write `output`, and return what it took."""
    if name.startswith("cp"):
        start, worked = time.perf_counter(), cpu_of_children()
        subprocess.run(["cp", "-r", "--reflink=never", str(parent), str(output)], check=True)
        if name != "cp":
            subprocess.run(["sync", "-f", str(output)], check=True)
        return {"seconds": time.perf_counter() - start, "cpu": cpu_of_children() - worked}
    words = ["--writer", str(parent), str(output), str(columns), str(known)]
    flags = [*(["--link"] if "link" in name else []), *(["--fresh"] if fresh else [])]
    command = [sys.executable, __file__, *words, *flags]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return told


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_of_all() -> float:
    """Return the seconds that all programs together have had of all cores since the machine started."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(share: float) -> None:
    """Wait until all programs together use less than this share of the cores for two seconds."""
    while True:
        start, worked = time.perf_counter(), cpu_of_all()
        time.sleep(2)
        if cpu_of_all() - worked < share * cores() * (time.perf_counter() - start):
            return


def cores() -> int:
    return os.cpu_count() or 1


def turn(name: str, parent: Path, output: Path, columns: int, known: Path, *, fresh: bool) -> dict[str, Any]:
    """Let one contestant write `output`, and return what it took and how busy others kept the cores."""
    start, worked, everybody = time.perf_counter(), cpu_of_children(), cpu_of_all()
    taken = run(name, parent, output, columns, known, fresh=fresh)
    elapsed = time.perf_counter() - start
    others = cpu_of_all() - everybody - (cpu_of_children() - worked)
    return {**taken, "others": max(0.0, others / elapsed / cores())}


def compare(
    folder: Path, *, size: float, shards: int, columns: int, repeats: int, fresh: bool, quiet: float | None
) -> dict[str, Any]:
    """Let the contestants take turns over one checkpoint and one edit, and return medians and ratios."""
    parent, output, known = folder / "parent", folder / "output", folder / "known.json"
    make(parent, int(size * GIGABYTE), shards)
    hashes = {name: file_sha256(parent / name) for name in list_files(parent)}
    known.write_text(json.dumps(hashes))
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    try:
        for number in range(repeats):
            first = number % len(CONTESTANTS)
            for name in CONTESTANTS[first:] + CONTESTANTS[:first]:
                os.sync()
                if quiet is not None:
                    wait_for_quiet(quiet)
                taken[name].append(turn(name, parent, output, columns, known, fresh=fresh))
                if name == "knedit" and number == 0:
                    assert verify_folder(output, parent).ok
                shutil.rmtree(output)
    finally:
        for path in (parent, output):
            shutil.rmtree(path, ignore_errors=True)
        known.unlink()
    rows = {}
    plain = statistics.median(one["seconds"] for one in taken["cp"])
    for name, runs in taken.items():
        seconds = statistics.median(one["seconds"] for one in runs)
        more = {key: max(one[key] for one in runs) for key in ("memory", "bytes") if key in runs[0]}
        medians = {key: statistics.median(one[key] for one in runs) for key in ("cpu", "others")}
        rows[name] = {"seconds": seconds, "of cp": seconds / plain, **medians, "runs": runs, **more}
    return {"size": size, "shards": shards, "columns": columns, "rows": rows}


@click.command()
@click.option("--size", "sizes", type=float, multiple=True, default=(1.0,), show_default=True, help="Gigabytes.")
@click.option("--shards", type=click.IntRange(1), multiple=True, default=(1, 8), show_default=True)
@click.option("--columns", type=click.IntRange(1), multiple=True, default=(10, 1000), show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Rounds of each comparison.")
@click.option("--folder", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path())
@click.option("--quiet", type=click.FloatRange(0, 1), help="Wait for a quiet machine: others use less than this share.")
@click.option("--fresh", is_flag=True, help="knedit takes the parent's sha256s itself, on the way.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything measured to this file.")
@click.option("--writer", nargs=4, hidden=True)
@click.option("--link", is_flag=True, hidden=True)
def main(
    *,
    sizes: tuple[float, ...],
    shards: tuple[int, ...],
    columns: tuple[int, ...],
    repeats: int,
    folder: Path,
    fresh: bool,
    quiet: float | None,
    json_file: Path | None,
    writer: tuple[str, str, str, str] | None,
    link: bool,
) -> None:
    """Measure how an edited checkpoint is written, beside cp."""
    if writer:
        known = {} if fresh else json.loads(Path(writer[3]).read_text())
        write(Path(writer[0]), Path(writer[1]), int(writer[2]), link=link, known=known)
        return
    work = folder / f"bench-patch-{os.getpid()}"
    work.mkdir()
    found = []
    try:
        for size in sizes:
            for number, count in product(shards, columns):
                how = {"repeats": repeats, "fresh": fresh, "quiet": quiet}
                one = compare(work, size=size, shards=number, columns=count, **how)
                found.append(one)
                show(one)
    finally:
        shutil.rmtree(work)
    if json_file:
        machine = {"machine": platform.platform(), "cores": os.cpu_count(), "fresh": fresh}
        json_file.write_text(json.dumps({**machine, "results": found}, indent=1) + "\n")


def show(one: dict[str, Any]) -> None:
    click.echo(f"\n{one['size']:g} GB, {one['shards']} shards, {one['columns']} columns")
    for name, row in one["rows"].items():
        memory = (
            f"{row['memory'] / 1e6:8.0f} MB in memory, {row['bytes'] / 1e6:8.0f} MB written" if "bytes" in row else ""
        )
        click.echo(
            f"  {name:16} {row['seconds']:7.2f} s  {row['of cp']:5.2f} × cp  {row['cpu']:6.2f} s of CPU"
            f"  others {row['others']:4.0%}  {memory}"
        )


if __name__ == "__main__":
    main()

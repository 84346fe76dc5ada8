import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from knedit.checkpoints.staging import staged
from knedit.checkpoints.verify import verify_folder
from knedit.errors import CheckpointError
from tests.checkpoints.making import listing, manifest_for, sha256, write_single
from tests.thorough import rounds

KILLS = rounds("KNEDIT_KILLS", 12, 100)
DEBRIS = {".edited.knedit-lock", ".edited.knedit-partial"}


def writer(
    verb: str, parent: Path, output: Path, number: int = 0, *, manifest: dict[str, Any] | None = None
) -> subprocess.Popen[str]:
    words = [verb, json.dumps(manifest or manifest_for(parent)), str(parent), str(output), str(number)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.checkpoints.writer", *words],
        cwd=Path(__file__).parents[2],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str], *, seconds: float = 120) -> object:
    out, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0
    return json.loads(out)


def signal_at_work(number: signal.Signals, parent: Path, output: Path) -> subprocess.Popen[str]:
    """Return a writer that got the signal while it wrote; one that was quicker is tried again."""
    partial = output.with_name(f".{output.name}.knedit-partial")
    for _ in range(20):
        process = writer("once", parent, output)
        while process.poll() is None and not partial.exists() and not output.exists():
            time.sleep(0.001)
        process.send_signal(number)
        time.sleep(0.01)
        if not output.exists():
            return process
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=60)
        shutil.rmtree(output)
    raise AssertionError("every writer was quicker than the signal")


def test_the_folder_appears_whole(tmp_path: Path) -> None:
    with staged(tmp_path / "edited") as folder:
        (folder / "a").write_text("a")
        assert not (tmp_path / "edited").exists()
        assert {path.name for path in tmp_path.iterdir()} == DEBRIS
    assert listing(tmp_path) == {"edited/a": b"a"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_body_that_raises_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with staged(tmp_path / "edited") as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "a").write_text("a")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_leavings_of_a_killed_writer_go_at_the_next_run(tmp_path: Path) -> None:
    (tmp_path / ".edited.knedit-lock").touch()
    (tmp_path / ".edited.knedit-partial" / "sub").mkdir(parents=True)
    (tmp_path / ".edited.knedit-partial" / "sub" / "old").write_text("old")
    with staged(tmp_path / "edited") as folder:
        (folder / "a").write_text("a")
    assert listing(tmp_path) == {"edited/a": b"a"}


def test_two_writers_of_one_folder_do_not_meet(tmp_path: Path) -> None:
    with staged(tmp_path / "edited") as folder:
        (folder / "a").write_text("a")
        with pytest.raises(CheckpointError, match="Another knedit is writing this folder"), staged(tmp_path / "edited"):
            pytest.fail("both write")
        with staged(tmp_path / "another") as other:
            (other / "b").write_text("b")
    assert listing(tmp_path) == {"edited/a": b"a", "another/b": b"b"}


def test_a_folder_made_meanwhile_is_kept(tmp_path: Path) -> None:
    def collide() -> None:
        with staged(tmp_path / "edited"):
            (tmp_path / "edited").mkdir()
            (tmp_path / "edited" / "mine").write_text("mine")

    with pytest.raises(OSError, match="not empty"):
        collide()
    assert listing(tmp_path) == {"edited/mine": b"mine"}


def test_a_stopped_writer_is_not_disturbed(tmp_path: Path) -> None:
    parent = write_single(tmp_path / "parent", rows=1024, columns=2048)
    process = signal_at_work(signal.SIGSTOP, parent, tmp_path / "edited")
    before = listing(tmp_path)
    with pytest.raises(CheckpointError, match="Another knedit is writing"), staged(tmp_path / "edited"):
        pytest.fail("both write")
    assert listing(tmp_path) == before
    process.send_signal(signal.SIGCONT)
    assert result(process) == "written"
    assert verify_folder(tmp_path / "edited", parent).problems == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edited", "parent"]


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    parent = write_single(tmp_path / "parent", rows=1024, columns=2048)
    before = listing(tmp_path)
    process = signal_at_work(signal.SIGINT, parent, tmp_path / "edited")
    assert result(process) == "interrupted"
    assert listing(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["parent"]


def test_a_file_over_the_limit_leaves_nothing(tmp_path: Path) -> None:
    parent = write_single(tmp_path / "parent", rows=1024, columns=64)
    before = listing(tmp_path)
    told = result(writer("once", parent, tmp_path / "edited", 300_000))
    assert str(told).startswith("The checkpoint cannot be written: File too large (")
    assert listing(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["parent"]


def test_a_killed_writer_never_leaves_a_half_folder(tmp_path: Path) -> None:
    parent = write_single(tmp_path / "parent", rows=1024, columns=1024)
    before = listing(parent)
    seen = result(writer("killed", parent, tmp_path / "edited", KILLS))
    assert isinstance(seen, list)
    assert listing(parent) == before
    whole = [path for path in tmp_path.iterdir() if path != parent and path.name not in DEBRIS]
    assert {path.name: verify_folder(path, parent).problems for path in whole} == dict.fromkeys(
        (path.name for path in whole), ()
    )
    assert sum(".edited.knedit-partial" in names for names, _ in seen[:-1]) == KILLS, seen
    hidden = [{name for name in names if name.startswith(".")} for names, _ in seen]
    assert set().union(*hidden) <= DEBRIS
    assert hidden[-1] == set()
    assert "edited" in seen[-1][0]
    loadable = {weights for _, weights in seen if weights}
    assert loadable <= {sha256(tmp_path / "edited" / "model.safetensors")}

"""Workers: the same results as without them, also when one dies; what they leave behind, and what they cannot do."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from knedit.errors import FactsError, WorkerError
from knedit.flows.attribute import attribute
from knedit.flows.blocks import Setting
from knedit.flows.checkpoint import add_checkpoint
from knedit.flows.places import Place, opened
from knedit.flows.tally import Standing
from knedit.flows.workers import Serial, Staff, hired
from tests.flows import toil
from tests.flows.making import QUICK, attributed, differences, everything, open_catalog, save_model

ROOT = Path(__file__).parents[2]


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if "ray::" in "".join(child.cmdline()[:1])]


def leftovers() -> set[Path]:
    return {path for path in Path(tempfile.gettempdir()).glob("knedit-*") if not path.name.startswith("knedit-pg-")}


def strangers(process: psutil.Process) -> list[str]:
    """Return the addresses, other than the loopback's, on which a process and its children listen."""
    listening = [
        connection.laddr.ip
        for one in (process, *process.children(recursive=True))
        for connection in one.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    return [address for address in listening if address.removeprefix("::ffff:") != "127.0.0.1"]


@pytest.mark.ray
def test_two_workers_of_which_one_is_killed_give_the_same_catalog(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save_model("llama", tmp_path / "base")
    (tmp_path / "calm").mkdir()
    with open_catalog(tmp_path / "calm") as calm:
        attributed(calm, path, batch=2)
        undisturbed = everything(calm)
    before = leftovers()
    standings: list[Standing] = []

    def kill_once(standing: Standing) -> None:
        standings.append(standing)
        if len(standings) == 3:
            assert strangers(psutil.Process()) == []
            victim = next(one for one in workers_of(psutil.Process()) if "do" in one.name() or "Seat" in one.name())
            victim.kill()

    with open_catalog(tmp_path) as catalog:
        checkpoint = add_checkpoint(catalog, path)
        with opened(checkpoint, "float32", Place(workers=2, device="cpu")) as (reader, pool):
            attribute(catalog, checkpoint, reader, method=QUICK, batch=2, pool=pool, progress=kill_once)
        assert differences(everything(catalog), undisturbed) == []
    assert "A worker died and is replaced" in caplog.text
    assert [one.prompts_done for one in standings] == sorted(one.prompts_done for one in standings)
    assert standings[-1] == Standing(7, 7, 25, 25, 25)
    assert workers_of(psutil.Process()) == []
    assert leftovers() == before


@pytest.mark.ray
def test_workers_tell_results_errors_and_logs_and_give_up_on_what_kills_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "knedit")
    with hired(toil.make, Staff(2, device="cpu"), name=lambda job: f"job {job}") as pool:
        assert sorted(pool.results(range(5))) == [(job, (2 * job, "cpu")) for job in range(5)]
        assert "Doubling 3" in caplog.messages
        with pytest.raises(FactsError, match=r"the job is bad \(here\)\. Give another\."):
            list(pool.results([1, toil.COMPLAIN, 2]))
        with pytest.raises(WorkerError, match=r"died 3 times over the same work.*job -2"):
            list(pool.results([toil.DIE]))
        assert dict(pool.results([7])) == {7: (14, "cpu")}


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
from knedit.cli.main import main
sys.argv = "knedit attribute base --workers 2 --device cpu --batch 1 --rule left --steps 1000".split()
main()
"""


@pytest.mark.ray
def test_an_interrupt_ends_the_workers_and_keeps_what_is_done(tmp_path: Path) -> None:
    path = save_model("llama", tmp_path / "base")
    with open_catalog(tmp_path) as catalog:
        add_checkpoint(catalog, path)
    before = leftovers()
    environment = os.environ | {"KNEDIT_DATABASE": str(tmp_path / "facts.db"), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        family: list[psutil.Process] = []
        while process.poll() is None and len(family) < 2:
            family = workers_of(psutil.Process(process.pid))
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=120)
    assert (process.returncode, told.splitlines()[-1][:12]) == (130, "Interrupted.")
    assert psutil.wait_procs(family, timeout=30)[1] == []
    assert leftovers() == before


def test_a_serial_pool_does_jobs_in_order_as_they_are_asked_for() -> None:
    taken: list[int] = []
    results = Serial(toil.make(None)).results(taken.append(job) or job for job in (3, 1, 2))  # type: ignore[func-returns-value]
    assert next(results) == (3, (6, None))
    assert taken == [3]
    assert list(results) == [(1, (2, None)), (2, (4, None))]


def test_workers_without_ray_are_refused_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkerError, match=r'pip install "knedit\[ray\]"'), hired(toil.make, Staff(2)):
        pass


def test_workers_do_not_share_one_numbered_device(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        checkpoint = add_checkpoint(catalog, save_model("llama", tmp_path / "base"))
    with (
        pytest.raises(WorkerError, match="cannot share the device cuda:1"),
        opened(checkpoint, Setting().dtype, Place(workers=2, device="cuda:1")),
    ):
        pass

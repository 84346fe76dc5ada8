"""How much memory a contestant asks for beyond the loaded network, each in a process of its own.

On a CPU it is the peak of the resident set, which Linux can be told to forget before the run; elsewhere that cannot be
measured. On a GPU it is what torch allocated. Knows no clocks.
"""

import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import torch

from knedit.errors import KneditError
from knedit.models.model import Model
from knedit.models.prompting import Query

from .contestants import MODULES, captum, eleutherai, knedit, loop
from .networks import network, queries_for

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Trial:
    """One measurement: a contestant, on so many prompts of a network, with a budget in bytes (knedit's own)."""

    network: str
    contestant: str
    prompts: int
    budget: int
    threads: int
    device: str = "cpu"
    tiny: bool = False


def peak(trial: Trial) -> int:
    """Return the bytes beyond the loaded network that a trial asked for at most, measured in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, trial).result()


def measure(trial: Trial) -> int:
    """Measure a trial in this process, which must be new: memory that was freed may still be resident."""
    torch.set_num_threads(trial.threads)
    model = network(trial.network, device=trial.device, tiny=trial.tiny)
    queries = queries_for(trial.network, model, trial.prompts, tiny=trial.tiny)
    if trial.contestant in MODULES:
        import_module(MODULES[trial.contestant])  # its code is no part of what it asks for
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _run(trial, model, queries)
        return torch.cuda.max_memory_allocated() - before
    _forget_peak()
    before = resident("VmRSS")
    _run(trial, model, queries)
    return max(resident("VmHWM") - before, 0)


def _run(trial: Trial, model: Model, queries: list[Query]) -> None:
    match trial.contestant:
        case "knedit":
            knedit(model, queries, memory=trial.budget)
        case "EleutherAI":
            eleutherai(model, queries[0])
        case "Captum":
            captum(model, queries[0])
        case name:
            assert name == "loop", name
            loop(model, queries[0], [place / 19 for place in range(20)], [1 / 20] * 20)


def _forget_peak() -> None:
    try:
        _FORGET.write_text("5", encoding="utf-8")
    except OSError as error:
        raise KneditError(
            f"the peak of memory cannot be reset: {error.strerror}", str(_FORGET), "Measure memory on Linux."
        ) from None


def resident(name: str) -> int:
    """Return a line of this process's status in bytes: VmRSS, what is resident, or VmHWM, the peak of it."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{_STATUS} has no line {name}"
    return int(found[1]) * 1024

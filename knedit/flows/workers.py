"""Where jobs are done: here, one after the other, or by Ray's workers, each of which makes its own tools.

The one owner of ray, imported only where it is asked for. A job and its result are records; knows nothing of what is
in them. Results come back in any order, each exactly once. Local workers listen on the loopback address alone, keep
their files in a folder of their own, and send nothing anywhere.
"""

import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from knedit.errors import WorkerError

logger = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)

TRIES = 3
STORE_BYTES = 100 * 2**20  # a block's records are small; Ray would take a third of the machine
KNOCK_SECONDS = 5
DISCREET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
LOCAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # on every system, this makes Ray keep to the loopback address

Work = Callable[[Job], Result]
Make = Callable[[str | None], Work[Job, Result]]


class Pool(Protocol[Job, Result_co]):
    def results(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Result_co]]:
        """Yield each job with its result as it is done; jobs are taken as they are needed."""
        ...


@dataclass(frozen=True, slots=True)
class Serial(Generic[Job, Result]):
    """Do the jobs in this process, in their order."""

    work: Work[Job, Result]

    def results(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Result]]:
        for job in jobs:
            yield job, self.work(job)


@dataclass(frozen=True, slots=True)
class Staff:
    """Whom to hire: how many workers, on which cluster (None: this machine alone), on what device.

    `device` is a torch device's type, or None for CUDA where there is one for each; `spread` gives each worker an
    equal share of all GPUs instead of one.
    """

    workers: int
    address: str | None = None
    device: str | None = None
    spread: bool = False


class _Seat:
    """What runs in a worker's process: makes its tools at the first job, so that what fails there is told as it is."""

    def __init__(self, make: Make[Any, Any], device: str | None, threads: int | None) -> None:
        self._make = make
        self._device = device
        self._threads = threads
        self._work: Work[Any, Any] | None = None

    def do(self, job: Any) -> tuple[Any, list[logging.LogRecord]]:
        """Return the job's result, and what knedit logged meanwhile."""
        with _heard() as records:
            if self._work is None:
                self._work = self._prepare()
            return self._work(job), records

    def _prepare(self) -> Work[Any, Any]:
        if self._threads is not None:
            import torch

            torch.set_num_threads(self._threads)
        return self._make(self._device)


class _Ear(logging.Handler):
    """Keep what is logged, in words alone, so that it can go to another process."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self.records.append(record)


@contextmanager
def _heard() -> Iterator[list[logging.LogRecord]]:
    ear, knedit = _Ear(), logging.getLogger("knedit")
    knedit.setLevel(logging.INFO)
    knedit.addHandler(ear)
    try:
        yield ear.records
    finally:
        knedit.removeHandler(ear)


@dataclass(slots=True, eq=False)
class _Task(Generic[Job]):
    """A job on its way, and how often a worker died over it."""

    job: Job
    deaths: int = 0


@dataclass(slots=True)
class RayPool(Generic[Job, Result]):
    """Ray's workers, made by `hired`. `name` says in an error what a job is about."""

    ray: Any
    hire: Callable[[], Any]
    workers: int
    name: Callable[[Job], str]
    seats: list[Any] = field(default_factory=list)

    def results(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Result]]:
        """Yield each job with its result as it is done.

        A worker that dies is replaced and its job done again. Raises WorkerError if that happens to one job three
        times, and whatever a job raised.
        """
        left: Iterator[_Task[Job]] = (_Task(job) for job in jobs)
        again: deque[_Task[Job]] = deque()
        busy: dict[Any, tuple[Any, _Task[Job]]] = {}

        def give(seat: Any) -> None:
            task = again.popleft() if again else next(left, None)
            if task is not None:
                busy[seat.do.remote(task.job)] = seat, task

        self.seats += [self.hire() for _ in range(self.workers - len(self.seats))]
        for seat in self.seats:
            give(seat)
        while busy:
            (reference,), _ = self.ray.wait(list(busy), num_returns=1)
            seat, task = busy.pop(reference)
            try:
                result, records = self.ray.get(reference)
            except _deaths(self.ray) as death:
                again.append(self._mourned(task, death))
                give(self._replaced(seat))
                continue
            except self.ray.exceptions.RayTaskError as failure:
                failure.cause.add_note(str(failure))
                raise failure.cause from None
            give(seat)
            for record in records:
                logging.getLogger(record.name).handle(record)
            yield task.job, result

    def _mourned(self, task: _Task[Job], death: Exception) -> _Task[Job]:
        task.deaths += 1
        if task.deaths >= TRIES:
            raise WorkerError(
                f"workers died {task.deaths} times over the same work: {_first_line(death)}",
                self.name(task.job),
                "Give them more memory: fewer --workers, a smaller --memory or --batch.",
            ) from death
        logger.warning("A worker died and is replaced; its work is done again (%s).", self.name(task.job))
        return task

    def _replaced(self, seat: Any) -> Any:
        self.seats[self.seats.index(seat)] = new = self.hire()
        return new


def _deaths(ray: Any) -> tuple[type[Exception], ...]:
    errors = ray.exceptions
    return errors.RayActorError, errors.OutOfMemoryError, errors.WorkerCrashedError, errors.NodeDiedError


@contextmanager
def hired(make: Make[Job, Result], staff: Staff, *, name: Callable[[Job], str] = str) -> Iterator[RayPool[Job, Result]]:
    """Start or join Ray and yield a pool; at the end, also by an error or an interrupt, dismiss the workers.

    `make(device)` is called in each worker and returns the function that does its jobs. Raises WorkerError if ray is
    not installed, the cluster cannot be reached, or there are fewer GPUs than workers.
    """
    with _connected(staff) as ray:
        kind, gpus = _device(ray, staff)
        threads = max(1, (os.cpu_count() or 1) // staff.workers) if kind == "cpu" and staff.address is None else None
        seat = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)(_Seat)
        device = None if staff.spread else kind
        pool: RayPool[Job, Result] = RayPool(ray, lambda: seat.remote(make, device, threads), staff.workers, name)
        try:
            yield pool
        finally:
            for one in pool.seats:
                ray.kill(one)


@contextmanager
def _connected(staff: Staff) -> Iterator[Any]:
    if staff.address is not None:
        _knock(staff.address)
    alone = staff.address is None or staff.address.startswith(("127.", "localhost:"))
    with _environment(DISCREET | (LOCAL if alone else {})):
        ray = _imported()
        if ray.is_initialized():
            yield ray
            return
        folder = _short_folder()
        try:
            with _undisturbed():
                _start(ray, staff, folder)
            yield ray
        finally:
            with _undisturbed():
                ray.shutdown()
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put an interrupt off until the body is through: half started or half ended, Ray would leave processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        signal.raise_signal(signal.SIGINT)


def _imported() -> Any:
    try:
        import ray
    except ImportError:
        raise WorkerError("several workers need the package ray", "workers", 'Run: pip install "knedit[ray]"') from None
    return ray


def _knock(address: str) -> None:
    """Raise WorkerError where nobody listens at the address: Ray itself would go on asking for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise WorkerError(f"{address!r} is no address of a cluster", "workers", "Write it as HOST:PORT.")
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise WorkerError(
            f"the Ray cluster cannot be reached: {error}", address, "Check the address; ray status tells it."
        ) from None


def _start(ray: Any, staff: Staff, folder: Path) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    logging.getLogger("ray").setLevel(logging.ERROR)
    own: dict[str, Any] = {
        "address": "local",
        "num_cpus": staff.workers,
        "include_dashboard": False,
        "object_store_memory": STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": str(folder),
    }
    if staff.device == "cpu":
        own["num_gpus"] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ray.init(**(own if staff.address is None else {"address": staff.address}), **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            raise WorkerError(
                f"Ray cannot be started or reached: {_first_line(error)}",
                staff.address or "this machine",
                "Check the address, RAY_AUTH_TOKEN, and that the cluster runs the same versions of Python and ray.",
            ) from error


def _device(ray: Any, staff: Staff) -> tuple[str, float]:
    """Return the type of each worker's device and its number of GPUs."""
    available = int(ray.cluster_resources().get("GPU", 0))
    if staff.device == "cpu" or (staff.device is None and available == 0):
        return "cpu", 0
    if available < staff.workers:
        raise WorkerError(
            f"there are {available} GPUs for {staff.workers} workers",
            staff.address or "this machine",
            f"Run: --workers {available}" if available else "Run: --device cpu",
        )
    return "cuda", available // staff.workers if staff.spread else 1


def _short_folder() -> Path:
    """Make a folder for Ray's sockets, whose whole paths may be 107 bytes long."""
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="knedit-", dir=usual if len(usual) < 25 else "/tmp"))  # noqa: S108


@contextmanager
def _environment(entries: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in entries}
    os.environ.update(entries)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__

"""Where the attributing is done: on this process's device, or by workers that each load the model themselves.

None of it changes a score beyond rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from knedit.errors import WorkerError
from knedit.flows.attribute import Attributors
from knedit.flows.blocks import Attributor, Block, Found, Sounded, Sounding
from knedit.flows.checkpoint import checked_folder, load_checkpoint
from knedit.flows.workers import Serial, Staff, Work, hired
from knedit.models.loading import load_model, load_reader
from knedit.models.model import Model
from knedit.models.replay import DEFAULT_MEMORY
from knedit.records import Checkpoint

Job = Block | Sounding
Answer = Found | Sounded


@dataclass(frozen=True, slots=True)
class Place:
    """Devices, workers and memory. `address` names a Ray cluster, on whose machines the checkpoint's path must exist.

    `memory` is in bytes, for the activations of one call of the engine.
    """

    workers: int = 1
    address: str | None = None
    device: str | None = None
    device_map: str | None = None
    memory: int = DEFAULT_MEMORY


@contextmanager
def opened(checkpoint: Checkpoint, dtype: str, place: Place) -> Iterator[tuple[Model, Attributors]]:
    """Yield a model that can read prompts, and a pool that attributes them.

    Raises WorkerError or ModelError where workers, devices or the model cannot be had.
    """
    if place.workers == 1 and place.address is None:
        model = load_checkpoint(checkpoint, dtype=dtype, device=place.device, device_map=place.device_map)
        here: Serial[Job, Answer] = Serial(Attributor(model, place.memory))
        yield model, here
        return
    if place.device not in (None, "cpu", "cuda"):
        raise WorkerError(
            f"workers cannot share the device {place.device}", "device", "Name cpu or cuda, or leave it out."
        )
    make = partial(_make, checkpoint, dtype, place)
    folder = checked_folder(checkpoint)
    staff = Staff(place.workers, place.address, place.device, spread=place.device_map is not None)
    with hired(make, staff, name=lambda job: job.named()) as pool:
        yield load_reader(folder, dtype=dtype), pool


def _make(checkpoint: Checkpoint, dtype: str, place: Place, device: str | None) -> Work[Job, Answer]:
    """Load the model in a worker, and return what does its jobs; on other machines the files are checked first."""
    folder = checkpoint.path if place.address is None else checked_folder(checkpoint)
    model = load_model(folder, dtype=dtype, device=device, device_map=place.device_map)
    return Attributor(model, place.memory)

"""Jobs that a worker of the tests does: double a number, complain, or die."""

import logging
import os
import signal
from collections.abc import Callable

from knedit.errors import FactsError

COMPLAIN, DIE = -1, -2


def make(device: str | None) -> Callable[[int], tuple[int, str | None]]:
    def work(job: int) -> tuple[int, str | None]:
        if job == COMPLAIN:
            raise FactsError("the job is bad", "here", "Give another.")
        if job == DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        logging.getLogger("knedit.toil").info("Doubling %d", job)
        return 2 * job, device

    return work

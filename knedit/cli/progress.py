"""How far an attribution is, on stderr: a bar on a terminal, a line now and then in a log."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from knedit.cli.show import stderr

logger = logging.getLogger(__name__)

SILENCE = 30.0  # seconds between two lines of a log

Show = Callable[[Any], None]


@contextmanager
def attribution_progress(what: str, console: Console = stderr) -> Iterator[Show]:
    """Yield the function that shows a Standing: facts and prompts or what else is counted, the rate, the time left."""
    if console.is_terminal:
        with _bar(what, console) as show:
            yield show
    else:
        yield _Lines(what).show


@contextmanager
def _bar(what: str, console: Console) -> Iterator[Show]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[facts]}"),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}, {task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    began, unit = time.monotonic(), None
    with Progress(*columns, console=console, speed_estimate_period=600) as progress:
        task = progress.add_task(what, total=None, facts="", unit="", rate="")

        def show(standing: Any) -> None:
            nonlocal began, unit
            if standing.unit != unit:
                began, unit = time.monotonic(), standing.unit
                progress.reset(task)
            rate = _rate(standing, began)
            told = f"{rate:.2g} a second" if rate else f"{standing.prompts_done} done before"
            progress.update(
                task,
                completed=standing.prompts_done,
                total=standing.prompts,
                facts="" if standing.unit else f"{standing.facts_done}/{standing.facts} facts,",
                unit=_unit(standing),
                rate=told,
            )

        yield show


class _Lines:
    """A line at the start, at most one every 30 seconds after it, and none at the end: the report follows."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = self._told = time.monotonic()
        self._first = True
        self._unit: str | None = None

    def show(self, standing: Any) -> None:
        now = time.monotonic()
        if standing.unit != self._unit:  # something else is counted from now on
            self._unit, self._began, self._first = standing.unit, now, True
        if not self._first and now - self._told < SILENCE:
            return
        self._told = now
        logger.info("%s: %s", self._what, self._start(standing) if self._first else self._way(standing, now))
        self._first = False

    @staticmethod
    def _start(standing: Any) -> str:
        before = f", {standing.prompts_done} of them done before" if standing.prompts_done else ""
        facts = "" if standing.unit else f"{standing.facts} facts, "
        return f"{facts}{standing.prompts} {_unit(standing)}{before}"

    def _way(self, standing: Any, now: float) -> str:
        rate = _rate(standing, self._began, now)
        left = timedelta(seconds=round((standing.prompts - standing.prompts_done) / rate)) if rate else "unknown"
        facts = "" if standing.unit else f"{standing.facts_done} of {standing.facts} facts, "
        done = f"{facts}{standing.prompts_done} of {standing.prompts} {_unit(standing)}"
        return f"{done}, {rate:.2g} a second, {left} left"


def _unit(standing: Any) -> str:
    return standing.unit or "prompts"


def _rate(standing: Any, began: float, now: float | None = None) -> float:
    """Return how many a second were done since `began`."""
    elapsed = (time.monotonic() if now is None else now) - began
    return standing.prompts_now / elapsed if elapsed > 0 else 0.0

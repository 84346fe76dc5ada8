"""Run an experiment part by part: what is stored and still holds is not done again, what cannot be done is told.

A part is stored with a fingerprint of what it was made from; where that changes, it is made anew. Knows no experiment.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from math import isfinite
from typing import Any

from knedit.analysis.findings import Findings
from knedit.analysis.sheet import ABOUT, Noted, Notes, Sheet
from knedit.catalog.store import Catalog
from knedit.errors import KneditError
from knedit.experiments import Experiment, ExperimentPart, ExperimentValue
from knedit.flows.experiments.lab import Lab, Standing, Subject
from knedit.records import fingerprint, show_id

logger = logging.getLogger(__name__)

INPUTS = "inputs"
FAILED = "failed"


class UnableError(KneditError):
    """A part cannot be measured, for a reason that is a result: `status` names it in a word or two."""

    def __init__(self, status: str, what: str) -> None:
        super().__init__(what)
        self.args = (status, what)
        self.status = status


@dataclass(frozen=True, slots=True)
class Job:
    """One part: its name, what it is about, all that its result depends on, and how it is measured."""

    part: str
    measure: Callable[[Notes], None]
    inputs: tuple[object, ...] = ()
    relation: str = ""
    named: str = ""
    relation_id: int | None = None
    fact_id: int | None = None

    @property
    def made_from(self) -> str:
        return show_id(fingerprint("part", *self.inputs))


@dataclass(frozen=True, slots=True)
class Recipe:
    """An experiment: how it is cut into jobs, what else than the scope decides it, and how its sheet is summed up.

    `refined`: whether it stands on a refinement's neurons. A new `edition` measures otherwise: nothing of an older one
    is taken for it.
    """

    name: str
    summary: str
    jobs: Callable[[Lab], Sequence[Job]]
    findings: Callable[[Sheet], Findings]
    settings: Callable[[Lab], Mapping[str, Any]] = field(default=lambda _: {})
    refined: bool = True
    edition: int = 1


def fact_job(subject: Subject, measure: Callable[[Notes], None], *inputs: object, part: str = "") -> Job:
    """Return the job of a fact; `part` distinguishes jobs of one fact."""
    fact = subject.fact
    return Job(
        f"{part}{show_id(fact.id)}",
        measure,
        (fact.id, [list(place) for place in subject.places], *inputs),
        subject.relation,
        subject.named,
        fact.relation_id,
        fact.id,
    )


def experiment_of(lab: Lab, recipe: Recipe) -> Experiment:
    """Return the record of an experiment on a lab: what identifies it is the scope but for its facts and limit."""
    scope = lab.scope
    config = {
        "role": scope.role,
        "roles": list(scope.roles),
        "wordings": scope.wordings,
        "seed": scope.seed,
        "dtype": lab.dtype,
        "edition": recipe.edition,
        **recipe.settings(lab),
    }
    refinement = lab.refinement.id if recipe.refined else None
    own = Experiment.identify(lab.checkpoint.id, recipe.name, config, refinement_id=refinement)
    return Experiment(
        own, lab.checkpoint.id, refinement, None, recipe.name, config, version("knedit"), datetime.now(UTC)
    )


def run_experiment(lab: Lab, recipe: Recipe) -> tuple[Experiment, Sheet]:
    """Run the jobs that are not stored yet, and return the experiment with a sheet of the jobs that were asked for.

    Each part is one transaction: what is killed goes on from there. Raises KneditError where there is nothing to do.
    """
    jobs = recipe.jobs(lab)
    experiment = lab.catalog.open_experiment(experiment_of(lab, recipe))
    known = made_from(lab.catalog, experiment.id)
    waiting = [job for job in jobs if known.get(job.part) != job.made_from]
    before = len(jobs) - len(waiting)
    lab.progress(Standing(recipe.name, before, len(jobs), before))
    for number, job in enumerate(waiting, 1):
        part, noted = _measured(experiment.id, job)
        lab.catalog.put_experiment_part(part, _values(part, noted), replace=True)
        lab.progress(Standing(recipe.name, before + number, len(jobs), before))
    if waiting or experiment.finished_at is None:
        lab.catalog.finish_experiment(experiment.id, datetime.now(UTC))
    return experiment, read_sheet(lab.catalog, experiment.id, {job.part for job in jobs})


def read_sheet(catalog: Catalog, experiment_id: int, wanted: set[str] | None = None) -> Sheet:
    """Return what is stored of an experiment: of all parts, or of those named."""
    parts = [one for one in catalog.experiment_parts(experiment_id) if wanted is None or one.part in wanted]
    values = catalog.experiment_values(experiment_id)
    return Sheet(parts, values if wanted is None else [one for one in values if one.part in wanted])


def made_from(catalog: Catalog, experiment_id: int) -> dict[str, str]:
    """Return what each stored part was made from, as its job tells it."""
    rows = catalog.experiment_values(experiment_id, series=ABOUT)
    return {one.part: one.text or "" for one in rows if one.metric == INPUTS}


def _measured(experiment_id: int, job: Job) -> tuple[ExperimentPart, list[Noted]]:
    notes = Notes()
    began = time.perf_counter()
    status, reason = "ok", None
    try:
        job.measure(notes)
        _check_finite(job, notes)
    except UnableError as error:
        status, reason, notes = error.status, error.what, Notes()
    except KneditError as error:
        logger.warning("%s: %s", job.named or job.part, error)
        status, reason, notes = FAILED, str(error), Notes()
    about = Notes()
    made = "" if status == FAILED else job.made_from  # so that it is tried again
    for metric, text in (("named", job.named), ("relation", job.relation), (INPUTS, made)):
        about.say(ABOUT, "", metric, text)
    part = ExperimentPart(
        experiment_id,
        job.part,
        job.relation_id,
        job.fact_id,
        status,
        reason,
        time.perf_counter() - began,
        datetime.now(UTC),
    )
    return part, [*about.found, *notes.found]


def _check_finite(job: Job, notes: Notes) -> None:
    for one in notes.found:
        if one.value is not None and not isfinite(one.value):
            what = f"{one.metric} of {one.series} {one.key} is no number"
            raise KneditError(what, job.named or job.part, "The weights, or their precision, may not hold it.")


def _values(part: ExperimentPart, noted: Sequence[Noted]) -> Iterator[ExperimentValue]:
    for one in noted:
        yield ExperimentValue(part.experiment_id, part.part, one.series, one.key, one.metric, one.value, one.text)

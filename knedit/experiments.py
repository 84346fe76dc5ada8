"""The nouns of experiments: frozen records whose fields are the catalog's columns, as those of `records`.

What an experiment found is kept in a long form that fits them all: a part is what is done at once (a fact, a relation,
a layer of a sweep) and comes whole or not at all; a value stands in a part under series, key and metric. Knows nothing
of SQL, models or files.
"""

from dataclasses import dataclass
from datetime import datetime

from knedit.records import Config, fingerprint


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment on one checkpoint under one configuration; parts join it over time, so it can be resumed.

    `refinement_id` and `edit_id` are None where it asked no refinement for neurons, and looked at no edit.
    """

    id: int
    checkpoint_id: int
    refinement_id: int | None
    edit_id: int | None
    name: str
    config: Config
    version: str
    started_at: datetime
    finished_at: datetime | None = None

    @classmethod
    def identify(
        cls,
        checkpoint_id: int,
        name: str,
        config: Config,
        *,
        refinement_id: int | None = None,
        edit_id: int | None = None,
    ) -> int:
        return fingerprint("experiment", checkpoint_id, refinement_id, edit_id, name, dict(config))


@dataclass(frozen=True, slots=True)
class ExperimentPart:
    """One piece of an experiment that is done, of which `part` is its name there.

    `status` is "ok", or a word for why nothing was found ("no neurons", "no prompts"), which `reason` explains. The
    relation or fact that the part is about, where it is about one, is told by its id.
    """

    experiment_id: int
    part: str
    relation_id: int | None
    fact_id: int | None
    status: str
    reason: str | None
    seconds: float
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class ExperimentValue:
    """One number, or a text, that a part of an experiment found: `metric` of `key` in the table or curve `series`.

    `key` may be anything's name, as a relation's key, a neuron's place "10:2484", a layer or a wording; it is empty
    where the series has one row a part. A `value` of None is one that is not defined.
    """

    experiment_id: int
    part: str
    series: str
    key: str
    metric: str
    value: float | None
    text: str | None = None

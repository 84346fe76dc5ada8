"""The experiments activations and triggers: a fact's neurons in texts that state it, or do not."""

from collections.abc import Mapping, Sequence
from typing import Any

from knedit.analysis import activations, triggers
from knedit.analysis.sheet import Notes
from knedit.flows.experiments.activation_baseline import baseline_neurons
from knedit.flows.experiments.lab import NO_NEURONS, NO_PROMPTS, Lab, Subject
from knedit.flows.experiments.running import Job, Recipe, UnableError, fact_job
from knedit.flows.experiments.texts import Library, named_edition, read_library
from knedit.models.prompting import Query
from knedit.models.scaling import Place

USUAL, SHOWN = 10, 2  # facts of a relation: measured, and told by their texts
NO_TEXTS = "no texts"


def library_of(lab: Lab) -> Library:
    """Return the texts of the scope, read once."""
    return lab.once("texts", lambda: read_library(lab, lab.scope.texts))


def settings(lab: Lab) -> Mapping[str, Any]:
    """Return which texts are read."""
    return {"texts": named_edition(library_of(lab))}


def activation_jobs(lab: Lab) -> list[Job]:
    """Return a job a fact."""
    library_of(lab)
    subjects = lab.subjects(USUAL)
    baseline = baseline_neurons(lab, [one for one in subjects if one.neurons])
    found = []
    for subject in subjects:
        own = {"neurons": subject.places, "activation": baseline.get(subject.fact.id, ())}
        sets = {**own, "random": lab.random_places(subject)}
        found.append(_job(lab, subject, sets))
    return found


def _job(lab: Lab, subject: Subject, sets: Mapping[str, Sequence[Place]]) -> Job:
    def measure(notes: Notes) -> None:
        own, texts = _asked(lab, subject)
        queries = {kind: [query for _, query in found] for kind, found in texts.items()}
        activations.measure(lab.model, own, queries, sets, notes)

    return fact_job(subject, measure, [*map(list, sets.values())], lab.prompt_ids(subject.fact))


def trigger_jobs(lab: Lab) -> list[Job]:
    """Return a job a fact."""
    return [_trigger_job(lab, subject) for subject in lab.subjects(SHOWN)]


def _trigger_job(lab: Lab, subject: Subject) -> Job:
    def measure(notes: Notes) -> None:
        own, texts = _asked(lab, subject)
        read = [triggers.Read(kind, query) for kind, found in texts.items() for _, query in found]
        triggers.measure(lab.model, own, read, subject.places, notes)

    return fact_job(subject, measure, lab.prompt_ids(subject.fact))


def _asked(lab: Lab, subject: Subject) -> tuple[list[Query], dict[str, list[tuple[Any, Query]]]]:
    """Return a fact's prompts and its texts by kind. Raises UnableError where it has none of one kind."""
    if not subject.neurons:
        raise UnableError(NO_NEURONS, "The refinement kept no neuron of the fact")
    own = lab.queries(subject.fact)
    if not own:
        raise UnableError(NO_PROMPTS, f"The fact has no prompt of the role {lab.scope.role} that can be asked")
    texts = library_of(lab).texts_of(lab, subject)
    for kind, words in (("T1", "with its subject and object"), ("T2", "with its subject alone"), ("T3", "at all")):
        if not texts[kind]:
            raise UnableError(NO_TEXTS, f"There is no text {words} that this model can read")
    return own, texts


ACTIVATIONS = Recipe(
    "activations",
    "a fact's neurons in texts that state it, name its subject, or do neither",
    activation_jobs,
    activations.findings,
    settings,
    edition=2,
)
TRIGGERS = Recipe(
    "triggers",
    "the texts in which a fact's neurons fire most, and least",
    trigger_jobs,
    triggers.findings,
    settings,
    edition=2,
)

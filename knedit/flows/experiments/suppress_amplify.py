"""The experiment suppress-amplify: a part a fact, with its controls and a fact of another relation."""

from collections.abc import Mapping

from knedit.analysis import suppress_amplify
from knedit.analysis.sheet import Notes
from knedit.flows.experiments.activation_baseline import baseline_neurons
from knedit.flows.experiments.lab import NO_NEURONS, NO_PROMPTS, Lab, Subject
from knedit.flows.experiments.running import Job, Recipe, UnableError, fact_job
from knedit.models.scaling import Place

USUAL = 10  # facts of a relation


def jobs(lab: Lab) -> list[Job]:
    """Return a job a fact in the scope."""
    subjects = lab.subjects(USUAL)
    baseline = baseline_neurons(lab, [one for one in subjects if one.neurons])
    return [_job(lab, subject, baseline.get(subject.fact.id, ())) for subject in subjects]


def _job(lab: Lab, subject: Subject, baseline: tuple[Place, ...]) -> Job:
    stranger = lab.stranger(subject)
    sets = {"neurons": subject.places, "activation": baseline, "random": lab.random_places(subject)}
    asked = [lab.prompt_ids(one) for one in (subject.fact, stranger) if one is not None]
    return fact_job(subject, lambda notes: _measure(lab, subject, sets, notes), [*map(list, sets.values())], asked)


def _measure(lab: Lab, subject: Subject, sets: Mapping[str, tuple[Place, ...]], notes: Notes) -> None:
    if not subject.neurons:
        raise UnableError(NO_NEURONS, "The refinement kept no neuron of the fact")
    sides = {"own": lab.queries(subject.fact)}
    if not sides["own"]:
        raise UnableError(
            NO_PROMPTS, f"The fact has no prompt of the role {lab.scope.role} that this model can be asked"
        )
    stranger = lab.stranger(subject)
    if stranger is not None and (queries := lab.queries(stranger)):
        sides["other"] = queries
    suppress_amplify.measure(lab.model, sides, sets, notes)


RECIPE = Recipe(
    "suppress-amplify",
    "the answer's probability with the fact's neurons set to 0, and doubled",
    jobs,
    suppress_amplify.findings,
)

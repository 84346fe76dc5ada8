"""The experiment map: some facts' strongest neurons as a graph."""

from knedit.analysis import neuron_map
from knedit.analysis.sheet import Notes
from knedit.flows.experiments.lab import NO_NEURONS, NO_PROMPTS, Lab, Subject
from knedit.flows.experiments.running import Job, Recipe, UnableError, fact_job

USUAL = 1  # facts of a relation
PROMPTS = 2  # of a fact, over which edges are averaged


def jobs(lab: Lab) -> list[Job]:
    """Return a job a fact."""
    return [_job(lab, subject) for subject in lab.subjects(USUAL)]


def _job(lab: Lab, subject: Subject) -> Job:
    def measure(notes: Notes) -> None:
        if not subject.neurons:
            raise UnableError(NO_NEURONS, "The refinement kept no neuron of the fact")
        queries = lab.queries(subject.fact)[:PROMPTS]
        if not queries:
            raise UnableError(NO_PROMPTS, f"The fact has no prompt of the role {lab.scope.role} that can be asked")
        neuron_map.measure(lab.model, queries, subject.places[: neuron_map.MOST], notes)

    return fact_job(subject, measure, lab.prompt_ids(subject.fact)[:PROMPTS])


RECIPE = Recipe(
    "map", "a fact's neurons over all layers: which drives which, and the answer", jobs, neuron_map.findings, edition=2
)

"""The experiment values: a fact's neurons in words, beside random ones, over some texts that all facts share."""

from knedit.analysis import value_vectors
from knedit.analysis.sheet import Notes
from knedit.analysis.texts import some
from knedit.flows.experiments.activations import library_of, settings
from knedit.flows.experiments.lab import NO_NEURONS, NO_PROMPTS, Lab, Subject
from knedit.flows.experiments.running import Job, Recipe, UnableError, fact_job
from knedit.flows.experiments.texts import query_of
from knedit.models.prompting import Query

USUAL = 2  # facts of a relation
TEXTS = 60


def jobs(lab: Lab) -> list[Job]:
    """Return a job a fact."""
    return [_job(lab, subject) for subject in lab.subjects(USUAL)]


def _job(lab: Lab, subject: Subject) -> Job:
    random = lab.random_places(subject)

    def measure(notes: Notes) -> None:
        if not subject.neurons:
            raise UnableError(NO_NEURONS, "The refinement kept no neuron of the fact")
        own = lab.queries(subject.fact)
        if not own:
            raise UnableError(NO_PROMPTS, f"The fact has no prompt of the role {lab.scope.role} that can be asked")
        texts = lab.once("excitement", lambda: _texts(lab))
        value_vectors.measure(lab.model, own, texts, subject.places, random, notes)

    return fact_job(subject, measure, list(random), lab.prompt_ids(subject.fact))


def _texts(lab: Lab) -> list[Query]:
    drawn = some(library_of(lab).shelf.texts, TEXTS, f"{lab.scope.seed} excitement")
    found = [query_of(lab.model, text) for text in drawn]
    return [query for query in found if query is not None and len(query.tokens) > 1]


RECIPE = Recipe(
    "values",
    "value vectors in words, and tokens that excite a fact's neurons",
    jobs,
    value_vectors.findings,
    settings,
)

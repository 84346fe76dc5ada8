"""The experiment noise: a fact's wordings are scored with and without NoiseGrad; the noise's strength is a part too."""

from knedit.analysis import noise
from knedit.analysis.sheet import Notes
from knedit.attribution.attribute_prompt import attribute_queries
from knedit.attribution.method import Method
from knedit.attribution.sigma import choose_sigma
from knedit.flows.experiments.lab import NO_PROMPTS, Lab, Subject
from knedit.flows.experiments.running import Job, Recipe, UnableError, experiment_of, fact_job
from knedit.models.prompting import Query

USUAL = 1  # facts of a relation
WORDINGS, ASKED, SOUNDED = 8, 4, 12  # of a fact: scored, and asked with neurons suppressed; of all facts: for sigma
RULE, STEPS, SAMPLES = "gauss", 4, 6
SIGMA = "sigma"


def jobs(lab: Lab) -> list[Job]:
    """Return the job that chooses the noise's strength, and one a fact."""
    subjects = lab.subjects(USUAL)
    names = [subject.fact.id for subject in subjects]
    first = Job(SIGMA, lambda notes: _choose_sigma(lab, subjects, notes), (names,), named="the noise's strength")
    return [first, *[_job(lab, subject) for subject in subjects]]


def settings(lab: Lab) -> dict[str, object]:
    """Return how scores are taken."""
    del lab
    return {"rule": RULE, "steps": STEPS, "samples": SAMPLES}


def _choose_sigma(lab: Lab, subjects: list[Subject], notes: Notes) -> None:
    queries = [query for subject in subjects for query in lab.queries(subject.fact)[:1]][:SOUNDED]
    if not queries:
        raise UnableError(NO_PROMPTS, "No fact has a prompt that this model can be asked")
    notes.add(SIGMA, "", sigma=choose_sigma(lab.model, queries, "noisegrad", seeds=2, seed=lab.scope.seed))


def _sigma(lab: Lab) -> float:
    experiment = experiment_of(lab, RECIPE)
    for one in lab.catalog.experiment_values(experiment.id, series=SIGMA):
        if one.value is not None:
            return one.value
    raise UnableError(
        "no sigma", "No strength of noise lowers the answers' probability: the model knows too few of them"
    )


def _job(lab: Lab, subject: Subject) -> Job:
    def measure(notes: Notes) -> None:
        queries = lab.queries(subject.fact)[:WORDINGS]
        if len(queries) < noise.FEWEST:
            raise UnableError("few wordings", f"The fact has fewer than {noise.FEWEST} wordings that can be asked")
        _measure(lab, subject, queries, notes)

    return fact_job(subject, measure, lab.prompt_ids(subject.fact))


def _measure(lab: Lab, subject: Subject, queries: list[Query], notes: Notes) -> None:
    plain = Method(rule=RULE, steps=STEPS)
    smoothed = Method(
        rule=RULE, steps=STEPS, smoothing="noisegrad", sigma=_sigma(lab), samples=SAMPLES, seed=lab.scope.seed
    )
    scores = {
        name: [one.scores for one in attribute_queries(lab.model, queries, method)]
        for name, method in (("plain", plain), ("noisegrad", smoothed))
    }
    asked = lab.queries(subject.fact, role="paraphrase")[:ASKED] or queries[:ASKED]
    config = lab.refinement.config
    noise.measure(
        lab.model, scores, asked, threshold=float(config.get("threshold", 0.2)), part=float(config.get("share", 0.7)),
        seed=f"{lab.scope.seed} {subject.fact.id}", notes=notes,
    )  # fmt: skip


RECIPE = Recipe(
    "noise",
    "neurons from few wordings, with and without NoiseGrad, against those from all",
    jobs,
    noise.findings,
    settings,
)

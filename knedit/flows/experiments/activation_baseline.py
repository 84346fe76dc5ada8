"""The paper's rival: neurons found by their activation alone, refined as the others are. A control of experiments.

They are kept as an experiment of their own, since a refinement of theirs would pass for the checkpoint's newest.
Source: Dai et al., ACL 2022, section 4.1, and their code (2_get_kn.py: threshold 0.5 for this baseline).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields

from knedit.analysis.findings import Findings
from knedit.analysis.sheet import Notes, Sheet
from knedit.attribution.refine import Thresholds, refine
from knedit.flows.experiments.lab import NO_PROMPTS, Lab, Subject
from knedit.flows.experiments.running import Job, Recipe, UnableError, fact_job, run_experiment
from knedit.models.planting import keys_at_answers
from knedit.models.scaling import Place
from knedit.records import AttributedFact, CoarseCount

THRESHOLD = 0.5  # of the largest activation of a prompt


def baseline_neurons(lab: Lab, subjects: Iterable[Subject]) -> Mapping[int, tuple[Place, ...]]:
    """Return each subject's neurons by activation, found now where they were not yet."""
    known = list(subjects)

    def jobs(_: Lab) -> list[Job]:
        return [_job(lab, subject) for subject in known]

    recipe = Recipe("activation-baseline", "neurons by their activation", jobs, lambda _: Findings("", ""))
    _, sheet = run_experiment(lab, recipe)
    return _refined(lab, sheet)


def _job(lab: Lab, subject: Subject) -> Job:
    return fact_job(subject, lambda notes: _measure(lab, subject, notes), lab.prompt_ids(subject.fact, "attribute"))


def _measure(lab: Lab, subject: Subject, notes: Notes) -> None:
    queries = lab.queries(subject.fact, role="attribute")
    if not queries:
        raise UnableError(NO_PROMPTS, "The fact has no prompt that this model can be asked")
    prompts: Counter[Place] = Counter()
    sums: Counter[Place] = Counter()
    values = keys_at_answers(lab.model, queries)
    for number in range(len(queries)):
        peak = max(float(fired[number].max()) for fired in values.values())
        for layer, fired in values.items():
            for index in (fired[number] >= THRESHOLD * peak).nonzero()[:, 0].tolist():
                prompts[layer, index] += 1
                sums[layer, index] += float(fired[number, index])  # type: ignore[assignment]
    notes.add("fact", "", prompts=len(queries))
    for (layer, index), count in sorted(prompts.items()):
        notes.add("coarse", f"{layer}:{index}", prompts=count, sum=sums[layer, index])


def _refined(lab: Lab, sheet: Sheet) -> dict[int, tuple[Place, ...]]:
    """Refine what was found as the lab's refinement was, but for the threshold, which is done already."""
    config = {field.name: lab.refinement.config.get(field.name, field.default) for field in fields(Thresholds)}
    facts, counts = [], []
    for part in sheet.done:
        assert part.fact_id is not None
        assert part.relation_id is not None
        row = sheet.row("fact", part.part, "")
        assert row is not None
        facts.append(AttributedFact(part.fact_id, part.relation_id, int(row["prompts"])))
        for one in sheet.rows("coarse", part.part):
            layer, _, index = one.key.partition(":")
            counts.append(
                CoarseCount(
                    part.fact_id, part.relation_id, int(layer), int(index), int(one["prompts"]), float(one["sum"])
                )
            )
    _, neurons = refine(0, facts, counts, Thresholds(**config))
    found: dict[int, list[Place]] = {fact.fact_id: [] for fact in facts}
    for neuron in neurons:
        found[neuron.fact_id].append((neuron.layer, neuron.index))
    return {fact_id: tuple(sorted(places)) for fact_id, places in found.items()}

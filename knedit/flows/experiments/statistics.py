"""The experiment statistics: one part, from the refinement and the activation baseline. No limit, unless one is asked.

Only the baseline asks the model.
"""

from collections.abc import Sequence

from knedit.analysis import statistics
from knedit.analysis.sheet import Notes
from knedit.analysis.statistics import FactNeurons
from knedit.flows.experiments.activation_baseline import baseline_neurons
from knedit.flows.experiments.lab import Lab, Subject
from knedit.flows.experiments.running import Job, Recipe

ALL = 0  # facts of a relation


def jobs(lab: Lab) -> list[Job]:
    """Return the one job."""
    subjects = lab.subjects(ALL)
    baseline = baseline_neurons(lab, subjects)
    methods = {
        "neurons": [FactNeurons(one.relation, frozenset(one.places)) for one in subjects],
        "activation": [FactNeurons(one.relation, frozenset(baseline.get(one.fact.id, ()))) for one in subjects],
    }
    prompts = {one.relation.key: sum(one.prompts.values()) for one in lab.catalog.fact_summary()}
    inputs = [[one.fact.id, sorted(one.places), sorted(baseline.get(one.fact.id, ()))] for one in subjects]

    def measure(notes: Notes) -> None:
        statistics.count_facts(notes, methods, prompts, lab.checkpoint.n_layers)
        _catalogued(lab, subjects, notes)

    return [Job("all", measure, (inputs, sorted(prompts.items())), named="all facts")]


def _catalogued(lab: Lab, subjects: Sequence[Subject], notes: Notes) -> None:
    """Note what the catalog holds, refined or not, of the relations in question."""
    wanted = {one.relation for one in subjects}
    summary = [one for one in lab.catalog.fact_summary() if one.relation.key in wanted]
    notes.add(
        "catalog", "", relations=len(summary), facts=sum(one.facts for one in summary),
        prompts=sum(sum(one.prompts.values()) for one in summary),
    )  # fmt: skip


RECIPE = Recipe("statistics", "neurons a fact, their layers, and how many two facts share", jobs, statistics.findings)

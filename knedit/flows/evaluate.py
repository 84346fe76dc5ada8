"""Evaluate an edit from the written files: parent, then child, is asked the same prompts."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from knedit.catalog.store import Catalog
from knedit.evaluation.measure import Measure, Probe, measure
from knedit.evaluation.report import Judged
from knedit.flows.checkpoint import load_checkpoint
from knedit.flows.edit import Planned, find_result
from knedit.flows.stacking import earlier_edits
from knedit.records import Evaluation, Fact, Prompt

_ROLES = ("attribute", "paraphrase", "generate")
_GROUPS = {"update": "updated", "amplify": "amplified"}
_SIBLINGS, _OTHERS, _WRITTEN, _TEXTS = 8, 2, 2, 8


@dataclass(frozen=True, slots=True)
class Asked:
    """A probe with the group that it counts for."""

    probe: Probe
    group: str


def choose_probes(catalog: Catalog, planned: Planned) -> list[Asked]:
    """Return what to ask: every prompt of the edited facts, and one wording each of facts that shall stay as they are.

    Beside the edit stand up to 8 other facts of each relation touched, as many of what other relations tell of the
    edited subjects and of edited facts said backwards, 2 of every other relation, all protected facts, and every prompt
    of facts that earlier edits put into the weights; their ids,
    being fingerprints, order them in a way that is random and always the same. Texts are generated for the first two
    facts of each step and for some of the others. Retired facts and prompts are not asked.
    """
    edited = {target.fact_id: target for target in planned.targets}
    earlier = earlier_edits(catalog, planned.checkpoint).targets
    before = {number: target for number, target in earlier.items() if number not in edited}
    others = _bystanders(planned, set(edited), set(before))
    prompts: dict[int, list[Prompt]] = defaultdict(list)
    for prompt in catalog.prompts([*edited, *before, *(fact.id for fact, _ in others)], roles=_ROLES):
        if prompt.status != "retired":
            prompts[prompt.fact_id].append(prompt)
    asked = []
    written: Counter[int] = Counter()
    for fact_id, target in edited.items():
        group = _GROUPS.get(target.operation, "erased")
        written[target.step] += 1
        shown = _shown(prompts[fact_id]) if written[target.step] <= _WRITTEN else set()
        asked += [Asked(Probe(p, target.new_object, p.id in shown), group) for p in prompts[fact_id]]
    for fact_id, target in before.items():
        asked += [Asked(Probe(p, target.new_object), "earlier edits") for p in prompts[fact_id] if p.answer is not None]
    for number, (fact, group) in enumerate(others):
        wording = [p for p in prompts[fact.id] if p.role == "paraphrase"] or prompts[fact.id]
        shows = number % max(1, len(others) // _TEXTS) == 0
        asked += [Asked(Probe(p, None, shows), group) for p in wording[:1]]
    return asked


def _bystanders(planned: Planned, edited: set[int], earlier: set[int]) -> list[tuple[Fact, str]]:
    """Return facts that shall stay as they are, each with its group; those nearest to the edit before the rest."""
    group_of = _Nearness([planned.facts[fact_id] for fact_id in edited])
    by_kind: dict[tuple[str, int], list[Fact]] = defaultdict(list)
    for fact in sorted(planned.facts.values(), key=lambda fact: fact.id):
        if fact.id not in edited | earlier and fact.status != "retired":
            by_kind[group_of(fact), fact.relation_id].append(fact)
    chosen = []
    for (group, _), facts in by_kind.items():
        limit = _OTHERS if group == "other relations" else _SIBLINGS
        chosen += [(f, group) for n, f in enumerate(facts) if n < limit or f.status == "protected"]
    return chosen


class _Nearness:
    """Tells how near a fact is to an edit: of its relations, an edited fact said backwards, or of an edited subject."""

    def __init__(self, edited: Sequence[Fact]) -> None:
        self._relations = {fact.relation_id for fact in edited}
        self._backwards = {(fact.object, fact.subject) for fact in edited}
        self._subjects = {fact.subject for fact in edited}

    def __call__(self, fact: Fact) -> str:
        if fact.relation_id in self._relations:
            return "same relation"
        if (fact.subject, fact.object) in self._backwards:
            return "inverse"
        return "same subject" if fact.subject in self._subjects else "other relations"


def _shown(prompts: Sequence[Prompt]) -> set[int]:
    """Return the prompts for which text is generated: one wording, two paraphrases, one free generation."""
    wanted = {"attribute": 1, "paraphrase": 2, "generate": 1}
    return {p.id for role, limit in wanted.items() for p in [p for p in prompts if p.role == role][:limit]}


def evaluate_edit(catalog: Catalog, planned: Planned, *, dtype: str = "float32") -> list[Judged]:
    """Measure parent and child from their files, store every value, and return them with their groups.

    Raises EditError if the edit was not applied, CheckpointError if files of either are gone or changed.
    """
    child = find_result(catalog, planned.edit)
    asked = choose_probes(catalog, planned)
    probes = [one.probe for one in asked]
    before = measure(load_checkpoint(planned.checkpoint, dtype=dtype), probes)
    after = measure(load_checkpoint(child, dtype=dtype), probes)
    evaluations = pair(planned.edit.id, child.id, before, after)
    catalog.put_evaluations(evaluations)
    return judge(asked, evaluations)


def judge_try(
    catalog: Catalog,
    planned: Planned,
    attempt: Callable[[Sequence[Probe]], tuple[Sequence[Measure], Sequence[Measure]]],
) -> list[Judged]:
    """Return what an attempt in memory measures, before and after, with groups; nothing is stored."""
    asked = choose_probes(catalog, planned)
    before, after = attempt([one.probe for one in asked])
    return judge(asked, pair(planned.edit.id, planned.checkpoint.id, before, after))


def stored_evaluation(catalog: Catalog, planned: Planned) -> list[Judged]:
    """Return what the catalog remembers of an edit's evaluation; empty if there was none."""
    return judge(choose_probes(catalog, planned), catalog.evaluations(planned.edit.id))


def pair(edit_id: int, checkpoint_id: int, before: Sequence[Measure], after: Sequence[Measure]) -> list[Evaluation]:
    """Return one evaluation a prompt and metric from what was measured before and after."""
    later = {(one.prompt_id, one.metric): one for one in after}
    pairs = [(one, later[one.prompt_id, one.metric]) for one in before]
    return [
        Evaluation(
            edit_id,
            checkpoint_id,
            old.fact_id,
            old.prompt_id,
            old.metric,
            old.value,
            new.value,
            old.text,
            new.text,
        )
        for old, new in pairs
    ]


def judge(asked: Sequence[Asked], evaluations: Sequence[Evaluation]) -> list[Judged]:
    """Return evaluations with the group and role of their prompts, in the order in which these were asked."""
    places = {one.probe.prompt.id: (number, one) for number, one in enumerate(asked)}
    known = sorted((e for e in evaluations if e.prompt_id in places), key=lambda e: (places[e.prompt_id][0], e.metric))
    return [Judged(e, places[e.prompt_id][1].group, places[e.prompt_id][1].probe.prompt) for e in known]

"""The experiment erase: each of some relations is erased by each solver; its prompts and others' are asked again."""

from collections.abc import Sequence

from knedit.analysis import erase
from knedit.analysis.sheet import Notes
from knedit.editing.apply import edited
from knedit.errors import KneditError
from knedit.flows.experiments.asking import Asking, asked_of
from knedit.flows.experiments.edits import ERASURES, common_neurons
from knedit.flows.experiments.lab import NO_PROMPTS, Lab, Subject
from knedit.flows.experiments.running import Job, Recipe, UnableError
from knedit.records import Fact

RELATIONS = 4  # as many as in the paper, those of the most refined facts
USUAL = 8  # facts of the erased relation that are asked; the paper asks all
SHARE = 4  # of other relations a fourth as many each


def jobs(lab: Lab) -> list[Job]:
    """Return a job a relation: those that the scope names, else some."""
    asking = lab.once("asking", lambda: Asking(lab.model))
    ranked = sorted(lab.wished, key=lambda key: (-len(lab.wished[key]), key))
    named = lab.scope.relations or lab.scope.facts or lab.scope.selections
    return [_job(lab, asking, key) for key in (ranked if named else ranked[:RELATIONS])]


def _job(lab: Lab, asking: Asking, relation: str) -> Job:
    limit = USUAL if lab.scope.limit is None else lab.scope.limit
    own = _some(lab.wished[relation], limit)
    others = [fact for key in lab.everyone if key != relation
              for fact in _some(lab.everyone[key], -(-limit // SHARE))]  # fmt: skip
    places = [[*place] for place in lab.users(own[0].relation_id)]
    return Job(
        relation,
        lambda notes: _measure(lab, asking, relation, own, others, notes),
        (relation, [fact.id for fact in own], [fact.id for fact in others], places, list(ERASURES)),
        relation,
        relation,
        own[0].relation_id,
    )


def _some(facts: Sequence[Fact], limit: int) -> list[Fact]:
    return list(facts[:limit] if limit else facts)


def _measure(
    lab: Lab, asking: Asking, relation: str, own: Sequence[Fact], others: Sequence[Fact], notes: Notes
) -> None:
    common_neurons(lab, relation)  # raises where there is none
    sides = {side: _asked(lab, facts) for side, facts in (("own", own), ("other", others))}
    if not sides["own"]:
        raise UnableError(NO_PROMPTS, f"The relation has no prompt of the role {lab.scope.role} that can be asked")
    before = {side: asking.before(asked) for side, asked in sides.items()}
    subjects = [Subject(relation, fact, ()) for fact in own]
    for solver, solved in ERASURES.items():
        try:
            changes = solved(lab, relation, subjects)
        except KneditError as error:
            notes.say("failures", solver, "reason", error.what)
            continue
        with edited(lab.model, changes):
            for side, asked in sides.items():
                erase.note(
                    notes, solver, side, before[side], asking.now(asked),
                    neurons=sum(len(one.indices) for one in changes),
                )  # fmt: skip


def _asked(lab: Lab, facts: Sequence[Fact]) -> list[tuple[str, str]]:
    return [one for fact in facts for one in asked_of(lab.prompts(fact))]


RECIPE = Recipe(
    "erase",
    "a relation's most common neurons are set to 0, beside random ones and knedit's prior",
    jobs,
    erase.findings,
)

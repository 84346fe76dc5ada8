"""The experiment update: facts that the model knows are given another fact's object, by each solver in turn."""

import time
from collections.abc import Sequence

from knedit.analysis import update
from knedit.analysis.sheet import Notes
from knedit.analysis.update import Edited, Heard
from knedit.editing.apply import edited
from knedit.errors import KneditError
from knedit.flows.experiments.asking import Asking, asked_of
from knedit.flows.experiments.edits import UPDATES, Update, no_neurons, own_neurons
from knedit.flows.experiments.lab import NO_PROMPTS, Lab, Subject
from knedit.flows.experiments.running import Job, Recipe, UnableError, fact_job
from knedit.models.prompting import token_count
from knedit.models.scaling import Place
from knedit.records import Fact, Prompt

USUAL = 3  # edits of a relation; the paper has 10
AROUND = 5  # other facts, of the relation and of other ones
NOT_KNOWN = "not known"
NO_TARGET = "no new object"


def jobs(lab: Lab) -> list[Job]:
    """Return a job a fact: of each relation as many that the model knows as are wished, and those tried before them."""
    asking = lab.once("asking", lambda: Asking(lab.model))
    limit = USUAL if lab.scope.limit is None else lab.scope.limit
    found = []
    for relation, facts in lab.wished.items():
        accepted = 0
        for fact in facts:
            if limit and accepted >= limit:
                break
            subject = lab.subject(relation, fact)
            neurons = own_neurons(lab, subject)
            drawn = lab.drawn_prompt(fact) if neurons else None
            known = drawn is not None and asking.before(asked_of([drawn]))[0].right
            accepted += known
            found.append(_job(lab, asking, subject, neurons, drawn, known=known))
    return found


def _job(
    lab: Lab, asking: Asking, subject: Subject, neurons: Sequence[Place], drawn: Prompt | None, *, known: bool
) -> Job:
    def measure(notes: Notes) -> None:
        if not neurons:
            raise no_neurons(subject)
        if drawn is None:
            raise UnableError(NO_PROMPTS, "The fact has no attribute prompt that this model can be asked")
        if not known:
            raise UnableError(NOT_KNOWN, "The model does not give the answer to the prompt that was drawn")
        _measure(lab, asking, Update(subject, new_object(lab, subject), tuple(neurons)), drawn, notes)

    around = [fact.id for kind in ("within", "across") for fact in lab.around(subject, kind, AROUND)]
    asked = [None if drawn is None else drawn.id, lab.prompt_ids(subject.fact, unseen_role(lab))]
    return fact_job(subject, measure, list(neurons), asked, known, around, list(UPDATES))


def new_object(lab: Lab, subject: Subject) -> str:
    """Return another fact's object of the relation, by chance, that is one token. Raises UnableError without one."""
    for fact in lab.drawn_facts(subject):
        if fact.object != subject.fact.object and token_count(lab.model, fact.object) == 1:
            return fact.object
    raise UnableError(NO_TARGET, "No other fact of the relation has an object that is one token of the model")


def unseen_role(lab: Lab) -> str:
    """Return the role of the prompts by which an edit's reach is judged: the scope's, unless the solver is shown it."""
    return "paraphrase" if lab.scope.role == "attribute" else lab.scope.role


def _measure(lab: Lab, asking: Asking, change: Update, drawn: Prompt, notes: Notes) -> None:
    subject = change.subject
    notes.say("edit", "", "new", change.new)
    notes.say("edit", "", "prompt", drawn.text)
    own = [(drawn.text, subject.fact.object), (drawn.text, change.new)]
    unseen = [(prompt.text, change.new) for prompt in lab.prompts(subject.fact, role=unseen_role(lab))]
    around = [_around(lab, lab.around(subject, kind, AROUND)) for kind in ("within", "across")]
    before = [asking.before(some) for some in (own, *around)]
    for solver, solved in UPDATES.items():
        began = time.perf_counter()
        failure = ""
        try:
            changes = solved(lab, change)
        except KneditError as error:
            failure, changes = error.what, ()
        seconds = time.perf_counter() - began
        with edited(lab.model, changes):
            after = [asking.now(some) if changes else was for some, was in zip((own, *around), before, strict=True)]
            heard = asking.now(unseen)
        update.note(
            notes, solver, _edited(before, after, heard), neurons=sum(len(one.indices) for one in changes),
            seconds=seconds,
        )  # fmt: skip
        if failure:
            notes.say("failures", solver, "reason", failure)


def _edited(before: Sequence[Sequence[Heard]], after: Sequence[Sequence[Heard]], unseen: Sequence[Heard]) -> Edited:
    (old, new), within, across = before
    (old_now, new_now), within_now, across_now = after
    return Edited((old, old_now), (new, new_now), unseen, (within, within_now), (across, across_now))


def _around(lab: Lab, facts: Sequence[Fact]) -> list[tuple[str, str]]:
    return [one for fact in facts for one in asked_of(lab.prompts(fact))]


RECIPE = Recipe(
    "update",
    "facts are given other objects by the paper's solver, through random neurons, and by knedit's own",
    jobs,
    update.findings,
)

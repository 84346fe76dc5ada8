"""The experiment consistency: wordings of facts, of edited facts and what follows from them, and pairs of neurons."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from knedit.analysis import consistency
from knedit.analysis.sheet import Notes
from knedit.analysis.update import Heard
from knedit.catalog.questions.answers import NeuronSet
from knedit.editing.apply import edited
from knedit.errors import FactsError, KneditError
from knedit.evaluation.cases import Question
from knedit.evaluation.replies import ask
from knedit.flows.experiments.asking import Asking, asked_of
from knedit.flows.experiments.edits import UPDATES, Update, no_neurons, own_neurons
from knedit.flows.experiments.lab import NO_NEURONS, NO_PROMPTS, Lab, Subject
from knedit.flows.experiments.running import Job, Recipe, UnableError, fact_job
from knedit.flows.experiments.texts import read_text
from knedit.flows.experiments.update import NOT_KNOWN, new_object
from knedit.models.prompting import Query, ends_in_answer, first_token
from knedit.models.scaling import Place
from knedit.records import BLANK, DegenerateSet, Prompt
from knedit.starter.synonyms import synonyms_text

USUAL, EDITS, PAIRS = 8, 1, 2  # facts of a relation: asked, edited, and those whose pairs of neurons are tried
CANDIDATES = 200  # objects of a relation, at most
PROMPTS = 4  # of a fact whose pairs are tried
TRIED = ("paper", "closed-form")
WORDINGS = ("attribute", "paraphrase")
IMPLIED = "implied"  # prompts that do not state the fact

Pairs = Sequence[tuple[str, str]]  # texts and answers


def jobs(lab: Lab) -> list[Job]:
    """Return a job a fact that is asked, one that is edited, and one whose pairs of neurons are tried."""
    synonyms_of(lab)
    found = [_wordings_job(lab, subject) for subject in lab.subjects(USUAL)]
    found += [_edit_job(lab, subject) for subject in lab.subjects(EDITS)]
    return found + [_pairs_job(lab, subject) for subject in lab.subjects(PAIRS)]


def _asked(lab: Lab, subject: Subject) -> list[Prompt]:
    prompts = [prompt for role in _roles(lab) for prompt in lab.prompts(subject.fact, role=role)]
    if len(prompts) < 2:
        raise UnableError(NO_PROMPTS, "The fact has no two wordings that this model can be asked")
    return prompts


def _roles(lab: Lab) -> tuple[str, ...]:
    """Return the roles of the prompts that should say the same: all that state the fact, and the scope's."""
    return tuple(dict.fromkeys((*WORDINGS, lab.scope.role)))


@dataclass(frozen=True, slots=True)
class Candidates:
    """The objects among which a relation's answers are looked for, each by its first token."""

    words: tuple[str, ...]
    tokens: tuple[int, ...]


def candidates_of(lab: Lab, subject: Subject, *more: str) -> Candidates:
    """Return the relation's objects that begin with different tokens, a fact's own and `more` first."""
    others = [fact.object for fact in lab.drawn_facts(subject)]
    found: dict[int, str] = {}
    for word in dict.fromkeys([subject.fact.object, *more, *others]):
        if len(found) == CANDIDATES:
            break
        try:
            found.setdefault(first_token(lab.model, word), word)
        except KneditError:
            continue  # what the model cannot say, it does not predict
    return Candidates(tuple(found.values()), tuple(found))


def predictions(lab: Lab, prompts: Sequence[Prompt], among: Candidates) -> tuple[list[str], list[int]]:
    """Return, for each prompt, the likeliest of the candidates, and the likeliest token of all."""
    replies = ask(lab.model, [Question(text, (answer,)) for text, answer in asked_of(prompts)])
    best = consistency.likeliest(lab.model, [reply.state for reply in replies], among.tokens)
    return [among.words[number] for number in best], [reply.top for reply in replies]


def _wordings_job(lab: Lab, subject: Subject) -> Job:
    def measure(notes: Notes) -> None:
        among = candidates_of(lab, subject)
        said, tops = predictions(lab, _asked(lab, subject), among)
        consistency.note_wordings(notes, said, tops, subject.fact.object)

    asked = [lab.prompt_ids(subject.fact, role) for role in _roles(lab)]
    return fact_job(subject, measure, asked, len(lab.everyone[subject.relation]), part="wordings ")


def _edit_job(lab: Lab, subject: Subject) -> Job:
    neurons = own_neurons(lab, subject)
    asking = lab.once("asking", lambda: Asking(lab.model))

    def measure(notes: Notes) -> None:
        if not neurons:
            raise no_neurons(subject)
        prompts = _asked(lab, subject)
        if not any(heard.right for heard in asking.before(asked_of(prompts))):
            raise UnableError(NOT_KNOWN, "The model does not give the answer in any wording")
        _measure_edit(lab, asking, Update(subject, new_object(lab, subject), neurons), prompts, notes)

    asked = [lab.prompt_ids(subject.fact, role) for role in (*_roles(lab), IMPLIED)]
    return fact_job(subject, measure, list(neurons), asked, list(TRIED), sorted(synonyms_of(lab).items()), part="edit ")


def _measure_edit(lab: Lab, asking: Asking, change: Update, prompts: Sequence[Prompt], notes: Notes) -> None:
    among = candidates_of(lab, change.subject, change.new)
    probes = {
        "wordings": [(prompt.text, change.new) for prompt in prompts],
        "symmetry": turned_around(lab, change, prompts),
        "synonymy": [(p.text, word) for word in synonyms_of(lab).get(change.new, ()) for p in prompts],
        "implied": [(p.text, change.new) for p in lab.prompts(change.subject.fact, role=IMPLIED)],
    }
    before, _ = predictions(lab, prompts, among)
    was = {name: _heard(asking.before, asked) for name, asked in probes.items()}
    notes.say("edit", "", "new", change.new)
    for solver in TRIED:
        try:
            changes = UPDATES[solver](lab, change)
        except KneditError as error:
            notes.say("failures", solver, "reason", error.what)
            changes = ()
        with edited(lab.model, changes):
            after, _ = predictions(lab, prompts, among)
            now = {name: _heard(asking.now, asked) for name, asked in probes.items()}
        consistency.note_edit(
            notes, solver, before, after, change.new, {name: (was[name], now[name]) for name in probes}
        )


def _heard(hear: Callable[[Pairs], list[Heard]], asked: Pairs) -> list[Heard]:
    return hear(asked) if asked else []


def turned_around(lab: Lab, change: Update, prompts: Sequence[Prompt]) -> list[tuple[str, str]]:
    """Return wordings that tell the new object and ask for the subject, as far as this model can be asked them."""
    subject = change.subject.fact.subject
    found = []
    for prompt in prompts:
        text = prompt.text.replace(BLANK, change.new)
        before, mention, after = text.rpartition(subject)
        turned = f"{before}{BLANK}{after}"
        asks = lab.model.masked or lab.model.encoder_decoder or ends_in_answer(turned)
        if mention and subject not in before + after and change.new in before + after and asks:
            found.append((turned, subject))
    return found


def synonyms_of(lab: Lab) -> Mapping[str, Sequence[str]]:
    """Return the words that mean the same, from the scope's file or knedit's own short list."""
    path = lab.scope.synonyms
    return lab.once("synonyms", lambda: read_synonyms(synonyms_text() if path is None else read_text(path), path))


def read_synonyms(text: str, path: Path | None) -> dict[str, tuple[str, ...]]:
    """Return what a list of lines as `football = soccer, footie` says. Raises FactsError for another line."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        word, sign, rest = line.partition("=")
        others = tuple(other.strip() for other in rest.split(",") if other.strip())
        if not sign or not word.strip() or not others:
            where = f"{path}, line {number}"
            raise FactsError(
                f"the line {line.strip()[:60]!r} is no list of synonyms", where, "Write: football = soccer"
            )
        found[word.strip()] = others
    return found


def _pairs_job(lab: Lab, subject: Subject) -> Job:
    def measure(notes: Notes) -> None:
        if not subject.neurons:
            raise UnableError(NO_NEURONS, "The refinement kept no neuron of the fact")
        if len(subject.neurons) == 1:
            raise UnableError("one neuron", "The fact has one neuron, so it has no pairs")
        queries = lab.queries(subject.fact)[:PROMPTS]
        if not queries:
            raise UnableError(NO_PROMPTS, f"The fact has no prompt of the role {lab.scope.role} that can be asked")
        _measure_pairs(lab, subject, queries, notes)

    return fact_job(subject, measure, lab.prompt_ids(subject.fact)[:PROMPTS], part="pairs ")


def _measure_pairs(lab: Lab, subject: Subject, queries: Sequence[Query], notes: Notes) -> None:
    places = subject.places[: consistency.MOST_NEURONS]
    alone, pairs = consistency.lost_shares(lab.model, queries, places)
    found = {pair: lost for pair, lost in pairs.items() if consistency.is_degenerate([alone[p] for p in pair], lost)}
    notes.add(
        "pairs", "", neurons=len(places), pairs=len(pairs), degenerate=len(found),
        alone=sum(alone.values()) / len(alone), together=sum(pairs.values()) / len(pairs),
    )  # fmt: skip
    for (one, other), lost in sorted(found.items()):
        key = f"{one[0]}:{one[1]} {other[0]}:{other[1]}"
        notes.add("degenerate", key, one=alone[one], other=alone[other], together=lost)
    lab.catalog.put_degenerate_sets(
        lab.refinement.id, [subject.fact.id], [_set(lab, subject, pair, lost) for pair, lost in found.items()]
    )


def _set(lab: Lab, subject: Subject, pair: tuple[Place, Place], lost: float) -> NeuronSet:
    own = DegenerateSet.identify(lab.refinement.id, subject.fact.id, pair)
    return NeuronSet(DegenerateSet(own, lab.refinement.id, subject.fact.id, lost), tuple(sorted(pair)))


RECIPE = Recipe(
    "consistency",
    "wordings that agree, before and after an edit; symmetry, synonyms; degenerate pairs of neurons",
    jobs,
    consistency.findings,
)

"""Published sets of rewrites as cases to run, and what a solver may know of the rest of its set.

A set is read by its catalog format, whose RequestedRewrite closes each record; nothing is stored.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from knedit.catalog.formats import counterfact, zsre
from knedit.catalog.formats.values import listed
from knedit.errors import FactsError
from knedit.evaluation.cases import Ask, Case, Rewrite
from knedit.records import BLANK, Fact, Prompt, Relation, RequestedRewrite

SIBLINGS = 4  # other facts of the relation that every record is asked

SUITES: Mapping[str, Callable[[Path], Iterator[object]]] = {"counterfact": counterfact.read, "zsre": zsre.read}


def read_suite(name: str, path: Path) -> list[Case]:
    """Return every record of a published set as a case, in the file's order.

    A key that stands twice gets a number. Raises FactsError for an unknown suite, for a file that is not of its
    format, and where no record asks for a rewrite.
    """
    if name not in SUITES:
        raise FactsError(f"there is no suite {name!r}", "--suite", f"Choose one of {listed(list(SUITES))}.")
    relations: dict[int, Relation] = {}
    facts: dict[int, Fact] = {}
    prompts: list[Prompt] = []
    cases: list[Case] = []
    seen: Counter[str] = Counter()
    for record in SUITES[name](path):
        if isinstance(record, Relation):
            relations[record.id] = record
        elif isinstance(record, Fact):
            facts[record.id] = record
        elif isinstance(record, Prompt):
            prompts.append(record)
        elif isinstance(record, RequestedRewrite):
            seen[record.key] += 1
            fact = facts[record.fact_id]
            own = [prompt for prompt in prompts if prompt.fact_id == fact.id]
            key = record.key if seen[record.key] == 1 else f"{record.key} ({seen[record.key]})"
            cases.append(_case(key, relations[fact.relation_id].key, fact, own, record.new_object))
            prompts = []
    if not cases:
        raise FactsError("the file asks for no rewrite", str(path), "Name a file of this suite with --suite.")
    return cases


def _case(key: str, relation: str, fact: Fact, prompts: Sequence[Prompt], new: str) -> Case:
    by_role: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        by_role[prompt.role].append(prompt)
    (own, *_) = by_role["attribute"]
    return Case(
        Rewrite(key, relation, fact.subject, own.text, fact.object, new),
        paraphrases=tuple(prompt.text for prompt in by_role["paraphrase"]),
        neighbours=_asks(by_role["neighbour"]),
        implied=_asks(by_role["implied"]),
        generations=tuple(prompt.text for prompt in by_role["generate"]),
    )


def _asks(prompts: Sequence[Prompt]) -> tuple[Ask, ...]:
    return tuple(Ask(prompt.text, prompt.answer) for prompt in prompts if prompt.answer is not None)


@dataclass(frozen=True, slots=True)
class KnownFact:
    """A fact of another record: a wording that asks it, and its true object."""

    subject: str
    text: str
    object: str


@dataclass(slots=True)
class Surroundings:
    """The facts of a whole set, by relation, as a catalog would know them: the records' own wordings alone."""

    cases: Sequence[Case]
    _by_relation: dict[str, list[Rewrite]] = field(init=False)
    _by_subject: dict[str, list[Rewrite]] = field(init=False)

    def __post_init__(self) -> None:
        self._by_relation, self._by_subject = defaultdict(list), defaultdict(list)
        for case in self.cases:
            self._by_relation[case.rewrite.relation].append(case.rewrite)
            self._by_subject[case.rewrite.subject].append(case.rewrite)

    def known(self, relation: str, edited: Collection[Case]) -> list[KnownFact]:
        """Return the relation's other facts, none of a subject that is edited or that a neighbour's prompt asks.

        So nothing by which the edited cases are judged is among them, in whatever words.
        """
        subjects = {case.rewrite.subject for case in edited}
        told = [ask.text for case in edited if case.rewrite.relation == relation for ask in case.neighbours]
        texts = "\n".join(told)
        judged = {ask.text for case in edited for ask in (*case.siblings, *case.same_subject, *case.inverse)}
        found = {
            one.subject: KnownFact(one.subject, one.text, one.true)
            for one in self._by_relation[relation]
            if one.subject not in subjects and one.subject not in texts and one.text not in judged
        }
        return list(found.values())

    def with_bystanders(self, case: Case, edited: Collection[Case]) -> Case:
        """Return a case that also asks other facts: some of its relation, and what the set knows of its subject.

        Siblings stand behind it in the file's order, round the end; the inverse is asked where a record tells it.
        """
        rewrite = case.rewrite
        subjects = {one.rewrite.subject for one in edited}
        relation = self._by_relation[rewrite.relation]
        place = relation.index(rewrite)
        order = [*relation[place + 1 :], *relation[:place]]
        siblings = [one for one in order if one.subject not in subjects][:SIBLINGS]
        same = [one for one in self._by_subject[rewrite.subject] if one.relation != rewrite.relation]
        inverse = [one for one in self._by_subject[rewrite.new] if one.true == rewrite.subject]
        return replace(
            case,
            siblings=tuple(Ask(one.text, one.true) for one in siblings),
            same_subject=tuple(Ask(one.text, one.true) for one in same if one.relation != rewrite.relation),
            inverse=tuple(Ask(one.text, one.true) for one in inverse),
        )


def refusal(rewrite: Rewrite) -> str | None:
    """Return why no solver can be asked for a rewrite, None where one can."""
    if rewrite.new == rewrite.true and not rewrite.erase:
        return f"the new object {rewrite.new!r} is the present one"
    if rewrite.subject not in rewrite.text.partition(BLANK)[0]:
        return f"the subject {rewrite.subject!r} does not stand in the prompt {rewrite.text!r}"
    return None

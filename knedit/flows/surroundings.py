"""What the catalog knows around a plan's wishes: their prompts and wordings, neighbours, and facts that must stay.

Knows no solve. Neighbours are other facts of a relation; what must stay are protected facts and those that earlier
edits put into the weights. Neurons that refinement found in protected facts, and generic ones, are barred.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest

from knedit.catalog.store import Catalog
from knedit.editing.around import Neighbours
from knedit.editing.asking import contexts_asked
from knedit.editing.reading import answers_of
from knedit.editing.recipe import Recipe
from knedit.editing.upheld import Upheld
from knedit.editing.wishes import Wish, reworded
from knedit.errors import KneditError, ModelError
from knedit.flows.goals import Goal
from knedit.flows.stacking import Earlier
from knedit.models.model import Model
from knedit.models.planting import keys_around_sites, keys_at_sites
from knedit.models.prompting import Query, encode_prompt, usable
from knedit.records import Fact, Prompt, Refinement, fingerprint, show_id
from knedit.starter.sentences import sentences

TEXTS, TOLD = 8, 64  # own texts of a fact, and other facts of its relation that lend it wordings
BESIDES = 3  # prompts of other relations of its subject
NEIGHBOURS, KEPT, KEPT_TEXTS = 256, 1_000, 3  # facts at most, and prompts of one
ASKED_EACH, ASKED = 64, 1_024  # facts that the model is asked for each that it shall forget, and at most
AROUND, ELSEWHERE = 12, 48  # prompts of a relation, and of all others, whose other tokens must stay as well


@dataclass(frozen=True, slots=True)
class Wished:
    """A wish, the step of the plan that it belongs to, and its fact."""

    step: int
    fact: Fact
    wish: Wish


def wishes_of(
    catalog: Catalog, model: Model, goals: Mapping[int, Goal], earlier: Earlier, recipe: Recipe
) -> tuple[list[Wished], dict[str, KneditError]]:
    """Return the wishes of goals, by step, and why facts have none, by target: no prompt that the model could be asked.

    A fact's texts are its attribute prompts that hold its subject.
    """
    facts = [fact for goal in goals.values() for fact in goal.facts]
    keys = {relation.id: relation.key for relation in catalog.relations()}
    own = prompts_by_fact(catalog, facts)
    besides = _besides(catalog, model, facts)
    told = {number: _told(catalog, keys[number]) for number in {fact.relation_id for fact in facts}}
    found: list[Wished] = []
    failures: dict[str, KneditError] = {}
    for step, goal in goals.items():
        for fact in goal.facts:
            target = f"{keys[fact.relation_id]}/{fact.subject}"
            present = earlier.present(fact.id, fact.object)
            texts = [p.text for p in own[fact.id] if fact.subject in p.text and _asks(model, p.text)]
            others = [text for text in reworded(told[fact.relation_id], fact.subject) if _asks(model, text)]
            said = present or fact.object
            beside = [pair for pair in besides.get(fact.subject, ()) if goal.new is not None or pair[1] != said]
            wish = Wish(
                target, fact.subject, tuple(texts[:TEXTS]), goal.new, said, tuple(others),
                keys[fact.relation_id], tuple(beside[:BESIDES]),
                recipe.unlikely if goal.operation == "erase-relation" else 0.0,
            )  # fmt: skip
            try:
                _check(model, wish, own[fact.id], recipe)
            except KneditError as error:
                failures[target] = error
            else:
                found.append(Wished(step, fact, wish))
    return found, failures


def _check(model: Model, wish: Wish, prompts: Sequence[Prompt], recipe: Recipe) -> None:
    """Raise KneditError unless every context of the wish can be read, and its answer said."""
    if not wish.texts:
        without = [prompt.text for prompt in prompts if wish.subject not in prompt.text]
        what = f"the subject {wish.subject!r} is not in its prompt {without[0]!r}" if without else "it has no prompt"
        raise ModelError(
            f"{what} that the model could be asked", wish.target, "Give the fact a prompt of the role attribute."
        )
    contexts_asked(model, wish, sentences(), recipe)


def site_query(model: Model, prompt: Prompt, subject: str) -> Query:
    """Return the query of a prompt whose site is where an edit acts on it. Raises ModelError."""
    where = "answer" if model.at_answer else "subject-last"
    return encode_prompt(model, prompt, where=where, subject=subject)


def _asks(model: Model, text: str) -> bool:
    return usable(model, Prompt.make(0, "attribute", text, "x"))


def prompts_by_fact(catalog: Catalog, facts: Iterable[Fact]) -> dict[int, list[Prompt]]:
    """Return the attribute prompts of facts that are not retired, by fact id."""
    found: dict[int, list[Prompt]] = defaultdict(list)
    for prompt in catalog.prompts([fact.id for fact in facts], roles=("attribute",)):
        if prompt.status != "retired":
            found[prompt.fact_id].append(prompt)
    return found


def _told(catalog: Catalog, relation: str) -> list[tuple[str, str]]:
    facts = _by_chance(fact for fact in catalog.facts(relation=relation) if fact.status != "retired")[:TOLD]
    subjects = {fact.id: fact.subject for fact in facts}
    prompts = prompts_by_fact(catalog, facts)
    return [(prompt.text, subjects[number]) for number in subjects for prompt in prompts[number]]


def _of_subjects(facts: Iterable[Fact], edited: Sequence[Fact]) -> list[Fact]:
    """Return those of the facts that edited facts' subjects have beside these, as far as they are in use."""
    ids, subjects = {fact.id for fact in edited}, {fact.subject for fact in edited}
    return [fact for fact in facts if fact.subject in subjects and fact.id not in ids and fact.status != "retired"]


def _besides(catalog: Catalog, model: Model, edited: Sequence[Fact]) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return, by subject, some prompts of its other facts with their answers, each fact's first before any's second.

    Where edits act at the answer, other prompts have keys of their own there, and are not asked.
    """
    if model.at_answer:
        return {}
    others = _by_chance(_of_subjects(catalog.facts(), edited))
    prompts = prompts_by_fact(catalog, others)
    ranked: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for fact in others:
        able = [p for p in prompts[fact.id] if fact.subject in p.text and usable(model, p)]
        for number, prompt in enumerate(able[:BESIDES]):
            with suppress(ModelError):  # what the model cannot be asked, it cannot lose
                site_query(model, prompt, fact.subject)
                ranked[fact.subject].append((number, prompt.text, fact.object))
    return {
        subject: tuple((text, answer) for _, text, answer in sorted(some, key=lambda one: one[0]))
        for subject, some in ranked.items()
    }


def _by_chance(facts: Iterable[Fact]) -> list[Fact]:
    """Return facts in the order of their ids, which is random and always the same."""
    return sorted(facts, key=lambda fact: fact.id)


def neighbours_of(
    catalog: Catalog, model: Model, wished: Sequence[Wished], layers: Sequence[int]
) -> Callable[[str], Neighbours | None]:
    """Return what tells a relation's other facts, some hundreds at most, with their keys; it looks when it is asked."""
    edited = {one.fact.id for one in wished}

    def told(relation: str) -> Neighbours | None:
        every = [fact for fact in catalog.facts(relation=relation) if fact.status != "retired"]
        others = _by_chance(fact for fact in every if fact.id not in edited)[:NEIGHBOURS]
        found = _keys(catalog, model, others, layers, texts=1)
        if found is not None:
            return found
        own = _keys(catalog, model, _by_chance(every)[:AROUND], layers, texts=1)  # nobody else is asked by its prompts
        return own and Neighbours((), {layer: keys[:0] for layer, keys in own.keys.items()}, own.around)

    return told


def elsewhere_of(catalog: Catalog, model: Model, wished: Sequence[Wished], layers: Sequence[int]) -> Neighbours | None:
    """Return some facts of the relations that no wish is of, with their keys, where anything is to be forgotten.

    Updates say too little elsewhere to be worth the seconds that these keys take.
    """
    if all(one.wish.new is not None for one in wished):
        return None
    relations = {one.fact.relation_id for one in wished}
    chosen = by_turns(fact for fact in catalog.facts() if fact.relation_id not in relations)[:NEIGHBOURS]
    return _keys(catalog, model, chosen, layers, texts=1, around=ELSEWHERE)


def by_turns(facts: Iterable[Fact]) -> list[Fact]:
    """Return the facts in use, by turns one of each relation, so that a part of them is of all relations."""
    by_relation: dict[int, list[Fact]] = defaultdict(list)
    for fact in _by_chance(fact for fact in facts if fact.status != "retired"):
        by_relation[fact.relation_id].append(fact)
    turns = zip_longest(*(by_relation[number] for number in sorted(by_relation)))
    return [fact for turn in turns for fact in turn if fact is not None]


def upheld_facts(catalog: Catalog, model: Model, wished: Sequence[Wished], earlier: Earlier) -> tuple[Upheld, ...]:
    """Return facts that the model answers right, with those prompts, where anything is to be forgotten.

    It is asked some prompts of facts that neither this edit nor an earlier one is of; of more facts the more are to be
    forgotten.
    """
    forgotten = sum(one.wish.new is None for one in wished)
    edited = {one.fact.id for one in wished} | set(earlier.targets)
    some = by_turns(f for f in catalog.facts() if f.id not in edited)[: min(ASKED_EACH * forgotten, ASKED)]
    prompts = prompts_by_fact(catalog, some)
    keys = {relation.id: relation.key for relation in catalog.relations()}
    known = _right(model, {fact.id: _queries(model, fact, prompts[fact.id], KEPT_TEXTS) for fact in some})
    return tuple(
        Upheld(f"{keys[fact.relation_id]}/{fact.subject}", tuple(known[fact.id])) for fact in some if fact.id in known
    )


def _queries(model: Model, fact: Fact, prompts: Sequence[Prompt], limit: int) -> list[Query]:
    """Return the queries of a fact's first prompts that hold its subject, so many at most."""
    found = []
    for prompt in [p for p in prompts if fact.subject in p.text and usable(model, p)][:limit]:
        with suppress(ModelError):  # what the model cannot be asked, it cannot lose
            found.append(site_query(model, prompt, fact.subject))
    return found


def _right(model: Model, queries: Mapping[int, Sequence[Query]]) -> dict[int, list[Query]]:
    """Return by fact those of the queries that the model answers right; facts without any are left out."""
    every = [(number, query) for number, own in queries.items() for query in own]
    found: dict[int, list[Query]] = defaultdict(list)
    for (number, query), (_, right) in zip(every, answers_of(model, [query for _, query in every]), strict=True):
        if right:
            found[number].append(query)
    return dict(found)


def kept_facts(
    catalog: Catalog, model: Model, edited: Collection[int], earlier: Earlier, layers: Sequence[int]
) -> Neighbours | None:
    """Return protected facts, and those that earlier edits changed, less those edited now, with their keys."""
    every = [fact for fact in catalog.facts() if fact.id not in edited]
    kept = [fact for fact in every if fact.status == "protected" or fact.id in earlier.targets]
    first = sorted(kept, key=lambda fact: (fact.id not in earlier.targets, fact.id))[:KEPT]
    return _keys(catalog, model, first, layers, texts=KEPT_TEXTS)


def around_of(catalog: Catalog, goals: Iterable[Goal], earlier: Earlier) -> str:
    """Return a fingerprint of the facts and prompts that goals are solved among, as 16 hexadecimal digits.

    These are the other facts of their relations and subjects, some of all others, protected ones, what earlier edits
    made the model say, and updated facts; nothing that this edit or an earlier one erases is in it, so that no guess at
    that can be tried on it.
    """
    goals = list(goals)
    erased = {fact.id for goal in goals if goal.operation != "update" for fact in goal.facts}
    erased |= {target.fact_id for target in earlier.targets.values() if target.operation not in ("update", "amplify")}
    edited = [fact for goal in goals for fact in goal.facts]
    relations = {fact.relation_id for fact in edited}
    every = catalog.facts()
    forgets = any(goal.new is None for goal in goals)
    elsewhere = by_turns(fact for fact in every if fact.relation_id not in relations)[:ASKED] if forgets else []
    others = {fact.id for fact in (*_of_subjects(every, edited), *elsewhere)}
    facts = {
        fact.id: fact
        for fact in every
        if fact.status != "retired"
        and fact.id not in erased
        and (
            fact.relation_id in relations
            or fact.id in others
            or fact.status == "protected"
            or fact.id in earlier.targets
        )
    }
    prompts = prompts_by_fact(catalog, facts.values())
    told = [[n, fact.status == "protected", sorted(one.id for one in prompts[n])] for n, fact in facts.items()]
    said = [[target.fact_id, target.new_object] for target in earlier.targets.values() if target.fact_id in facts]
    return show_id(fingerprint("around", sorted(told), sorted(said, key=str)))


def _keys(
    catalog: Catalog, model: Model, facts: Sequence[Fact], layers: Sequence[int], *, texts: int, around: int = AROUND
) -> Neighbours | None:
    prompts = prompts_by_fact(catalog, facts)
    subjects: list[str] = []
    queries: list[Query] = []
    for fact in facts:
        own = _queries(model, fact, prompts[fact.id], texts)
        queries += own
        subjects += [fact.subject] * len(own)
    if not queries:
        return None
    beside = {} if model.encoder_decoder else keys_around_sites(model, queries[:around], layers)
    return Neighbours(tuple(subjects), keys_at_sites(model, queries, layers), beside)


def barred_columns(catalog: Catalog, refinement: Refinement | None) -> dict[int, frozenset[int]]:
    """Return, by layer, the neurons of protected facts and the generic ones, as a refinement knows them."""
    if refinement is None:
        return {}
    places = {(hub.layer, hub.index) for hub in catalog.hubs(refinement.id, limit=None, role="generic")}
    for fact in catalog.facts(statuses=["protected"]):
        places |= {(one.layer, one.index) for one in catalog.neurons_of(refinement.id, fact.id)}
    found: dict[int, set[int]] = defaultdict(set)
    for layer, index in places:
        found[layer].add(index)
    return {layer: frozenset(indices) for layer, indices in found.items()}

"""What experiments work on: a refined checkpoint's facts in some order of chance, their neurons, and their prompts.

Knows no experiment. A fact that cannot be used is not passed over: it carries the reason.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from knedit.catalog.store import Catalog
from knedit.errors import FactsError, ModelError
from knedit.flows.curate import facts_in_use
from knedit.flows.plan_neurons import find_refinement
from knedit.flows.suite_solvers import random_neurons
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_prompt, usable
from knedit.models.scaling import Place
from knedit.records import NEURON_ROLES, Checkpoint, Fact, KnowledgeNeuron, Prompt, Refinement, fingerprint

Made = TypeVar("Made")

NO_NEURONS = "no neurons"
NO_PROMPTS = "no prompts"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an experiment is: its name, parts done, of how many, and how many of them before this call."""

    name: str
    done: int
    parts: int
    before: int


Progress = Callable[[Standing], None]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a user asks an experiment about.

    Nothing named: all refined facts. `limit` takes so many facts with neurons of each relation, None as many as the
    experiment usually takes, 0 all. `wordings` takes at most so many prompts of a fact; `role` is the prompts' role,
    `roles` those of the neurons. `texts` are files of texts, else knedit's own and the catalog's wordings;
    `synonyms` is a list of words that mean the same.
    """

    relations: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    selections: tuple[str, ...] = ()
    limit: int | None = None
    wordings: int | None = None
    role: str = "attribute"
    roles: tuple[str, ...] = NEURON_ROLES
    refinement: str | None = None
    seed: int = 0
    texts: tuple[Path, ...] = ()
    synonyms: Path | None = None

    @property
    def named(self) -> str:
        return ", ".join((*self.relations, *self.selections, *self.facts)) or "all relations"


@dataclass(frozen=True, slots=True)
class Subject:
    """A refined fact with its relation's key and its neurons of the wished roles, by falling score."""

    relation: str
    fact: Fact
    neurons: tuple[KnowledgeNeuron, ...]

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple((one.layer, one.index) for one in self.neurons)

    @property
    def named(self) -> str:
        return f"{self.relation}/{self.fact.subject} – {self.fact.object}"


@dataclass
class Lab:
    """One checkpoint's facts as a scope asks for them; the model is loaded when it is first needed."""

    catalog: Catalog
    checkpoint: Checkpoint
    load: Callable[[Checkpoint], Model]
    scope: Scope = field(default_factory=Scope)
    dtype: str = "float32"
    progress: Progress = field(default=lambda _: None)
    _made: dict[str, Any] = field(default_factory=dict)
    _users: dict[int, Mapping[Place, int]] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """Return what several experiments need, made when it is first asked for."""
        if name not in self._made:
            self._made[name] = make()
        found: Made = self._made[name]
        return found

    @cached_property
    def model(self) -> Model:
        return self.load(self.checkpoint)

    @cached_property
    def refinement(self) -> Refinement:
        return find_refinement(self.catalog, self.checkpoint, self.scope.refinement)

    @cached_property
    def keys(self) -> dict[int, str]:
        """The relations' keys, by id."""
        return {relation.id: relation.key for relation in self.catalog.relations()}

    @cached_property
    def refined(self) -> dict[int, int]:
        """The number of neurons of each refined fact, of whatever role, by fact id."""
        return {one.fact_id: one.neurons for one in self.catalog.refined_facts(self.refinement.id)}

    @cached_property
    def everyone(self) -> dict[str, list[Fact]]:
        """All refined facts in use by relation, ordered by their ids, which is by chance and always the same."""
        found: dict[str, list[Fact]] = {key: [] for key in sorted(self.keys.values())}
        for fact in sorted(self.catalog.facts(), key=lambda fact: fact.id):
            if fact.id in self.refined and fact.status != "retired":
                found[self.keys[fact.relation_id]].append(fact)
        return {key: facts for key, facts in found.items() if facts}

    @cached_property
    def wished(self) -> dict[str, list[Fact]]:
        """The refined facts that the scope names, by relation. Raises FactsError or CatalogError where one has none."""
        scope = self.scope
        if not (scope.relations or scope.facts or scope.selections):
            if self.everyone:
                return self.everyone
            raise FactsError("no fact is refined", self.checkpoint.name, f"Run: knedit refine {self.checkpoint.name}")
        found: dict[str, list[Fact]] = {}
        for key in scope.relations:
            found[self.catalog.find_relation(key).key] = self._of_relation(key)
        for name in scope.selections:
            self._take(found, [fact for fact in facts_in_use(self.catalog, name) if fact.id in self.refined], name)
        for reference in scope.facts:
            fact = self.catalog.find_fact(reference)
            self._take(found, [fact] if fact.id in self.refined else [], reference)
        return found

    def _of_relation(self, key: str) -> list[Fact]:
        if found := self.everyone.get(key):
            return found
        facts = self.catalog.facts(relation=key)
        if not facts:
            raise FactsError(
                f'the relation "{key}" has no facts', self.catalog.address, "Run: knedit facts import FILE"
            )
        raise self._not_refined(f"none of the {len(facts)} facts of the relation is refined", key, f"--relation {key}")

    def _take(self, found: dict[str, list[Fact]], facts: Sequence[Fact], where: str) -> None:
        if not facts:
            raise self._not_refined("there is no refined fact", where, f"--fact {where}")
        for fact in sorted(facts, key=lambda fact: fact.id):
            own = found.setdefault(self.keys[fact.relation_id], [])
            if fact not in own:
                own.append(fact)

    def _not_refined(self, what: str, where: str, option: str) -> FactsError:
        name = self.checkpoint.name
        return FactsError(what, where, f"Run: knedit attribute {name} {option}, then knedit refine {name}")

    def subjects(self, usual: int = 0) -> list[Subject]:
        """Return the scope's facts, relation by relation, up to the limit (else the `usual` one; 0: all).

        The limit counts facts that have neurons; those without that come before are among them, to be told.
        """
        limit = usual if self.scope.limit is None else self.scope.limit
        if not limit and not self.scope.facts:
            _ = self._every_neuron
        chosen: list[Subject] = []
        for key, facts in self.wished.items():
            taken = 0
            for fact in facts:
                if limit and taken >= limit:
                    break
                subject = self.subject(key, fact)
                taken += bool(subject.neurons)
                chosen.append(subject)
        return chosen

    def subject(self, key: str, fact: Fact) -> Subject:
        """Return a refined fact with its neurons of the scope's roles."""
        neurons = self._neurons_of(fact)
        return Subject(key, fact, tuple(one for one in neurons if one.role in self.scope.roles))

    def _neurons_of(self, fact: Fact) -> Sequence[KnowledgeNeuron]:
        """Return a fact's neurons by falling score; where all facts are asked for, from one reading of them all."""
        if "_every_neuron" in vars(self):
            return self._every_neuron.get(fact.id, ())
        return self.catalog.neurons_of(self.refinement.id, fact.id)

    @cached_property
    def _every_neuron(self) -> dict[int, list[KnowledgeNeuron]]:
        found: dict[int, list[KnowledgeNeuron]] = defaultdict(list)
        for one in self.catalog.refined_neurons(self.refinement.id):
            found[one.fact_id].append(one)
        for own in found.values():
            own.sort(key=lambda one: (one.score is None, -(one.score or 0.0), one.layer, one.index))
        return found

    def prompts(self, fact: Fact, *, role: str | None = None) -> list[Prompt]:
        """Return a fact's prompts of a role, else of the scope's, that this kind of model can be asked.

        Retired ones, and those that the model cannot read or say, are left out.
        """
        return [prompt for prompt, _ in self.asked(fact, role=role)]

    def queries(self, fact: Fact, *, role: str | None = None) -> list[Query]:
        """Return the same prompts as the model reads them."""
        return [query for _, query in self.asked(fact, role=role)]

    def asked(self, fact: Fact, *, role: str | None = None) -> list[tuple[Prompt, Query]]:
        """Return the same prompts, each with its query."""
        found = []
        for prompt in self.catalog.prompts([fact.id], roles=(role or self.scope.role,)):
            if prompt.status != "retired" and usable(self.model, prompt):
                try:
                    found.append((prompt, encode_prompt(self.model, prompt)))
                except ModelError:
                    continue  # nothing can be said of a prompt that the model cannot read; the fact may have others
        return found[: self.scope.wordings]

    def prompt_ids(self, fact: Fact, role: str | None = None) -> list[int]:
        """Return the ids of a fact's prompts of a role, else of the scope's, retired ones left out; asks no model."""
        found = self.catalog.prompts([fact.id], roles=(role or self.scope.role,))
        return [prompt.id for prompt in found if prompt.status != "retired"]

    def random_places(self, subject: Subject) -> tuple[Place, ...]:
        """Return as many other neurons of the same layers as the fact has, by chance and always the same."""
        return self.other_places(subject.places, subject.fact.id)

    def other_places(self, places: Sequence[Place], name: int) -> tuple[Place, ...]:
        """Return as many other neurons of the same layers, by a chance that `name` decides."""
        return random_neurons(places, self.checkpoint.ffn_width, f"{self.scope.seed} {name}")

    def stranger(self, subject: Subject) -> Fact | None:
        """Return a refined fact of another relation, by chance and always the same; None where there is none."""
        others = [key for key in self.everyone if key != subject.relation]
        if not others:
            return None
        key = others[_drawn(self.scope.seed, subject.fact.id, "relation") % len(others)]
        facts = self.everyone[key]
        return facts[_drawn(self.scope.seed, subject.fact.id, "fact") % len(facts)]

    def users(self, relation_id: int) -> Mapping[Place, int]:
        """Return how many of a relation's facts hold each neuron, the most first."""
        if relation_id not in self._users:
            found = self.catalog.relation_neurons(self.refinement.id, relation_id)
            self._users[relation_id] = {(one.layer, one.index): one.facts for one in found}
        return self._users[relation_id]

    def drawn_prompt(self, fact: Fact) -> Prompt | None:
        """Return one of a fact's attribute prompts, by chance and always the same; None where it has none."""
        prompts = self.prompts(fact, role="attribute")
        return min(prompts, key=lambda prompt: _drawn(self.scope.seed, prompt.id)) if prompts else None

    def drawn_facts(self, subject: Subject) -> list[Fact]:
        """Return the other facts in use of a fact's relation, refined or not, in an order of chance."""
        others = [fact for fact in self.catalog.facts(relation=subject.relation) if fact.status != "retired"]
        return self._shuffled(subject, [fact for fact in others if fact.id != subject.fact.id])

    def around(self, subject: Subject, kind: str, count: int) -> list[Fact]:
        """Return some other refined facts by chance: `within` its relation, or `across`, one a relation in turn."""
        if kind == "within":
            own = [fact for fact in self.everyone[subject.relation] if fact.id != subject.fact.id]
            return self._shuffled(subject, own)[:count]
        others = [facts for key, facts in self.everyone.items() if key != subject.relation]
        ranked = sorted(others, key=lambda facts: _drawn(self.scope.seed, subject.fact.id, facts[0].relation_id))
        drawn = [self._shuffled(subject, facts) for facts in ranked]
        found = [facts[turn] for turn in range(count) for facts in drawn if turn < len(facts)]
        return found[:count]

    def _shuffled(self, subject: Subject, facts: Sequence[Fact]) -> list[Fact]:
        return sorted(facts, key=lambda fact: _drawn(self.scope.seed, subject.fact.id, fact.id))


def _drawn(*parts: object) -> int:
    return fingerprint("draw", *parts)

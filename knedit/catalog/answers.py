"""What the catalog's questions return where a table's own record does not say it: frozen, counted by SQL."""

from collections.abc import Mapping
from dataclasses import dataclass

from knedit.records import NEURON_ROLES, AttributionRun, Fact, KnowledgeNeuron, Prompt, PromptAttribution, Relation


@dataclass(frozen=True, slots=True)
class Count:
    """How many records came, and how many of them the catalog did not have before."""

    seen: int = 0
    added: int = 0


@dataclass(frozen=True, slots=True)
class ImportCount:
    relations: Count
    facts: Count
    prompts: Count
    sources: Count = Count()
    rewrites: Count = Count()


@dataclass(frozen=True, slots=True)
class PublishedCount:
    """What became of one data set's records by one method: facts with their neurons, or prompts with their scores.

    `refinement_id` is None for scores, which are yet to be refined.
    """

    run: AttributionRun
    refinement_id: int | None
    records: Count
    neurons: Count


@dataclass(frozen=True, slots=True)
class RelationSummary:
    """One relation, its facts by status and its prompts by role; what has none is left out of the two mappings."""

    relation: Relation
    facts: int
    statuses: Mapping[str, int]
    prompts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class NeuronUse:
    """A fact that holds a neuron, and how. `relation` is the fact's relation's key."""

    fact: Fact
    relation: str
    neuron: KnowledgeNeuron


@dataclass(frozen=True, slots=True)
class Hub:
    """A neuron and the facts that hold it.

    The shares are those of all facts, and all relations, that were refined, also those without any neuron.
    `roles` counts the facts by the role that the neuron plays in them.
    """

    layer: int
    index: int
    facts: int
    relations: int
    share_of_facts: float
    share_of_relations: float
    roles: Mapping[str, int]

    @property
    def role(self) -> str:
        """The widest role that the neuron plays in any fact: "generic", else "relation", else "fact"."""
        return next(role for role in reversed(NEURON_ROLES) if self.roles[role])


@dataclass(frozen=True, slots=True)
class RelationNeuron:
    """A neuron, the number of one relation's facts that hold it, and the sum of its scores in them (None: unscored)."""

    layer: int
    index: int
    facts: int
    score: float | None
    generic: bool


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run, its checkpoint's name, its facts, and its prompts by status; a status without prompts is left out."""

    run: AttributionRun
    checkpoint: str
    facts: int
    prompts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PromptOutcome:
    """What one prompt gave, with its fact and its relation's key."""

    relation: str
    fact: Fact
    prompt: Prompt
    attribution: PromptAttribution


@dataclass(frozen=True, slots=True)
class LabelCount:
    """A label, and how many facts and neurons have it."""

    label: str
    facts: int
    neurons: int

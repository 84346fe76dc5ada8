"""What the catalog's questions about neurons return: frozen, counted by SQL. `relation` is always a relation's key."""

from collections.abc import Mapping
from dataclasses import dataclass

from knedit.catalog.answers import NeuronUse
from knedit.records import Checkpoint, DegenerateSet, Fact, KnowledgeNeuron, Prompt, RefinedFact

LOW = 0.1  # of wordings that have as many neurons each, at most about one neuron in five is then common to two


@dataclass(frozen=True, slots=True)
class FactNeuron:
    """A neuron of a fact, with who else holds it.

    `others` are the refinement's other facts that hold it, `relations` the relations of all that do, `reading` what
    its value vector says (None: not read yet). `users` are some of the others, where they were asked for.
    """

    neuron: KnowledgeNeuron
    others: int
    relations: int
    labels: tuple[str, ...] = ()
    reading: Mapping[str, object] | None = None
    users: tuple[NeuronUse, ...] = ()


@dataclass(frozen=True, slots=True)
class SparseFact:
    """A fact of few neurons, and how its refinement went."""

    relation: str
    fact: Fact
    refined: RefinedFact


@dataclass(frozen=True, slots=True)
class LayerCount:
    """One layer's neurons: how often facts hold one, which part of all layers' that is, and how many there are."""

    layer: int
    uses: int
    share: float
    neurons: int


@dataclass(frozen=True, slots=True)
class RelationOverlap:
    """How many neurons two facts share on average, over all pairs; None where there is no pair.

    `within`: both are of the relation; `across`: one is, the other is of any other relation.
    """

    relation: str
    facts: int
    mean_neurons: float
    within: float | None
    across: float | None


@dataclass(frozen=True, slots=True)
class Overlap:
    """The same over all relations: all pairs of facts of one relation, all pairs of facts of two. None: no pair."""

    facts: int
    mean_neurons: float | None
    within: float | None
    across: float | None
    relations: tuple[RelationOverlap, ...]


@dataclass(frozen=True, slots=True)
class SharedNeurons:
    """How many neurons a fact of one relation and one of the other share on average, over all pairs."""

    relation: str
    other: str
    pairs: int
    mean_shared: float


@dataclass(frozen=True, slots=True)
class Consistency:
    """How far a fact's wordings agree on their coarse neurons: the mean Jaccard index of all pairs of its prompts.

    It is counted in whole billionths. Below LOW the neurons are those of wordings more than of the fact.
    """

    relation: str
    fact: Fact
    prompts: int
    mean_jaccard: float

    @property
    def low(self) -> bool:
        return self.mean_jaccard < LOW


@dataclass(frozen=True, slots=True)
class FactChange:
    """A fact's numbers of neurons in two refinements; None where a refinement has not the fact."""

    relation: str
    fact: Fact
    before: int | None
    after: int | None
    gained: int
    lost: int


@dataclass(frozen=True, slots=True)
class RefinementDifference:
    """How two refinements differ: facts that one of them lacks, that have equal neurons, and others.

    `mean_jaccard` is over the facts in both, two empty sets being equal; `changes` the largest of those that differ.
    """

    only_before: int
    only_after: int
    equal: int
    changed: int
    mean_jaccard: float | None
    changes: tuple[FactChange, ...]


@dataclass(frozen=True, slots=True)
class PromptChange:
    """What one prompt gave in two runs; None where a run has not the prompt, or no coarse neurons of it."""

    relation: str
    fact: Fact
    prompt: Prompt
    status_before: str | None
    status_after: str | None
    probability_before: float | None
    probability_after: float | None
    jaccard: float | None


@dataclass(frozen=True, slots=True)
class RunDifference:
    """How two runs differ: prompts that one of them lacks, prompts in both, and those that stand otherwise.

    The means are over the prompts in both, that of Jaccard indices over those with coarse neurons in both.
    """

    only_before: int
    only_after: int
    both: int
    other_status: int
    mean_probability_before: float | None
    mean_probability_after: float | None
    mean_jaccard: float | None
    changes: tuple[PromptChange, ...]


@dataclass(frozen=True, slots=True)
class CheckpointDifference:
    """The files by which two checkpoints differ, and their newest refinements compared (None: not both refined)."""

    before: Checkpoint
    after: Checkpoint
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    changed: tuple[str, ...]
    refinements: RefinementDifference | None


@dataclass(frozen=True, slots=True)
class NeuronSet:
    """A degenerate set with its neurons, as (layer, index) in this order."""

    set: DegenerateSet
    neurons: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class HeldSet:
    """A degenerate set and the fact that it upholds."""

    relation: str
    fact: Fact
    held: NeuronSet


@dataclass(frozen=True, slots=True)
class FoundFact:
    relation: str
    fact: Fact


@dataclass(frozen=True, slots=True)
class FoundPrompt:
    relation: str
    fact: Fact
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class ImpactedFact:
    """A fact that holds neurons which an edit changes: how many, of how many.

    `share` is their part of the sum of its neurons' scores, or, where these have no scores, of their number.
    """

    relation: str
    fact: Fact
    used: int
    neurons: int
    share: float


@dataclass(frozen=True, slots=True)
class Impact:
    """How many protected and other facts hold an edit's neurons, and the most concerned of them, protected first."""

    protected: int
    others: int
    facts: tuple[ImpactedFact, ...]

"""The nouns of knedit: frozen records whose fields are the catalog's columns.

An id is a fingerprint of what identifies the thing, so the same thing has the same id in every catalog and
process. Knows nothing of SQL, models or files.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

ROLES = ("attribute", "paraphrase", "neighbour", "generate", "implied")
STATUSES = ("proposed", "approved", "protected", "retired")
NEURON_ROLES = ("fact", "relation", "generic")
OPERATIONS = ("update", "erase", "erase-relation", "amplify")
BLANK = "{object}"

Config = Mapping[str, Any]


def fingerprint(*parts: object) -> int:
    """Return a 63-bit id from the sha256 of `parts` as canonical JSON (keys sorted, no spaces, UTF-8)."""
    return fingerprint_of(canonical(*parts))


def canonical(*parts: object) -> str:
    return json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def show_id(number: int) -> str:
    """Return an id as people see it: 16 hexadecimal digits, of which a unique beginning is enough to name it."""
    return f"{number:016x}"


@dataclass(frozen=True, slots=True)
class Relation:
    id: int
    key: str
    label: str

    @classmethod
    def make(cls, key: str, label: str = "") -> "Relation":
        return cls(fingerprint("relation", key), key, label or key)


@dataclass(frozen=True, slots=True)
class Fact:
    id: int
    relation_id: int
    subject: str
    object: str
    status: str = "proposed"

    @classmethod
    def make(cls, relation_id: int, subject: str, object: str, status: str = "proposed") -> "Fact":
        return cls(fingerprint("fact", relation_id, subject, object), relation_id, subject, object, status)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A wording of a fact. `text` holds the subject in words and, where an answer is due, one `{object}`."""

    id: int
    fact_id: int
    role: str
    text: str
    answer: str | None
    language: str = "en"
    status: str = "proposed"

    @classmethod
    def make(
        cls,
        fact_id: int,
        role: str,
        text: str,
        answer: str | None,
        *,
        language: str = "en",
        status: str = "proposed",
    ) -> "Prompt":
        return cls(
            fingerprint("prompt", fact_id, role, text, answer, language), fact_id, role, text, answer, language, status
        )


@dataclass(frozen=True, slots=True)
class FactSource:
    """Where a fact was told: a data set, and the fact's name in it; one fact may be told in many places."""

    fact_id: int
    dataset: str
    key: str


@dataclass(frozen=True, slots=True)
class RequestedRewrite:
    """The new object that a data set for testing edits asks a fact to be given."""

    fact_id: int
    dataset: str
    key: str
    new_object: str


@dataclass(frozen=True, slots=True)
class PublishedNeurons:
    """The neurons, as (layer, index), that others published for the fact that `dataset` knows by `key`.

    `method` is the publisher's word for how they were found, empty where there is but one way.
    """

    dataset: str
    key: str
    neurons: tuple[tuple[int, int], ...]
    method: str = ""


@dataclass(frozen=True, slots=True)
class PublishedScores:
    """The neurons' scores, as (layer, index, score), that others published for one prompt of a fact.

    `prompt` counts the fact's prompts from 0, in its relation's patterns' order; `method` is the publisher's word.
    """

    dataset: str
    key: str
    prompt: int
    method: str
    tokens: tuple[str, ...]
    answer: str
    scores: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One set of weights. `files` maps every file that decides the model's behaviour to its sha256.

    One that is known by name and revision alone, as others publish neurons of, has no files and an empty sha256; its
    layers and width are 0 where nobody told them.
    """

    id: int
    name: str
    revision: str
    sha256: str
    family: str
    n_layers: int
    ffn_width: int
    parent_id: int | None = None
    path: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def identify(cls, sha256: str) -> int:
        return fingerprint("checkpoint", sha256)

    @classmethod
    def named(cls, name: str, revision: str, *, n_layers: int = 0, ffn_width: int = 0) -> "Checkpoint":
        """Return a checkpoint that is known by name and revision alone."""
        own = fingerprint("checkpoint", name, revision)
        return cls(own, name, revision, sha256="", family="", n_layers=n_layers, ffn_width=ffn_width)


@dataclass(frozen=True, slots=True)
class AttributionRun:
    """One configuration of attribution on one checkpoint; facts join it over time, so it can be resumed."""

    id: int
    checkpoint_id: int
    config: Config
    version: str
    started_at: datetime
    finished_at: datetime | None = None

    @classmethod
    def identify(cls, checkpoint_id: int, config: Config) -> int:
        return fingerprint("run", checkpoint_id, dict(config))


@dataclass(frozen=True, slots=True)
class PromptAttribution:
    """What one prompt gave. `status` is "ok", "inexact" (the error misses the tolerance) or "unusable" (see `reason`).

    `completeness_error` is None where the method has none, or nothing was attributed.
    """

    run_id: int
    prompt_id: int
    probability: float
    completeness_error: float | None
    peak: float
    status: str = "ok"
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class NeuronScore:
    run_id: int
    prompt_id: int
    layer: int
    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Refinement:
    """One choice of thresholds over one run's stored scores."""

    id: int
    run_id: int
    config: Config
    created_at: datetime

    @classmethod
    def identify(cls, run_id: int, config: Config) -> int:
        return fingerprint("refinement", run_id, dict(config))


@dataclass(frozen=True, slots=True)
class RefinedFact:
    """How refinement went for one fact: prompts counted, the share that was asked of them, neurons kept (may be 0).

    The first two are None where the neurons were published without them.
    """

    refinement_id: int
    fact_id: int
    prompts: int | None
    share: float | None
    neurons: int


@dataclass(frozen=True, slots=True)
class KnowledgeNeuron:
    """A neuron that a fact's prompts agree on. `role` tells whether it is the fact's, its relation's or anyone's.

    `share` and `score` are None where the neuron was published without them.
    """

    refinement_id: int
    fact_id: int
    layer: int
    index: int
    share: float | None
    score: float | None
    role: str


@dataclass(frozen=True, slots=True)
class NeuronCount:
    """How many of a relation's facts hold a neuron in one role, and the sum of its scores in them (None: unscored).

    The catalog keeps these with the neurons, in the same transaction, so that hubs and overlaps need not count rows.
    """

    refinement_id: int
    layer: int
    index: int
    relation_id: int
    role: str
    facts: int
    score_sum: float | None


@dataclass(frozen=True, slots=True)
class RefinedRelation:
    """How many facts of a relation were refined, and how many neurons they hold; kept as NeuronCount is."""

    refinement_id: int
    relation_id: int
    facts: int
    neurons: int


@dataclass(frozen=True, slots=True)
class DegenerateSet:
    """Neurons of a fact that stand in for each other: any of them alone upholds it. `score` tells how far.

    Source: Chen et al., "Journey to the Center of the Knowledge Neurons", AAAI 2024 (degenerate knowledge neurons).
    """

    id: int
    refinement_id: int
    fact_id: int
    score: float

    @classmethod
    def identify(cls, refinement_id: int, fact_id: int, neurons: Iterable[tuple[int, int]]) -> int:
        return fingerprint("degenerate", refinement_id, fact_id, sorted(neurons))


@dataclass(frozen=True, slots=True)
class DegenerateNeuron:
    set_id: int
    layer: int
    index: int


@dataclass(frozen=True, slots=True)
class Edit:
    """A planned edit: which neurons of which checkpoint are to change, why, and how.

    `refinement_id` is None where no refinement was asked for neurons.
    """

    id: int
    refinement_id: int | None
    checkpoint_id: int
    result_id: int | None
    config: Config
    created_at: datetime

    @classmethod
    def identify(cls, checkpoint_id: int, refinement_id: int | None, config: Config, wishes: object) -> int:
        return fingerprint("edit", checkpoint_id, refinement_id, dict(config), wishes)


@dataclass(frozen=True, slots=True)
class EditTarget:
    """One fact of one step of an edit. Steps are carried out in their order; erasing a relation has many facts."""

    edit_id: int
    step: int
    fact_id: int
    operation: str
    new_object: str | None


@dataclass(frozen=True, slots=True)
class EditNeuron:
    """One value vector that a step changes, with its norm before the edit and after all of its steps."""

    edit_id: int
    step: int
    layer: int
    index: int
    norm: float
    new_norm: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One measure of one prompt on parent (before) and child (after): a number, or a text where it was generated."""

    edit_id: int
    checkpoint_id: int
    fact_id: int
    prompt_id: int
    metric: str
    before: float | None
    after: float | None
    text_before: str | None = None
    text_after: str | None = None


@dataclass(frozen=True, slots=True)
class CoarseCount:
    """In how many of a fact's attributed prompts a neuron reached the threshold, and the sum of its scores there."""

    fact_id: int
    relation_id: int
    layer: int
    index: int
    prompts: int
    score_sum: float


@dataclass(frozen=True, slots=True)
class AttributedFact:
    """A fact of a run and the number of its prompts that count, which may be 0."""

    fact_id: int
    relation_id: int
    prompts: int

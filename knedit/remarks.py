"""What people add to a catalog: changes of status, notes, labels, saved selections, readings of neurons.

All of it is told with who and when, and none of it alters a fact, a prompt or a score. Knows nothing of SQL.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from knedit.records import fingerprint


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One entry of the history of a fact's status, or of a prompt's where `prompt_id` is given."""

    id: int
    fact_id: int
    prompt_id: int | None
    before: str
    after: str
    reason: str
    changed_by: str
    changed_at: datetime

    @classmethod
    def make(
        cls,
        fact_id: int,
        before: str,
        after: str,
        *,
        changed_by: str,
        changed_at: datetime,
        prompt_id: int | None = None,
        reason: str = "",
    ) -> "StatusChange":
        own = fingerprint("status", fact_id, prompt_id, before, after, reason, changed_by, in_utc(changed_at))
        return cls(own, fact_id, prompt_id, before, after, reason, changed_by, changed_at)


@dataclass(frozen=True, slots=True)
class FactNote:
    id: int
    fact_id: int
    text: str
    written_by: str
    written_at: datetime

    @classmethod
    def make(cls, fact_id: int, text: str, *, written_by: str, written_at: datetime) -> "FactNote":
        own = fingerprint("fact note", fact_id, text, written_by, in_utc(written_at))
        return cls(own, fact_id, text, written_by, written_at)


@dataclass(frozen=True, slots=True)
class NeuronNote:
    id: int
    checkpoint_id: int
    layer: int
    index: int
    text: str
    written_by: str
    written_at: datetime

    @classmethod
    def make(
        cls, checkpoint_id: int, layer: int, index: int, text: str, *, written_by: str, written_at: datetime
    ) -> "NeuronNote":
        own = fingerprint("neuron note", checkpoint_id, layer, index, text, written_by, in_utc(written_at))
        return cls(own, checkpoint_id, layer, index, text, written_by, written_at)


@dataclass(frozen=True, slots=True)
class FactLabel:
    fact_id: int
    label: str
    given_by: str
    given_at: datetime


@dataclass(frozen=True, slots=True)
class NeuronLabel:
    checkpoint_id: int
    layer: int
    index: int
    label: str
    given_by: str
    given_at: datetime


@dataclass(frozen=True, slots=True)
class Selection:
    """Facts saved under a name: what is asked of them, or, where `frozen`, those that answered when it was saved."""

    name: str
    criteria: Mapping[str, Any]
    frozen: bool
    saved_by: str
    saved_at: datetime


@dataclass(frozen=True, slots=True)
class SelectedFact:
    """One fact of a frozen selection."""

    selection: str
    fact_id: int


@dataclass(frozen=True, slots=True)
class NeuronDescription:
    """What a neuron's value vector says through the output embedding.

    `reading` holds, under "top" and "bottom", lists of [token, logit], the most extreme first.
    """

    checkpoint_id: int
    layer: int
    index: int
    reading: Mapping[str, Any]
    read_at: datetime


def in_utc(when: datetime) -> str:
    """Return the moment as fingerprints tell it: in UTC, whatever its time zone."""
    return when.astimezone(UTC).isoformat()

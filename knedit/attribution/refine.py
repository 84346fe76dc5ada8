"""From coarse neurons of prompts to refined neurons of facts, and which of those are hubs.

Knows no scores and no SQL: it is handed counts, so refining again with other thresholds needs no model.
Source: Dai et al., ACL 2022, section 3.3 (threshold t, share p), and their code (2_get_kn.py: adjustment of p, at least
three prompts; 6_edit_knowledge_sampled.py: neurons in more than 10 % of a relation's facts are left out).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import floor
from typing import Any

from knedit.errors import KneditError
from knedit.records import AttributedFact, CoarseCount, KnowledgeNeuron, RefinedFact

_TRIES, _STEP, _FEWEST, _MOST = 6, 0.05, 2, 5
_LEAST_GENERIC_RELATIONS = 3


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What makes a neuron a fact's.

    `threshold`: a prompt's coarse neurons score at least this part of its maximum over all layers. `share` and
    `min_prompts`: a fact's neurons are coarse in at least that part and that number of its prompts. `adjust`: move
    `share` by 0.05 for each relation, at most five times, until its facts have 2 to 5 neurons on average.
    `hub_share`: a neuron that more than this part of a relation's facts hold is the relation's. `hub_relations`: one
    held in more than this part of the relations (and in at least three) is generic.
    """

    threshold: float = 0.2
    share: float = 0.7
    min_prompts: int = 3
    adjust: bool = False
    hub_share: float = 0.1
    hub_relations: float = 0.1

    def __post_init__(self) -> None:
        for name in ("threshold", "share", "hub_share", "hub_relations"):
            part = getattr(self, name)
            if not 0 < part <= 1:
                raise KneditError(f"{name} is {part}, not above 0 and at most 1", "refine", "Choose another part.")
        if self.min_prompts < 1:
            raise KneditError(f"min_prompts is {self.min_prompts}, not at least 1", "refine", "Choose another number.")

    def as_config(self) -> dict[str, Any]:
        return asdict(self)

    def generic_from(self, relations: int) -> int:
        """Return in how many of so many relations a neuron is generic."""
        return max(_LEAST_GENERIC_RELATIONS, floor(self.hub_relations * relations) + 1)


def refine(
    refinement_id: int, facts: Iterable[AttributedFact], counts: Iterable[CoarseCount], thresholds: Thresholds
) -> tuple[list[RefinedFact], list[KnowledgeNeuron]]:
    """Return every attributed fact with its number of neurons (it may be 0), and the neurons, hubs marked by role."""
    by_relation: dict[int, list[AttributedFact]] = defaultdict(list)
    for fact in facts:
        by_relation[fact.relation_id].append(fact)
    coarse: dict[int, list[CoarseCount]] = defaultdict(list)
    for count in counts:
        coarse[count.fact_id].append(count)
    kept: list[tuple[CoarseCount, AttributedFact]] = []
    refined: list[RefinedFact] = []
    for members in by_relation.values():
        share = _adjusted_share(members, coarse, thresholds) if thresholds.adjust else thresholds.share
        for fact in members:
            own = [c for c in coarse[fact.fact_id] if _is_shared(c, fact, share, thresholds.min_prompts)]
            kept += [(count, fact) for count in own]
            refined.append(RefinedFact(refinement_id, fact.fact_id, fact.prompts, share, len(own)))
    sizes = {relation: len(members) for relation, members in by_relation.items()}
    roles = _roles([count for count, _ in kept], sizes, thresholds)
    neurons = [
        KnowledgeNeuron(
            refinement_id,
            count.fact_id,
            count.layer,
            count.index,
            share=count.prompts / fact.prompts,
            score=count.score_sum / count.prompts,
            role=roles[count.relation_id, count.layer, count.index],
        )
        for count, fact in kept
    ]
    return refined, neurons


def _is_shared(count: CoarseCount, fact: AttributedFact, share: float, min_prompts: int) -> bool:
    return count.prompts >= max(fact.prompts * share - 1e-9, min_prompts)


def _adjusted_share(
    facts: Sequence[AttributedFact], coarse: Mapping[int, Sequence[CoarseCount]], thresholds: Thresholds
) -> float:
    """Return the share after at most five moves; as in the authors' code, the sixth look changes nothing any more.

    A move that would lead out of (0, 1] is not made: no neuron could be kept above 1.
    """
    share = thresholds.share
    for attempt in range(_TRIES):
        found = sum(_is_shared(c, fact, share, thresholds.min_prompts) for fact in facts for c in coarse[fact.fact_id])
        average = found / len(facts)
        if _FEWEST <= average <= _MOST or attempt == _TRIES - 1:
            break
        moved = round(share - _STEP if average < _FEWEST else share + _STEP, 10)
        if not 0 < moved <= 1:
            break
        share = moved
    return share


def _roles(
    kept: Sequence[CoarseCount], sizes: Mapping[int, int], thresholds: Thresholds
) -> dict[tuple[int, int, int], str]:
    """Return the role of each (relation, layer, index)."""
    facts = Counter((count.relation_id, count.layer, count.index) for count in kept)
    relations = Counter((layer, index) for _, layer, index in facts)
    generic = thresholds.generic_from(len(sizes))
    roles = {}
    for (relation, layer, index), number in facts.items():
        if relations[layer, index] >= generic:
            role = "generic"
        elif number > max(thresholds.hub_share * sizes[relation], 1):
            role = "relation"
        else:
            role = "fact"
        roles[relation, layer, index] = role
    return roles

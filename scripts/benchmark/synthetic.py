"""A made-up catalog of any size: facts of a hundred relations, and neurons that facts share as Zipf's law says.

The same seed makes the same records. Everything is yielded, so that nothing but the facts' ids is held. Knows no SQL.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

import numpy as np

from knedit.records import AttributionRun, Checkpoint, Fact, KnowledgeNeuron, RefinedFact, Refinement, Relation

LAYERS, WIDTH, RELATIONS = 12, 3072, 100
ZIPF = 0.8  # the commonest neuron is then in about a quarter of all facts, as among the published ones
CHUNK = 10_000  # facts that are drawn at a time
SPARE = 1.6  # draws for each neuron that is kept: those that come twice in a fact are thrown away
HUBS, SHARED = 20, 2_000  # the commonest places are generic, the next ones are relations'
CONFIG = {"synthetic": True}
WHEN = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """So many facts that hold so many neurons each."""

    facts: int
    per_fact: int
    seed: int = 1

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint.named("synthetic", f"seed {self.seed}", n_layers=LAYERS, ffn_width=WIDTH)

    @property
    def run(self) -> AttributionRun:
        own = self.checkpoint.id
        return AttributionRun(AttributionRun.identify(own, CONFIG), own, CONFIG, "synthetic", WHEN, WHEN)

    @property
    def refinement(self) -> Refinement:
        config = {**CONFIG, "facts": self.facts, "neurons": self.per_fact}
        return Refinement(Refinement.identify(self.run.id, config), self.run.id, config, WHEN)

    def relations(self) -> list[Relation]:
        return [Relation.make(f"R{number}", f"relation {number}") for number in range(RELATIONS)]

    def told(self) -> Iterator[Relation | Fact]:
        relations = self.relations()
        yield from relations
        for number in range(self.facts):
            relation = relations[number % RELATIONS].id
            yield Fact.make(relation, f"Subject {number}", f"object {number * 7919 % 5000}")

    def fact_ids(self) -> np.ndarray:
        """Return the facts' ids in the order in which they are told: 8 bytes each."""
        facts = (one.id for one in islice(self.told(), RELATIONS, None))
        return np.fromiter(facts, dtype=np.int64, count=self.facts)

    def refined(self, fact_ids: np.ndarray) -> Iterator[RefinedFact]:
        own, each = self.refinement.id, self.per_fact
        return (RefinedFact(own, fact_id, 8, 0.7, each) for fact_id in map(int, fact_ids))

    def neurons(self, fact_ids: np.ndarray) -> Iterator[KnowledgeNeuron]:
        """Yield every fact's neurons, fact after fact, in no order of their places."""
        drawn, own = Places(self.seed), self.refinement.id
        for first in range(0, self.facts, CHUNK):
            ids = fact_ids[first : first + CHUNK].tolist()
            scores = drawn.random.random((len(ids), self.per_fact)).tolist()
            for fact_id, ranks, of_fact in zip(ids, drawn.ranks(len(ids), self.per_fact), scores, strict=True):
                for rank, score in zip(ranks, of_fact, strict=True):
                    layer, index = drawn.places[rank]
                    yield KnowledgeNeuron(own, fact_id, layer, index, 0.75, score, _role(rank))


class Places:
    """Neurons in the order of how common they are, and draws from them."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        order = np.random.default_rng(0).permutation(LAYERS * WIDTH).tolist()
        self.places: list[tuple[int, int]] = [divmod(place, WIDTH) for place in order]
        weights = np.arange(1, LAYERS * WIDTH + 1) ** -ZIPF
        self._up_to = np.cumsum(weights / weights.sum())

    def ranks(self, facts: int, each: int) -> Iterator[list[int]]:
        """Yield `each` different ranks for every fact, the commonest place having rank 0."""
        rows = self._draw((facts, int(each * SPARE) + 2)).tolist()
        for row in rows:
            while len(found := list(dict.fromkeys(row))) < each:
                row.extend(self._draw(each).tolist())
            yield found[:each]

    def _draw(self, shape: int | tuple[int, int]) -> np.ndarray:
        places = np.searchsorted(self._up_to, self.random.random(shape))
        return np.minimum(places, LAYERS * WIDTH - 1)


def _role(rank: int) -> str:
    return "generic" if rank < HUBS else "relation" if rank < SHARED else "fact"

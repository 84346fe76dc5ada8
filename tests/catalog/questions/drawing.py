"""Small random worlds for the questions' tests, and what a question answers in a literal loop over them."""

from dataclasses import dataclass, field
from itertools import combinations
from random import Random

from knedit.catalog.store import Catalog
from knedit.records import (
    AttributionRun,
    Fact,
    KnowledgeNeuron,
    NeuronScore,
    Prompt,
    PromptAttribution,
    RefinedFact,
    Refinement,
    Relation,
)
from tests.catalog.making import MODEL, NOON, RUN

Places = set[tuple[int, int]]

OTHER_RUN = AttributionRun(AttributionRun.identify(MODEL.id, {"steps": 5}), MODEL.id, {"steps": 5}, "0.1.0", NOON)
ROLES = {0: "fact", 1: "relation", 2: "generic"}


@dataclass
class World:
    """Facts by id, each with its relation's key, and their neurons in a refinement."""

    facts: dict[int, Fact] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)
    prompts: dict[int, Prompt] = field(default_factory=dict)

    def words(self, fact_id: int) -> tuple[str, str, str]:
        fact = self.facts[fact_id]
        return self.keys[fact.relation_id], fact.subject, fact.object


def draw_facts(catalog: Catalog, *, relations: int = 3, facts: int = 12, prompts: int = 0) -> World:
    """Put facts of several relations into the catalog, with prompts, a checkpoint and two runs."""
    world = World()
    for number in range(relations):
        relation = Relation.make(f"r{number}")
        world.keys[relation.id] = relation.key
        for place in range(facts - 2 * number):
            fact = Fact.make(relation.id, f"subject {place}", f"object {place % 3}")
            world.facts[fact.id] = fact
            told = [Prompt.make(fact.id, "attribute", f"prompt {n} {{object}}", fact.object) for n in range(prompts)]
            world.prompts |= {prompt.id: prompt for prompt in told}
            catalog.import_facts([relation, fact, *told])
    catalog.add_checkpoint(MODEL)
    catalog.open_run(RUN)
    catalog.open_run(OTHER_RUN)
    return world


def draw_places(random: Random, most: int, *, layers: int = 3, width: int = 4) -> Places:
    chosen = random.randint(0, most)
    return set(random.sample([(layer, index) for layer in range(layers) for index in range(width)], chosen))


def put_places(catalog: Catalog, held: dict[int, Places], number: int = 1) -> Refinement:
    """Put a refinement in by the facts' places; a neuron's score is its index and one half, its role its layer's."""
    refinement = Refinement(number, RUN.id, {"threshold": 0.2, "number": number}, NOON)
    return catalog.put_refinement(
        refinement,
        [RefinedFact(number, fact, 3, 0.7, len(places)) for fact, places in held.items()],
        [
            KnowledgeNeuron(number, fact, *place, share=1.0, score=place[1] + 0.5, role=ROLES[place[0]])
            for fact, places in held.items()
            for place in places
        ],
    )


def put_scores(catalog: Catalog, run_id: int, coarse: dict[int, Places], *, probability: float = 0.5) -> None:
    """Put attributions of the prompts in: their places score 1 and 0.25, and two more places too little."""
    attributions = [PromptAttribution(run_id, prompt, probability, 0.0, 1.0) for prompt in coarse]
    scores = [
        NeuronScore(run_id, prompt, layer, index, 1.0 if place == 0 else 0.25)
        for prompt, places in coarse.items()
        for place, (layer, index) in enumerate(sorted(places))
    ]
    low = [NeuronScore(run_id, prompt, 9, index, 0.125) for prompt in coarse for index in range(2)]
    catalog.put_attributions(attributions, scores + low)


def jaccard(one: Places, other: Places) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


def mean(numbers: list[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None


def shared_by_pairs(world: World, held: dict[int, Places]) -> dict[tuple[str, str], list[float]]:
    """Return, for each two relations' keys, how many neurons each pair of their facts shares."""
    found: dict[tuple[str, str], list[float]] = {}
    for one, other in combinations(held, 2):
        first, second = sorted((world.words(one)[0], world.words(other)[0]))
        found.setdefault((first, second), []).append(float(len(held[one] & held[other])))
    return found

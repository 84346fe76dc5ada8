"""A small world of records for the catalog's tests: two relations, three facts, one checkpoint, one run."""

from datetime import UTC, datetime

from knedit.catalog.store import Catalog
from knedit.records import (
    AttributionRun,
    Checkpoint,
    Edit,
    Fact,
    KnowledgeNeuron,
    NeuronScore,
    Prompt,
    PromptAttribution,
    RefinedFact,
    Refinement,
    Relation,
)

MORNING = datetime(2024, 5, 17, 8, 30, 0, 250_000, tzinfo=UTC)
NOON = datetime(2024, 5, 17, 12, 0, tzinfo=UTC)
EVENING = datetime(2024, 5, 17, 20, 15, tzinfo=UTC)

CAPITAL = Relation.make("capital", "capital of a country")
CURRENCY = Relation.make("currency", "currency of a country")
PARIS = Fact.make(CAPITAL.id, "France", "Paris", "approved")
TOKYO = Fact.make(CAPITAL.id, "Japan", "Tokyo", "protected")
YEN = Fact.make(CURRENCY.id, "Japan", "yen")
PARIS_IS = Prompt.make(PARIS.id, "attribute", "The capital of France is {object}.", "Paris")
PARIS_SEAT = Prompt.make(PARIS.id, "attribute", "France is governed from {object}.", "Paris")
PARIS_PARA = Prompt.make(PARIS.id, "paraphrase", "La capitale de la France est {object}.", "Paris", language="fr")
PARIS_GENERATE = Prompt.make(PARIS.id, "generate", "In the capital of France", None)
TOKYO_IS = Prompt.make(TOKYO.id, "attribute", "The capital of Japan is {object}.", "Tokyo")
YEN_IS = Prompt.make(YEN.id, "attribute", "In Japan people pay in {object}.", "yen")
FACTS: list[Relation | Fact | Prompt] = [
    *(CAPITAL, PARIS, PARIS_IS, PARIS_SEAT, PARIS_PARA, PARIS_GENERATE, TOKYO, TOKYO_IS),
    *(CURRENCY, YEN, YEN_IS),
]


def checkpoint(name: str, *, sha256: str | None = None, parent: Checkpoint | None = None, path: str = "") -> Checkpoint:
    digest = sha256 or f"{len(name):02x}" * 32
    return Checkpoint(
        Checkpoint.identify(digest),
        name,
        revision="main",
        sha256=digest,
        family="gpt2",
        n_layers=2,
        ffn_width=16,
        parent_id=parent.id if parent else None,
        path=path,
        files={"model.safetensors": digest, "config.json": "ab" * 32},
    )


MODEL = checkpoint("tiny")
CONFIG = {"steps": 20, "rule": "riemann", "floor": 0.05, "roles": ["attribute"], "device": None, "exact": True}
RUN = AttributionRun(AttributionRun.identify(MODEL.id, CONFIG), MODEL.id, CONFIG, "0.1.0", MORNING)
REFINED = {"threshold": 0.2, "share": 0.7}
REFINEMENT = Refinement(Refinement.identify(RUN.id, REFINED), RUN.id, REFINED, NOON)
EDIT_CONFIG = {"solver": "swap", "scale": 1.0}
EDIT = Edit(
    Edit.identify(MODEL.id, REFINEMENT.id, EDIT_CONFIG, [["update", PARIS.id, "Rome"]]),
    REFINEMENT.id,
    MODEL.id,
    None,
    EDIT_CONFIG,
    EVENING,
)


def attribution(prompt: Prompt, peak: float = 1.0, status: str = "ok") -> PromptAttribution:
    return PromptAttribution(RUN.id, prompt.id, 0.25, 0.0078125, peak, status)


def score(prompt: Prompt, layer: int, index: int, value: float) -> NeuronScore:
    return NeuronScore(RUN.id, prompt.id, layer, index, value)


def neuron(fact: Fact, layer: int, index: int, value: float, role: str = "fact") -> KnowledgeNeuron:
    return KnowledgeNeuron(REFINEMENT.id, fact.id, layer, index, 0.75, value, role)


def refined(fact: Fact, neurons: int) -> RefinedFact:
    return RefinedFact(REFINEMENT.id, fact.id, 3, 0.7, neurons)


NEURONS = [
    neuron(PARIS, 0, 3, 0.5),
    neuron(PARIS, 1, 7, 2.0, "relation"),
    neuron(PARIS, 1, 9, 1.0, "generic"),
    neuron(TOKYO, 1, 7, 1.5, "relation"),
    neuron(TOKYO, 1, 9, 1.0, "generic"),
    neuron(YEN, 1, 9, 0.25, "generic"),
]


def fill_facts(catalog: Catalog) -> None:
    catalog.import_facts(FACTS)


def fill_run(catalog: Catalog) -> None:
    fill_facts(catalog)
    catalog.add_checkpoint(MODEL)
    catalog.open_run(RUN)


def fill_refinement(catalog: Catalog) -> None:
    fill_run(catalog)
    catalog.put_refinement(REFINEMENT, [refined(PARIS, 3), refined(TOKYO, 2), refined(YEN, 1)], NEURONS)


def fill_edit(catalog: Catalog) -> None:
    fill_refinement(catalog)
    catalog.put_edit(EDIT, [], [])

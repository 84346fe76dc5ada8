"""An edit as a delta, put into effect, taken back and compared, with files and catalog as a user has them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from knedit.catalog.store import Catalog
from knedit.checkpoints.delta import read_delta
from knedit.checkpoints.fingerprint import weights_sha256
from knedit.checkpoints.verify import verify_folder
from knedit.errors import CatalogError, CheckpointError
from knedit.flows.checkpoint import add_checkpoint, down_tensors, load_checkpoint
from knedit.flows.choices import Choices
from knedit.flows.delta import apply_delta, create_delta, revert_checkpoint
from knedit.flows.difference import compare_checkpoints
from knedit.flows.edit import Planned, apply_edit, read_edit
from knedit.flows.goals import Wishes
from knedit.flows.plan import plan_edit
from knedit.flows.verify import verify_checkpoint
from knedit.models.loading import layout_of
from knedit.records import show_id
from tests.flows.making import attributed, open_catalog, save_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
CHOICES = Choices("embedding", "zero", roles=("fact", "relation", "generic"), relation_neurons=5)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with open_catalog(tmp_path) as opened:
        yield opened


def planned_on(catalog: Catalog, path: Path, update: str = "capital/France=Rome") -> Planned:
    checkpoint, model = attributed(catalog, path)
    return read_edit(catalog, plan_edit(catalog, checkpoint, lambda _: model, Wishes(updates=[update]), CHOICES))


def neurons(planned: Planned) -> set[tuple[int, int]]:
    return {neuron for step in planned.steps for neuron in step.neurons}


@pytest.mark.parametrize("name", ["gpt2", "mixtral"])
def test_a_delta_is_the_same_whether_or_not_the_edit_was_applied(catalog: Catalog, tmp_path: Path, name: str) -> None:
    base = save_model(name, tmp_path / "base")
    planned = planned_on(catalog, base)
    edit = show_id(planned.edit.id)
    (early,) = create_delta(catalog, edit, tmp_path / "early.safetensors")
    child = apply_edit(catalog, planned, load_checkpoint(planned.checkpoint), tmp_path / "edited")
    late, back = create_delta(catalog, edit, tmp_path / "late.safetensors", with_revert=True)
    (of_folder,) = create_delta(catalog, str(tmp_path / "edited"), tmp_path / "folder.safetensors")
    one, two, three = (read_delta(written.path) for written in (early, late, of_folder))
    assert replace(one.manifest, created=two.manifest.created) == two.manifest == three.manifest
    assert [bits.tolist() for bits in one.bits] == [bits.tolist() for bits in two.bits]
    assert early.value_vectors == late.value_vectors == len(neurons(planned))
    assert (late.kind, back.kind, back.path.name) == ("edit", "revert", "late.revert.safetensors")

    applied = apply_delta(catalog, "base", [late.path], tmp_path / "applied")
    assert weights_sha256(applied) == child.sha256
    assert verify_folder(applied, base).problems == ()
    for old in (
        revert_checkpoint(catalog, "edited", tmp_path / "by-parent"),
        revert_checkpoint(catalog, str(tmp_path / "applied"), tmp_path / "by-delta", delta=back.path),
    ):
        assert weights_sha256(old) == planned.checkpoint.sha256
        assert add_checkpoint(catalog, old, name="base").id == planned.checkpoint.id


def test_experts_stored_in_one_stack_are_edited_and_compared_as_those_stored_apart(
    catalog: Catalog, tmp_path: Path
) -> None:
    apart = save_model("mixtral", tmp_path / "apart")
    stack = save_model("mixtral", tmp_path / "stack", save_original_format=False)
    layout = layout_of(stack)
    assert {one.member for one in down_tensors(stack, layout).values()} == set(range(layout.n_experts))
    assert {one.member for one in down_tensors(apart, layout).values()} == {None}
    found = []
    for base in (apart, stack):
        planned = planned_on(catalog, base)
        edited = tmp_path / f"{base.name}-edited"
        apply_edit(catalog, planned, load_checkpoint(planned.checkpoint), edited)
        difference = compare_checkpoints(catalog, str(base), str(edited))
        assert {(one.layer, one.index) for one in difference.neurons} == neurons(planned)
        found.append([(one.layer, one.index, one.relative) for one in difference.neurons])
    assert found[0] == found[1]


def test_a_difference_names_neurons_sizes_facts_and_other_files(catalog: Catalog, tmp_path: Path) -> None:
    base = save_model("gpt2", tmp_path / "base")
    planned = planned_on(catalog, base)
    apply_edit(catalog, planned, load_checkpoint(planned.checkpoint), tmp_path / "edited")
    found = compare_checkpoints(catalog, "base", "edited")
    assert {(one.layer, one.index) for one in found.neurons} == neurons(planned)
    assert all("capital/France" in one.facts for one in found.neurons)
    old_norms = {(n.layer, n.index): (n.norm, n.new_norm) for n in catalog.edit_neurons(planned.edit.id)}
    for one in found.neurons:
        old, new = old_norms[one.layer, one.index]
        assert one.relative is not None
        assert abs(new - old) / old <= one.relative * (1 + 1e-6) <= (old + new) / old * (1 + 1e-5)
    assert (found.others, found.difference.only_first) == ({}, ())
    assert found.difference.only_second == ("SHA256SUMS", "knedit.json")
    same = compare_checkpoints(catalog, str(base), "base")
    assert (same.neurons, same.difference.changed, same.difference.files) == ((), (), ())


def test_what_cannot_be_made_or_taken_back_is_told(catalog: Catalog, tmp_path: Path) -> None:
    base = save_model("gpt2", tmp_path / "base")
    planned = planned_on(catalog, base)
    apply_edit(catalog, planned, load_checkpoint(planned.checkpoint), tmp_path / "edited", link=True)
    with pytest.raises(CatalogError, match='There is no edit, checkpoint or folder "nowhere"'):
        create_delta(catalog, "nowhere", tmp_path / "d.safetensors")
    with pytest.raises(CheckpointError, match=r"no knedit\.json"):
        create_delta(catalog, str(base), tmp_path / "d.safetensors")
    with Catalog(str(tmp_path / "empty.db")) as empty:
        with pytest.raises(CheckpointError, match="does not know"):
            create_delta(empty, str(tmp_path / "edited"), tmp_path / "d.safetensors", with_revert=True)
        with pytest.raises(CheckpointError, match="does not know the checkpoint's parent"):
            revert_checkpoint(empty, str(tmp_path / "edited"), tmp_path / "old")
    assert not list(tmp_path.glob("*.safetensors"))
    assert not (tmp_path / "old").exists()


def test_verifying_loads_the_model_when_asked(catalog: Catalog, tmp_path: Path) -> None:
    base = save_model("gpt2", tmp_path / "base")
    assert verify_checkpoint(catalog, base, load=True).ok
    (base / "config.json").write_text('{"model_type": "gpt2", "n_layer": 9, "n_embd": 32}')
    assert verify_checkpoint(catalog, base).ok
    (problem,) = verify_checkpoint(catalog, base, load=True).problems
    assert "lack" in problem or "cannot load" in problem

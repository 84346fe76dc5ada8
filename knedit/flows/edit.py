"""Carry out a planned edit: try it in memory, or write it as a patched checkpoint and register that as a child."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from knedit.catalog.store import Catalog
from knedit.checkpoints.manifest import Manifest
from knedit.checkpoints.patch import Finish, TensorPatch, write_patched
from knedit.checkpoints.verify import verify_folder
from knedit.editing.apply import edited
from knedit.editing.solve import ValueChange, solve
from knedit.editing.steps import Neuron, Step
from knedit.errors import CatalogError, CheckpointError, EditError
from knedit.evaluation.measure import Measure, Probe, measure
from knedit.flows.checkpoint import add_checkpoint, checked_folder, down_tensors
from knedit.flows.choices import solvers_of, weights_of
from knedit.flows.edit_manifest import edit_manifest
from knedit.flows.gates import WrittenGates, growth_of, make_exam
from knedit.flows.goals import check_editable
from knedit.flows.plan_neurons import check_origin
from knedit.flows.stacking import earlier_edits
from knedit.models.loading import load_model
from knedit.models.model import Model
from knedit.records import Checkpoint, Edit, EditTarget, Fact, show_id
from knedit.solved import EditGate, EditOutcome, EditValue


@dataclass(frozen=True, slots=True)
class Planned:
    """An edit as the catalog has it, with everything that its steps name."""

    edit: Edit
    checkpoint: Checkpoint
    targets: tuple[EditTarget, ...]
    facts: dict[int, Fact]
    relations: dict[int, str]
    steps: tuple[Step, ...]
    values: tuple[EditValue, ...] = ()
    outcomes: tuple[EditOutcome, ...] = ()
    gates: tuple[EditGate, ...] = ()


def read_edit(catalog: Catalog, edit: Edit) -> Planned:
    """Gather a stored edit; raise EditError if its neurons were found in another checkpoint than it edits."""
    (checkpoint,) = (one for one in catalog.checkpoints() if one.id == edit.checkpoint_id)
    if edit.refinement_id is not None:
        (refinement,) = (one for one in catalog.refinements() if one.id == edit.refinement_id)
        check_origin(catalog, checkpoint, refinement)
    targets = tuple(catalog.edit_targets(edit.id))
    facts = {fact.id: fact for fact in catalog.facts()}
    relations = {relation.id: relation.key for relation in catalog.relations()}
    neurons: dict[int, list[Neuron]] = defaultdict(list)
    for neuron in catalog.edit_neurons(edit.id):
        neurons[neuron.step].append((neuron.layer, neuron.index))
    by_step: dict[int, list[EditTarget]] = defaultdict(list)
    for target in targets:
        by_step[target.step].append(target)
    steps = tuple(
        _step(members, [facts[one.fact_id] for one in members], relations, neurons[number])
        for number, members in sorted(by_step.items())
    )
    return Planned(
        edit,
        checkpoint,
        targets,
        facts,
        relations,
        steps,
        tuple(catalog.edit_values(edit.id)),
        tuple(catalog.edit_outcomes(edit.id)),
        tuple(catalog.edit_gates(edit.id)),
    )


def _step(
    targets: Sequence[EditTarget], facts: Sequence[Fact], relations: dict[int, str], neurons: Sequence[Neuron]
) -> Step:
    key = relations[facts[0].relation_id]
    if targets[0].operation == "erase-relation":
        return Step("erase-relation", key, tuple(neurons))
    fact = facts[0]
    return Step(targets[0].operation, f"{key}/{fact.subject}", tuple(neurons), fact.object, targets[0].new_object)


def solve_edit(planned: Planned, model: Model) -> list[ValueChange]:
    """Return the changes of a stored edit: as they were solved, or, where that was not kept, solved now.

    The model is left untouched. Raises EditError if a fact that it changes was protected or retired since it was
    planned.
    """
    for target in planned.targets:
        check_editable(planned.facts[target.fact_id], f"edit {show_id(planned.edit.id)}")
    if planned.values:
        return stored_changes(model, planned.values)
    config = planned.edit.config
    return solve(model, planned.steps, solvers_of(config), weights_of(config))


def stored_changes(model: Model, values: Sequence[EditValue]) -> list[ValueChange]:
    """Return kept value vectors as changes of a model, one a layer, layers and indices ascending."""
    from torch import from_numpy

    layers: dict[int, list[EditValue]] = defaultdict(list)
    for value in values:
        layers[value.layer].append(value)
    changes = []
    for layer, own in sorted(layers.items()):
        indices = tuple(value.index for value in own)
        new = from_numpy(np.stack([np.frombuffer(value.vector, "<f8") for value in own]))
        changes.append(ValueChange.of(model, layer, indices, new))
    return changes


def try_edit(planned: Planned, model: Model, probes: Sequence[Probe]) -> tuple[list[Measure], list[Measure]]:
    """Measure the model before and with the edit in memory; afterwards the network is bit for bit as it was."""
    changes = solve_edit(planned, model)
    before = measure(model, probes)
    with edited(model, changes):
        after = measure(model, probes)
    return before, after


Look = Callable[[Model], Mapping[str, Any]]
GetPapers = Callable[[Mapping[str, Any], Manifest, Sequence[TensorPatch]], Mapping[str, str | bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What goes along with an edit's weights.

    `looks` are given the written model, once it is loaded from its files, and return what knedit.json tells of it.
    `thresholds` of gates come in place of the plan's, whose gates the catalog then leaves as they are. With `private`,
    erasures are told by their number alone. `papers` returns further files, of what the manifest was given, what became
    of it, and the patches. `finish` is given the folder when it is verified, before it appears, `registered` the
    checkpoint in the catalog. When one of them raises, there is no folder.
    """

    looks: Sequence[Look] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    private: bool = False
    papers: GetPapers | None = None
    finish: Finish | None = None
    registered: Callable[[Checkpoint], None] | None = None


def apply_edit(
    catalog: Catalog,
    planned: Planned,
    model: Model,
    output: Path,
    *,
    name: str | None = None,
    link: bool = False,
    force: bool = False,
    release: Release | None = None,
) -> Checkpoint:
    """Write the edited checkpoint to a new folder, verify it byte by byte, and register it as a child of its parent.

    With `link`, shards that the edit leaves alone become hard links to the parent's. The written weights are put
    through the plan's gates, which `force` keeps from refusing them, and through what `release` asks for.

    Raises CheckpointError where the folder exists or cannot be written, CatalogError where the name is taken, EditError
    where a gate is not passed; then there is no folder, and the parent and the catalog are as they were.
    """
    release = release or Release()
    check_name(catalog, planned, name or output.name)
    parent = checked_folder(planned.checkpoint)
    changes = solve_edit(planned, model)
    gates = _written_gates(catalog, planned, model, changes, release.thresholds, force=force)
    looks: list[Look] = [*([gates] if gates else []), *release.looks]
    patches = patches_of(parent, model, changes)
    manifest = edit_manifest(planned, private=release.private)
    write_patched(
        parent,
        output,
        patches,
        manifest=manifest,
        link=link,
        known=planned.checkpoint.files,  # as they were found a moment ago
        judge=partial(_asked, looks) if looks else None,
        papers=(lambda record: release.papers(manifest, record, patches)) if release.papers else None,
        finish=partial(_finished, parent, release.finish),
    )
    try:
        child = add_checkpoint(catalog, output, name=name or output.name)
        catalog.set_edit_result(planned.edit.id, child.id)
        catalog.put_edit_gates(gates.found if gates and not release.thresholds else [])
        if release.registered:
            release.registered(child)
    except BaseException:
        shutil.rmtree(output)
        raise
    return child


def _asked(looks: Sequence[Look], folder: Path) -> Mapping[str, Any]:
    model = load_model(folder)
    told: dict[str, Any] = {}
    for look in looks:
        told |= look(model)
    return told


def _finished(parent: Path, further: Finish | None, folder: Path) -> None:
    report = verify_folder(folder, parent)
    if not report.ok:
        raise CheckpointError(
            f"the written checkpoint did not verify and was removed: {'; '.join(report.problems)}",
            str(folder),
            "The disk may be failing, or another program wrote into the folder.",
        )
    if further:
        further(folder)


def _written_gates(
    catalog: Catalog,
    planned: Planned,
    model: Model,
    changes: Sequence[ValueChange],
    thresholds: Mapping[str, float],
    *,
    force: bool,
) -> WrittenGates | None:
    """Return what puts the written weights through gates, those of the plan too, or None where there are none."""
    thresholds = {**{gate.gate: gate.threshold for gate in planned.gates}, **thresholds}
    if not thresholds:
        return None
    exam = make_exam(catalog, model, planned.targets, earlier_edits(catalog, planned.checkpoint), thresholds)
    growth = growth_of(model, changes)
    forced = force or bool(planned.edit.config.get("gates", {}).get("forced", False))
    return WrittenGates(exam, exam.look(model), growth, forced, planned.edit.id, [])


def check_name(catalog: Catalog, planned: Planned, name: str) -> None:
    """Raise CatalogError before anything is written if another checkpoint than the edit's own result has the name."""
    for checkpoint in catalog.checkpoints():
        if checkpoint.name == name and checkpoint.id != planned.edit.result_id:
            raise CatalogError(
                f"the name {name} is taken by checkpoint {show_id(checkpoint.id)}",
                catalog.address,
                "Choose another with --name.",
            )


def edit_patches(planned: Planned, model: Model) -> list[TensorPatch]:
    """Return the solved edit as patches of the tensors that the checkpoint's files have."""
    return patches_of(Path(planned.checkpoint.path), model, solve_edit(planned, model))


def patches_of(folder: Path, model: Model, changes: Sequence[ValueChange]) -> list[TensorPatch]:
    """Return the changes by stored tensor: a layer's, or each of its experts'."""
    stored, layout = down_tensors(folder, model.layout), model.layout
    patches = []
    for change in changes:
        rows: dict[int, list[int]] = defaultdict(list)
        for row, index in enumerate(change.indices):
            rows[index // layout.expert_width].append(row)
        patches += [
            TensorPatch(
                stored[change.layer, expert].tensor,
                layout.family.neuron_axis,
                tuple(change.indices[row] % layout.expert_width for row in own),
                change.new[own].numpy(),
                stored[change.layer, expert].member,
            )
            for expert, own in rows.items()
        ]
    return patches


def find_result(catalog: Catalog, edit: Edit) -> Checkpoint:
    """Return the checkpoint that an edit was written to; raise EditError if it was not applied yet."""
    for checkpoint in catalog.checkpoints():
        if checkpoint.id == edit.result_id:
            return checkpoint
    raise EditError(
        "the edit was not applied yet, so there are no files to score",
        f"edit {show_id(edit.id)}",
        f"Run: knedit edit apply {show_id(edit.id)} --output FOLDER",
    )

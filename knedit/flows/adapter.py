"""An edit as a LoRA adapter for PEFT: taken from an edit or an edited checkpoint, written with a note of its error."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from knedit.catalog.store import Catalog
from knedit.checkpoints.adapter import AdaptedModule, Added, adapter_config, factors_of, write_adapter
from knedit.checkpoints.delta import Delta
from knedit.checkpoints.dtypes import widen
from knedit.checkpoints.manifest import ChangedTensor, Manifest
from knedit.checkpoints.staging import refuse_existing
from knedit.errors import CheckpointError
from knedit.flows.checkpoint import down_tensors
from knedit.flows.delta import find_deltas
from knedit.models.layout import Layout
from knedit.models.loading import layout_of

TASKS = {(False, False): "CAUSAL_LM", (False, True): "SEQ_2_SEQ_LM"}  # masked, encoder and decoder


@dataclass(frozen=True, slots=True)
class WrittenModule:
    """One adapted module: how many value vectors change in it, and what the adapter makes of that.

    `error` is relative to what is added, in the Frobenius norm; `largest` is the largest error of one weight.
    """

    module: str
    columns: int
    rank: int
    error: float
    largest: float


def export_adapter(
    catalog: Catalog, reference: str, output: Path, *, rank: int | None = None, base: str | None = None
) -> list[WrittenModule]:
    """Write an edit, or what an edited checkpoint's folder differs from its parent in, as the new folder `output`.

    With `rank` no weight's matrices are larger; else they are exact. `base` is what the adapter calls the model that it
    is for. Raises CatalogError, EditError or CheckpointError.
    """
    refuse_existing(output)
    folder, (there, back) = find_deltas(catalog, reference, with_revert=True)
    layout, manifest = layout_of(folder), there.manifest
    factors = factors_of(_modules(folder, layout, there, back), rank)
    name = base or manifest.parent.name
    own = {
        "base_model_name_or_path": name,
        "revision": manifest.parent.revision,
        "task_type": TASKS.get((layout.family.masked, layout.family.encoder_decoder)),
        "fan_in_fan_out": layout.family.neuron_axis == 0,
    }
    written = [
        WrittenModule(one.module.target, one.module.columns, one.rank, one.error, one.largest) for one in factors
    ]
    write_adapter(output, factors, adapter_config(factors, **own), _card(name, manifest, written))
    return written


def _modules(folder: Path, layout: Layout, there: Delta, back: Delta) -> list[AdaptedModule]:
    """Return what is added to each module's weight, in the order of layers."""
    places = {(one.tensor, one.member): key for key, one in down_tensors(folder, layout).items()}
    added: dict[int, dict[int, Added]] = defaultdict(dict)
    for change, dtype, new, old in zip(there.manifest.changed, there.dtypes, there.bits, back.bits, strict=True):
        layer, expert = _place(folder, places, change)
        vectors = widen(np.asarray(new), dtype).astype(np.float64) - widen(np.asarray(old), dtype)
        added[layer][expert] = Added(change.indices, vectors)
    family = layout.family
    return [
        AdaptedModule(
            f"{family.blocks}.{layout.block_of(layer)}.{family.down}",
            layout.expert_width,
            added[layer],
            layout.n_experts,
            family.weight,
        )
        for layer in sorted(added)
    ]


def _place(
    folder: Path, places: dict[tuple[str, int | None], tuple[int, int]], change: ChangedTensor
) -> tuple[int, int]:
    found = places.get((change.tensor, change.member))
    if found is None or change.span:
        cure = "Ship it as a delta: knedit delta create."
        raise CheckpointError(f"What was changed in {change.tensor} is no down projection", str(folder), cure)
    return found


def _card(base: str, manifest: Manifest, written: Sequence[WrittenModule]) -> str:
    """Return the README.md that lies beside the adapter."""
    head = ["library_name: peft", "tags: [lora, knedit]", *([f"base_model: {base}"] if "/" in base else [])]
    edit = manifest.edit.get("id")
    rows = [f"| `{one.module}` | {one.columns} | {one.rank} | {one.error:.2g} | {one.largest:.2g} |" for one in written]
    return "\n".join(
        [
            *("---", *head, "---", "", f"# An edit of {base} as a LoRA adapter", ""),
            f"Made by knedit {manifest.knedit}{f' of the edit {edit}' if edit else ''}. It is for the weights with the",
            f"sha256 `{manifest.parent.sha256}` and gives those of",
            f"`{manifest.sha256}`, but for the error below and for rounding when it is added.",
            "",
            "| module | value vectors | rank | relative error | largest error of a weight |",
            *("|---|---|---|---|---|", *rows, ""),
            "`PeftModel.from_pretrained(base, FOLDER)` puts it on a base model that is loaded; `merge_and_unload()`",
            "adds it to the weights. The base still knows what the edit took out, and so does whoever takes the",
            "adapter off: an erasure is shipped as a patched checkpoint.",
            "",
        ]
    )

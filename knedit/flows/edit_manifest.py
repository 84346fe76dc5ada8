"""What `knedit.json` tells of an edit, and what of it stays untold where erasures are private.

Knows nothing of files and networks.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING, Any

from knedit.flows.gates import gate_table
from knedit.records import show_id

if TYPE_CHECKING:
    from knedit.flows.edit import Planned

LIBRARIES = ("numpy", "torch", "transformers")
ERASING = ("erase", "erase-relation")


def provenance() -> dict[str, Any]:
    """Return what a manifest tells of where and when it was written."""
    return {
        "knedit": version("knedit"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": python_version(), **{name: version(name) for name in LIBRARIES}},
    }


def edit_manifest(planned: "Planned", *, private: bool = False) -> dict[str, Any]:
    """Return what `knedit.json` tells of an edit: when and by what it was made, of which parent, and its steps.

    With `private`, of erasures just their number; and then the edit's id, on which guesses could be tried, is left out.
    """
    checkpoint, edit = planned.checkpoint, planned.edit
    hidden = private and erased_facts(planned) > 0
    told = {} if hidden else {"id": show_id(edit.id)}
    return {
        **provenance(),
        "parent": {"name": checkpoint.name, "sha256": checkpoint.sha256, "revision": checkpoint.revision or None},
        "edit": {
            **told,
            "config": _private_config(edit.config) if hidden else dict(edit.config),
            "steps": _told_steps(planned, hidden=hidden),
            **({"gates": [gate_table(gate) for gate in planned.gates]} if planned.gates else {}),
        },
    }


def erased_facts(planned: "Planned") -> int:
    """Return how many facts an edit erases."""
    return sum(target.operation in ERASING for target in planned.targets)


def _told_steps(planned: "Planned", *, hidden: bool) -> list[dict[str, Any]]:
    counts = Counter(target.step for target in planned.targets)
    numbers = sorted(counts)
    told: list[dict[str, Any]] = [
        {
            "operation": step.operation,
            "target": step.target,
            "new": step.new,
            "facts": counts[number],
            "neurons": len(step.neurons),
        }
        for number, step in zip(numbers, planned.steps, strict=True)
    ]
    if not hidden:
        return told
    erased = [one for one in told if one["operation"] in ERASING]
    sums = {name: sum(one[name] for one in erased) for name in ("facts", "neurons")}
    return [*(one for one in told if one not in erased), {"operation": "erase", **sums}]


def _private_config(config: Mapping[str, Any]) -> dict[str, Any]:
    left_out = {"left_out": len(config["left_out"])} if "left_out" in config else {}
    return {**config, **left_out}

"""What earlier edits put into a checkpoint: which facts its weights were made to hold or to forget.

An edit is known by the catalog that planned it; weights whose edit is not there are taken as their parent's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from knedit.catalog.store import Catalog
from knedit.records import Checkpoint, EditTarget


@dataclass(frozen=True, slots=True)
class Earlier:
    """The last target of each fact that a checkpoint's weights were edited for, and all value vectors changed so."""

    targets: Mapping[int, EditTarget]
    neurons: frozenset[tuple[int, int]] = frozenset()

    def present(self, fact_id: int, object_: str) -> str | None:
        """Return what the model should say of a fact: the catalog's object, a newer one, or None where it forgot."""
        target = self.targets.get(fact_id)
        return object_ if target is None or target.operation == "amplify" else target.new_object


NOTHING = Earlier({})


def earlier_edits(catalog: Catalog, checkpoint: Checkpoint) -> Earlier:
    """Return what the edits that led to a checkpoint did, the last word on each fact."""
    results = {edit.result_id: edit for edit in catalog.edits() if edit.result_id is not None}
    parents = {one.id: one.parent_id for one in catalog.checkpoints()}
    targets: dict[int, EditTarget] = {}
    neurons: set[tuple[int, int]] = set()
    here: int | None = checkpoint.id
    passed: set[int] = set()
    while here is not None and here not in passed:
        passed.add(here)
        edit = results.get(here)
        if edit is not None:
            for target in catalog.edit_targets(edit.id):
                targets.setdefault(target.fact_id, target)
            neurons |= {(one.layer, one.index) for one in catalog.edit_neurons(edit.id)}
        here = parents.get(here) if edit is None else edit.checkpoint_id
    return Earlier(targets, frozenset(neurons))

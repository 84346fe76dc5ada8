"""What becomes of one thing that two catalogs tell differently: whose word stands, or that it is a conflict.

Knows nothing of SQL: two rows come in as mappings from column to value, and what is to be kept goes out.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from knedit.remarks import StatusChange

UNSETTLED = object()

Told = Mapping[str, Any]
Settle = Callable[[str, Told, Told], Any]


def ours(field: str, here: Told, _there: Told) -> Any:
    """Keep what is here: when a thing was made or saved is not what it is."""
    return here[field]


def filled(field: str, here: Told, there: Told) -> Any:
    """Take what is there where nothing is told here; nothing there is no contradiction."""
    if not there[field]:
        return here[field]
    return UNSETTLED if here[field] else there[field]


def earliest(field: str, here: Told, there: Told) -> Any:
    return min(here[field], there[field])


def latest(field: str, here: Told, there: Told) -> Any:
    """Take the later moment; a side that has none has not seen the end."""
    return max(moment for moment in (here[field], there[field]) if moment is not None)


def better_label(field: str, here: Told, there: Told) -> Any:
    """Take a label in words where the other side has only the key for a label."""
    if there[field] == there["key"]:
        return here[field]
    return there[field] if here[field] == here["key"] else UNSETTLED


SETTLED: dict[tuple[str, str], Settle] = {
    ("relations", "label"): better_label,
    **{
        ("checkpoints", field): filled
        for field in ("revision", "family", "n_layers", "ffn_width", "parent_id", "path", "files")
    },
    ("attribution_runs", "started_at"): earliest,
    ("attribution_runs", "finished_at"): latest,
    ("refinements", "created_at"): ours,
    ("edits", "result_id"): filled,
    ("edits", "created_at"): ours,
    ("experiments", "started_at"): earliest,
    ("experiments", "finished_at"): latest,
    ("experiment_parts", "seconds"): ours,
    ("experiment_parts", "finished_at"): ours,
    ("selections", "saved_by"): ours,
    ("selections", "saved_at"): ours,
    ("neuron_descriptions", "read_at"): ours,
}


def settle(table: str, field: str, here: Told, there: Told) -> Any:
    """Return the value to keep, or UNSETTLED for a conflict."""
    rule = SETTLED.get((table, field))
    return rule(field, here, there) if rule else UNSETTLED


def settle_status(
    here: str, there: str, own_history: Sequence[StatusChange], their_history: Sequence[StatusChange]
) -> Any:
    """Return the status of the side that knows all of the other's changes and more, or UNSETTLED where neither does.

    Theirs is taken only where their further changes lead from the status here to the one there.
    """
    own, theirs = {one.id for one in own_history}, {one.id for one in their_history}
    if theirs < own:
        return here
    new = sorted((one for one in their_history if one.id not in own), key=lambda one: (one.changed_at, one.id))
    leads = bool(new) and new[0].before == here and new[-1].after == there
    return there if leads and own <= theirs else UNSETTLED

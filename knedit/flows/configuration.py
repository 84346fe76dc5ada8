"""What identifies a run beside its checkpoint: everything that its scores depend on, and nothing else.

Batches, memory and workers are not in it: they change nothing beyond rounding.
"""

import logging
from typing import Any

from knedit.attribution.method import method_config, method_from_config
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.flows.blocks import SCORE_FLOOR, Setting
from knedit.models.model import Model
from knedit.records import show_id

logger = logging.getLogger(__name__)

ENGINE = 2


def run_config(setting: Setting, model: Model) -> dict[str, Any]:
    """Return a run's configuration; the precision is the one that the model has."""
    return {
        **method_config(setting.method),
        "position": setting.position,
        "floor": SCORE_FLOOR,
        "dtype": model.precision,
        "engine": ENGINE,
    }


def setting_of(catalog: Catalog, reference: str) -> Setting:
    """Return the setting of the run that `reference` begins to spell; raise CatalogError for one that is not known.

    A run of another engine is repeated by this knedit's, and that is said.
    """
    run = catalog.find_run(reference)
    if "published" in run.config:
        raise CatalogError(
            "the run was published by others and cannot be repeated",
            f"run {show_id(run.id)}",
            "Give the options one by one.",
        )
    if run.config.get("engine") != ENGINE:
        logger.warning(
            "Run %s was made by engine %s, this knedit has %s: the same method, but scores may differ.",
            show_id(run.id),
            run.config.get("engine"),
            ENGINE,
        )
    try:
        return Setting(method_from_config(run.config), str(run.config["position"]), str(run.config["dtype"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CatalogError(
            f"the run's configuration cannot be repeated: {error}",
            f"run {show_id(run.id)}",
            "Give the options one by one.",
        ) from error

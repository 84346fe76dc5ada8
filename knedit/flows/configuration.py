"""What identifies a run beside its checkpoint: everything that its scores depend on, and nothing else.

Batches, memory and workers are not in it: they change nothing beyond rounding.
"""

import logging
from dataclasses import dataclass
from typing import Any

from knedit.attribution.attribute_prompt import Method
from knedit.attribution.integrated_gradients import DEFAULT_STEPS
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.flows.blocks import SCORE_FLOOR
from knedit.models.model import Model
from knedit.records import Config, show_id

logger = logging.getLogger(__name__)

ENGINE = 2


@dataclass(frozen=True, slots=True)
class Setting:
    """How a run scores: the method, the position whose neurons count, and the precision (`dtype`) of the model."""

    method: Method
    position: str
    dtype: str


def run_config(method: Method, position: str, model: Model) -> dict[str, Any]:
    """Return a run's configuration."""
    return {
        **method_config(method),
        "position": position,
        "floor": SCORE_FLOOR,
        "dtype": model.precision,
        "engine": ENGINE,
    }


def setting_of(catalog: Catalog, reference: str) -> Setting:
    """Return the setting of the run that `reference` begins to spell; raise CatalogError for one that is not known.

    A run of another engine is repeated by this knedit's, and that is said.
    """
    run = catalog.find_run(reference)
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


def method_config(method: Method) -> dict[str, Any]:
    return {
        "method": "integrated-gradients",
        "rule": method.rule,
        "steps": method.steps or DEFAULT_STEPS[method.rule],
        "tolerance": method.tolerance if method.rule == "adaptive" else None,
        "baseline": "zero",
    }


def method_from_config(config: Config) -> Method:
    tolerance = config["tolerance"]
    return Method(config["rule"], config["steps"], **({} if tolerance is None else {"tolerance": tolerance}))

"""The experiments by the names that command line, catalog and report know them by, in the order of a report."""

from collections.abc import Mapping

from knedit.errors import KneditError
from knedit.flows.experiments import (
    activations,
    consistency,
    erase,
    neuron_map,
    noise,
    statistics,
    suppress_amplify,
    update,
    values,
)
from knedit.flows.experiments.running import Recipe

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        statistics.RECIPE,
        suppress_amplify.RECIPE,
        activations.ACTIVATIONS,
        activations.TRIGGERS,
        update.RECIPE,
        erase.RECIPE,
        consistency.RECIPE,
        noise.RECIPE,
        neuron_map.RECIPE,
        values.RECIPE,
    )
}


def find_recipes(name: str) -> list[Recipe]:
    """Return the experiment of a name, or every one for "all". Raises KneditError for another name."""
    if name == "all":
        return list(RECIPES.values())
    if name not in RECIPES:
        raise KneditError(f"there is no experiment {name!r}", "experiment", f"Choose all, {', '.join(RECIPES)}.")
    return [RECIPES[name]]

"""knedit: find the neurons that hold a language model's facts, keep them in a catalog, edit them, ship the result.

The public names below are fetched when they are first used, so that `import knedit` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knedit.attribution.attribute_prompt import Attribution, attribute_prompt
    from knedit.attribution.method import Method
    from knedit.catalog.store import Catalog
    from knedit.errors import KneditError
    from knedit.models.loading import load_model
    from knedit.models.model import Model, wrap_model

__version__ = "0.1.0"

_HOMES = {
    "Attribution": "knedit.attribution.attribute_prompt",
    "Catalog": "knedit.catalog.store",
    "KneditError": "knedit.errors",
    "Method": "knedit.attribution.method",
    "Model": "knedit.models.model",
    "attribute_prompt": "knedit.attribution.attribute_prompt",
    "load_model": "knedit.models.loading",
    "wrap_model": "knedit.models.model",
}

__all__ = [
    "Attribution",
    "Catalog",
    "KneditError",
    "Method",
    "Model",
    "__version__",
    "attribute_prompt",
    "load_model",
    "wrap_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'knedit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

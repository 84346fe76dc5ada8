"""A catalog with a tiny model that knows its facts, refined: what the experiments' tests start from."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from knedit.catalog.store import Catalog
from knedit.flows.checkpoint import load_checkpoint
from knedit.flows.experiments.lab import Lab, Scope
from knedit.models.model import Model
from tests.flows.making import attributed, open_catalog
from tests.flows.teaching import taught


def build(name: str, folder: Path) -> Path:
    """Make the world of a family in a folder, and return the folder."""
    folder.mkdir()
    with open_catalog(folder) as catalog:
        attributed(catalog, taught(name, folder / "model"))
    return folder


@contextmanager
def laboratory(world: Path, copy: Path, model: Model | None = None, **scope: object) -> Iterator[Lab]:
    """Yield a lab on a copy of the world's catalog, with a model that is loaded or handed in."""
    copy.mkdir(exist_ok=True)
    if not (copy / "facts.db").exists():
        shutil.copy(world / "facts.db", copy / "facts.db")
    with Catalog(str(copy / "facts.db")) as catalog:
        (checkpoint,) = catalog.checkpoints()
        wanted = Scope(**scope)  # type: ignore[arg-type]
        yield Lab(catalog, checkpoint, lambda one: model or load_checkpoint(one, device="cpu"), wanted)

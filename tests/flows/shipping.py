"""An edit that is ready to be shipped, on tiny models, and what its folder says."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from knedit.catalog.store import Catalog
from knedit.flows.card_facts import CardWishes
from knedit.flows.checkpoint import add_checkpoint, load_checkpoint
from knedit.flows.choices import Choices
from knedit.flows.edit import Planned, read_edit
from knedit.flows.facts import import_file
from knedit.flows.goals import Wishes
from knedit.flows.plan import plan_edit
from knedit.flows.ship import Shipped, Shipping, ship_edit
from knedit.models.model import Model
from knedit.records import Checkpoint, show_id
from tests.flows.making import attributed, save_model, write_facts

OPEN = {"growth": 1e3, "perplexity": 1e6, "protected": 0.0, "success": 0.0}
MIT = CardWishes(licence="mit", languages=("en",), base_model="tests/base")
SHIPPING = Shipping(thresholds=OPEN, card=MIT)
CHOICES = Choices("embedding", "zero", roles=("fact", "relation", "generic"), relation_neurons=3)
HIDDEN = {
    "relation": "hidden-relation",
    "label": "hidden label",
    "templates": ["the old , old {subject} is {object}", "this small {subject} is {object}"],
    "facts": [["old big Oslo", "Kenya"], ["old big Rome", "Italy"]],
}
WISHES = Wishes(updates=["capital/France=Rome"], erasures=["hidden-relation/old big Oslo"])


@dataclass(frozen=True)
class Ready:
    catalog: Catalog
    planned: Planned
    model: Model
    folder: Path

    def ship(self, output: Path, shipping: Shipping = SHIPPING, **changes: Any) -> Shipped:
        planned = read_edit(self.catalog, self.catalog.find_edit(show_id(self.planned.edit.id)))
        return ship_edit(self.catalog, planned, self.load, output, replace(shipping, **changes))

    def load(self, _: Checkpoint) -> Model:
        return self.model


def made(folder: Path, name: str, wishes: Wishes = WISHES) -> Iterator[Ready]:
    facts = write_facts(folder)
    with facts.open("a") as stream:
        stream.write("\n" + json.dumps(HIDDEN))
    with Catalog(str(folder / "facts.db")) as catalog:
        import_file(catalog, facts)
        path = save_model(name, folder / "base")
        checkpoint, model = attributed(catalog, path)
        edit = plan_edit(catalog, checkpoint, lambda _: model, wishes, CHOICES)
        yield Ready(catalog, read_edit(catalog, edit), model, folder)


def opened(folder: Path) -> Iterator[Ready]:
    """Open the copy of a folder that `made` filled."""
    with Catalog(str(folder / "facts.db")) as catalog:
        checkpoint = add_checkpoint(catalog, folder / "base")
        (edit,) = catalog.edits()
        yield Ready(catalog, read_edit(catalog, edit), load_checkpoint(checkpoint, device="cpu"), folder)


def texts(folder: Path) -> dict[str, str]:
    """Return what is written in a folder but for what is the parent's."""
    names = ["README.md", "knedit.json", *(f"reproduce/{path.name}" for path in (folder / "reproduce").iterdir())]
    return {name: (folder / name).read_bytes().decode("utf-8", "replace") for name in names}

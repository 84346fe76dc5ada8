"""Ship an edit: one command from a plan to a folder that is measured, passed its gates, and can prove what it is.

The folder appears whole, as the last step but the catalog's, or not at all. What can be refused without a model is
refused before one is loaded.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from knedit.catalog.store import Catalog
from knedit.checkpoints.folder import reach
from knedit.checkpoints.manifest import Manifest, read_manifest
from knedit.checkpoints.patch import TensorPatch, check_folders
from knedit.checkpoints.signature import AskPassword, check_key, is_signed_by, no_password, read_signature, sign_folder
from knedit.checkpoints.verify import verify_folder
from knedit.evaluation.report import Judged
from knedit.flows.card import model_card
from knedit.flows.card_facts import CARD, UNLEARNING, CardFacts, CardWishes, gather_card_facts
from knedit.flows.checkpoint import add_checkpoint, checked_folder
from knedit.flows.choices import Gating
from knedit.flows.edit import Planned, Release, apply_edit, check_name
from knedit.flows.edit_manifest import edit_manifest, erased_facts
from knedit.flows.evaluate import evaluate_edit
from knedit.flows.goals import check_editable
from knedit.flows.reproduce import reproduce_files
from knedit.flows.scores import WrittenScores
from knedit.models.model import Model
from knedit.records import Checkpoint, show_id

logger = logging.getLogger(__name__)

Load = Callable[[Checkpoint], Model]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipping:
    """How an edit is shipped: by which key it is signed, if any, which gates count, and what its card tells.

    With `private`, erased facts are told by their number alone. `force` keeps what fails a gate, and that is told.
    """

    name: str | None = None
    key: Path | None = None
    password: AskPassword = no_password
    private: bool = False
    thresholds: Mapping[str, float] = field(default_factory=dict)
    force: bool = False
    link: bool = False
    card: CardWishes = field(default_factory=CardWishes)


@dataclass(frozen=True, slots=True)
class Shipped:
    """The folder as a checkpoint of the catalog, what was measured, its gates as knedit.json tells them; if signed."""

    checkpoint: Checkpoint
    judged: Sequence[Judged]
    gates: Sequence[Mapping[str, Any]]
    signed: bool


def ship_edit(catalog: Catalog, planned: Planned, load: Load, output: Path, shipping: Shipping) -> Shipped:
    """Write the edit, measure it in its files, put it through the gates, add card, recipe, hashes and signature.

    Where an earlier run was killed when the very same folder was complete, it is taken into the catalog. Raises
    KneditError; then nothing is at `output`, and the catalog is as it was.
    """
    name = shipping.name or output.name
    check_name(catalog, planned, name)
    for target in planned.targets:
        check_editable(planned.facts[target.fact_id], f"edit {show_id(planned.edit.id)}")
    parent = checked_folder(planned.checkpoint)
    thresholds = _thresholds(planned, shipping)
    papers = _Papers(catalog, planned, _facts(parent, planned, shipping), name, shipping)
    password = check_key(shipping.key, shipping.password) if shipping.key else shipping.password
    if _is_finished(papers, output, thresholds, password):
        return _taken_in(papers, output)
    check_folders(parent, output)
    model = load(planned.checkpoint)
    scores = WrittenScores(catalog, planned, model, shipping.private)

    def sign(folder: Path) -> None:
        if shipping.key:
            sign_folder(folder, shipping.key, name=name, password=password)

    child = apply_edit(
        catalog,
        planned,
        model,
        output,
        name=name,
        link=shipping.link,
        force=shipping.force,
        release=Release(
            looks=[scores],
            thresholds=thresholds,
            private=shipping.private,
            papers=papers,
            finish=sign,
            registered=scores.store,
        ),
    )
    return Shipped(child, scores.judged, _gates(output), shipping.key is not None)


def _facts(parent: Path, planned: Planned, shipping: Shipping) -> CardFacts:
    facts, erased = gather_card_facts(parent, shipping.card), erased_facts(planned)
    if erased and not shipping.private:
        logger.warning(
            "Card, knedit.json and reproduce/ tell which facts were erased (%d): --private tells their number alone",
            erased,
        )
    return facts.tagged(UNLEARNING) if erased else facts


def _thresholds(planned: Planned, shipping: Shipping) -> dict[str, float]:
    """Return the thresholds of all gates: a user's own, else the plan's, else the usual ones."""
    usual = Gating().of(joint=True)
    own = {name: value for name, value in planned.edit.config.get("gates", {}).items() if name in usual}
    return {**usual, **own, **Gating(shipping.thresholds).thresholds}


@dataclass(frozen=True, slots=True)
class _Papers:
    """Write what goes along with the weights, once all is known that the manifest tells."""

    catalog: Catalog
    planned: Planned
    facts: CardFacts
    name: str
    shipping: Shipping

    def __call__(
        self, manifest: Mapping[str, Any], record: Manifest, patches: Sequence[TensorPatch]
    ) -> dict[str, str | bytes]:
        recipe = reproduce_files(
            self.planned,
            manifest,
            record,
            patches,
            catalog=self.catalog,
            private=self.shipping.private,
            parent_card=self.facts.parent_card,
        )
        return {CARD: self.card(record), **recipe}

    def card(self, record: Manifest) -> str:
        return model_card(record, self.facts, name=self.name, signed=self.shipping.key is not None)


def _is_finished(papers: _Papers, output: Path, thresholds: Mapping[str, float], password: AskPassword) -> bool:
    """Tell whether the output is just what would be written now: a killed run had finished it, but for the catalog."""
    planned, shipping = papers.planned, papers.shipping
    known = any(one.path == str(output.resolve()) for one in papers.catalog.checkpoints())
    found = None if known or not output.is_dir() else read_manifest(output)
    if found is None or CARD not in found.written:
        return False
    gates = (found.evaluation or {}).get("gates", ())
    right = [
        found.edit == edit_manifest(planned, private=shipping.private)["edit"],
        found.parent.sha256 == planned.checkpoint.sha256,
        all(one["threshold"] == thresholds[one["gate"]] and (one["passed"] or shipping.force) for one in gates),
        papers.card(found) == reach(output, CARD).read_text(encoding="utf-8"),
        is_signed_by(output, shipping.key, password) if shipping.key else read_signature(output) is None,
    ]
    return all(right) and verify_folder(output, checked_folder(planned.checkpoint)).ok


def _taken_in(papers: _Papers, output: Path) -> Shipped:
    catalog, planned = papers.catalog, papers.planned
    logger.info("%s is complete already, and is taken into the catalog", output)
    child = add_checkpoint(catalog, output, name=papers.name)
    catalog.set_edit_result(planned.edit.id, child.id)
    done = replace(planned, edit=catalog.find_edit(show_id(planned.edit.id)))
    return Shipped(child, evaluate_edit(catalog, done), _gates(output), papers.shipping.key is not None)


def _gates(folder: Path) -> list[Mapping[str, Any]]:
    record = read_manifest(folder)
    return list(record.evaluation.get("gates", ())) if record and record.evaluation else []

"""Verify a checkpoint's folder: hashes, bytes against the parent's, signature, and what the loaded model says."""

from dataclasses import dataclass, replace
from pathlib import Path

from knedit.catalog.store import Catalog
from knedit.checkpoints.manifest import read_manifest
from knedit.checkpoints.verify import VerifyReport, verify_folder
from knedit.errors import CheckpointError, ModelError
from knedit.flows.checkpoint import parent_folder
from knedit.flows.scores import DTYPE, Scores, check_scores
from knedit.models.loading import load_model


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found in the files, and, where the model was loaded and scores of it are recorded, how they compare."""

    report: VerifyReport
    scores: Scores | None = None

    @property
    def ok(self) -> bool:
        return self.report.ok

    @property
    def problems(self) -> tuple[str, ...]:
        return self.report.problems


def verify_checkpoint(
    catalog: Catalog,
    folder: Path,
    *,
    parent: Path | None = None,
    load: bool = False,
    public_key: Path | None = None,
) -> Verified:
    """Check a folder's hashes and, if the parent is named or known, that just the listed columns differ.

    With `public_key` it must be signed by that key. With `load` the model is loaded, put through its paces, and asked
    the recorded prompts, if all else is well.
    """
    if parent is None:
        parent = parent_folder(catalog, folder)
    report = verify_folder(folder, parent, public_key=public_key)
    if not load or not report.ok:
        return Verified(report)
    try:
        return _ask(folder, report)
    except (CheckpointError, ModelError) as error:
        return Verified(replace(report, problems=(str(error),)))


def _ask(folder: Path, report: VerifyReport) -> Verified:
    manifest = read_manifest(folder)
    evaluation = (manifest and manifest.evaluation) or {}
    model = load_model(folder, dtype=DTYPE if "sample" in evaluation else "auto", device="cpu")
    scores = check_scores(model, evaluation)
    problems = (scores.problem,) if scores and scores.problem else ()
    return Verified(replace(report, problems=problems), scores)

"""Push a shipped folder to the Hugging Face Hub: only one that verifies, and just the files that it lists."""

import logging
from dataclasses import dataclass
from pathlib import Path

from knedit.catalog.store import Catalog
from knedit.checkpoints.folder import SIGNATURE, SUMS, reach
from knedit.checkpoints.manifest import Manifest, read_manifest
from knedit.checkpoints.sums import read_sums
from knedit.errors import CheckpointError
from knedit.flows.card_facts import CARD
from knedit.flows.verify import Verified, verify_checkpoint
from knedit.hub.cards import card_problems, check_repo_id
from knedit.hub.pushing import push_files

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What went up, or would: files with their sizes in bytes, and the commit's address (None: nothing was sent)."""

    repo_id: str
    files: dict[str, int]
    url: str | None


def push_checkpoint(
    catalog: Catalog,
    folder: Path,
    repo_id: str,
    *,
    parent: Path | None = None,
    public_key: Path | None = None,
    load: bool = False,
    require_signature: bool = False,
    private_repo: bool = False,
    revision: str | None = None,
    replace: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Verify a folder that knedit shipped, then commit its files to a repository; with `dry_run` send nothing.

    With `public_key` it must be signed by that key; with `require_signature` it must be signed. Raises CheckpointError.
    """
    check_repo_id(repo_id)
    record = _shipped(folder)
    verified = verify_checkpoint(catalog, folder, parent=parent, load=load, public_key=public_key)
    _check(verified, folder, require_signature=require_signature)
    _check_card(folder, record)
    sums = read_sums(folder) or {}
    names = [*sorted(sums), SUMS, *([SIGNATURE] if verified.report.signed else [])]
    files = {name: reach(folder, name).stat().st_size for name in names}
    if dry_run:
        return Pushed(repo_id, files, None)
    message = f"{record.parent.name}, edited by knedit {record.knedit}"
    how = {"private": private_repo, "replace": replace}
    return Pushed(repo_id, files, push_files(folder, names, repo_id, message=message, revision=revision, **how))


def _shipped(folder: Path) -> Manifest:
    if not folder.is_dir():
        raise CheckpointError("There is no such folder", str(folder))
    record = read_manifest(folder)
    if record is None:
        cure = "Ship an edit: knedit ship EDIT --output FOLDER."
        raise CheckpointError("The folder has no knedit.json, so it is none that knedit wrote", str(folder), cure)
    return record


def _check(verified: Verified, folder: Path, *, require_signature: bool) -> None:
    if not verified.ok:
        told = "; ".join(verified.problems[:5])
        raise CheckpointError(f"The folder does not verify and is not pushed: {told}", str(folder), "Ship it anew.")
    if require_signature and not verified.report.signed:
        cure = "Run: knedit checkpoint sign DIR --key KEY"
        raise CheckpointError("The folder is not signed", str(folder), cure)
    if verified.report.signed and not verified.report.trusted:
        logger.warning("It was not checked whose signature this is: --public-key KEY.pub does")


def _check_card(folder: Path, record: Manifest) -> None:
    if CARD not in record.written:
        cure = "Ship the edit: knedit ship EDIT --output FOLDER writes one."
        raise CheckpointError("The folder has no model card of its own", str(folder), cure)
    if problems := card_problems(reach(folder, CARD).read_text(encoding="utf-8")):
        raise CheckpointError(f"The model card is not sound: {'; '.join(problems)}", str(folder / CARD))
    named = [
        step["target"] for step in record.edit["steps"] if step["operation"].startswith("erase") and "target" in step
    ]
    if named:
        logger.warning(
            "The folder names what was erased (%d steps): ship it with --private to keep that back", len(named)
        )

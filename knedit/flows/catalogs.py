"""A catalog as a whole: another one taken into it, and what is wrong with it, its checkpoints' files included."""

import logging
from pathlib import Path

from knedit.catalog.checking import Finding
from knedit.catalog.connecting import read_address
from knedit.catalog.merging import TableMerge, Tell
from knedit.catalog.revisions import standing
from knedit.catalog.store import Catalog
from knedit.checkpoints.fingerprint import changed_files
from knedit.checkpoints.shards import read_places
from knedit.errors import CatalogError, CheckpointError
from knedit.records import Checkpoint

logger = logging.getLogger(__name__)


def merge_catalog(catalog: Catalog, other_url: str, tell: Tell, *, dry_run: bool = False) -> list[TableMerge]:
    """Add what the catalog at `other_url` has and `catalog` has not; `tell` hears of every conflict.

    Raise CatalogError where there is no catalog at `other_url`, it is of another revision, or it is this one.
    """
    address = read_address(other_url)
    missing = address.get_backend_name() == "sqlite" and not Path(address.database or "").exists()
    if (missing and not str(address.database).startswith("file:")) or standing(other_url).state == "empty":
        raise CatalogError("There is no catalog to merge", other_url if missing else standing(other_url).address)
    with Catalog(other_url) as other:
        logger.info("Merging %s into %s", other.address, catalog.address)
        return catalog.merge(other, tell, dry_run=dry_run)


def check_catalog(catalog: Catalog, *, deep: bool = False, repair: bool = False) -> list[Finding]:
    """Return what is wrong with the catalog's rows and its checkpoints' files; `deep` reads the files whole.

    With `repair`, what can be mended is, and what is then still wrong returned.
    """
    found = catalog.check()
    if repair and any(one.check in ("counts", "search") for one in found):
        catalog.repair()
        found = catalog.check()
    return [*found, *(one for checkpoint in catalog.checkpoints() for one in _check_files(checkpoint, deep=deep))]


def _check_files(checkpoint: Checkpoint, *, deep: bool) -> list[Finding]:
    """Return what became of a checkpoint's files: gone, changed, or shorter than their headers say."""
    if not checkpoint.files:
        return []  # known by name alone
    cure = f"Restore them, or name their new place: knedit checkpoint add FOLDER --name {checkpoint.name}"
    folder = Path(checkpoint.path)
    where = f"checkpoint {checkpoint.name}, {checkpoint.path or 'no folder'}"
    if not checkpoint.path or not folder.is_dir():
        return [Finding("files", "the checkpoint's folder is gone", where, cure)]
    try:
        wrong = changed_files(folder, checkpoint.files) if deep else _missing(folder, checkpoint)
        if not wrong:
            read_places(folder)
    except CheckpointError as error:
        wrong = [error.what]
    return [Finding("files", one, where, cure) for one in wrong]


def _missing(folder: Path, checkpoint: Checkpoint) -> list[str]:
    return [f"{name} is missing" for name in sorted(checkpoint.files) if not (folder / name).is_file()]

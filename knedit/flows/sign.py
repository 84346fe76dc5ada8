"""Sign a folder that knedit wrote, by a key and offline, after its hashes were checked."""

from pathlib import Path

from knedit.checkpoints.manifest import read_manifest
from knedit.checkpoints.signature import AskPassword, check_key, sign_folder
from knedit.checkpoints.verify import verify_folder
from knedit.errors import CheckpointError


def sign_checkpoint(folder: Path, key: Path, password: AskPassword) -> int:
    """Sign an edited checkpoint's folder, and return how many files the signature covers.

    Raises CheckpointError where the folder is none of knedit's, does not verify or is signed, or the key is unfit.
    """
    remembered = check_key(key, password)
    if folder.is_dir() and read_manifest(folder) is None:
        cure = "Name one that knedit ship or edit apply wrote."
        raise CheckpointError("The folder has no knedit.json, so it is none that knedit wrote", str(folder), cure)
    report = verify_folder(folder)
    if not report.ok and not report.signed:
        told = "; ".join(report.problems[:5])
        raise CheckpointError(f"The folder does not verify and is not signed: {told}", str(folder), "Ship it anew.")
    sign_folder(folder, key, name=folder.resolve().name, password=remembered)
    return report.files

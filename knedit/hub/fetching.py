"""Fetch a model's files from the Hugging Face Hub: safetensors and what belongs to them, never pickle or code."""

from pathlib import Path

from knedit.errors import ModelError

FILES = (
    "*.safetensors",
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "LICENSE*",
    "NOTICE*",
    "USE_POLICY*",
    "README.md",
    *("SHA256SUMS", "model.sig", "reproduce/*"),  # what knedit ships, to be checked
)


def fetch(name: str, revision: str | None) -> Path:
    """Return the folder in the Hub's cache where the model's files are, fetched if need be. Raises ModelError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"neither a file or folder here nor to be had from the Hugging Face Hub: {reason[:160]}",
            name,
            "Check the name, the network and, for a gated model, your token.",
        ) from None


def cached_name(folder: Path) -> str | None:
    """Return the Hub's name of the model whose snapshot in the Hub's cache a folder is, or None.

    The cache has it as models--OWNER--NAME/snapshots/REVISION.
    """
    place = folder.resolve().parent
    kind, *parts = place.parent.name.split("--")
    return "/".join(parts) if place.name == "snapshots" and kind == "models" and 1 <= len(parts) <= 2 else None

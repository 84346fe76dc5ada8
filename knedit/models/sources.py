"""From what a user calls a model (a folder, a GGUF file, a Hub id) to a local folder with safetensors.

Knows neither networks nor tokenizers; a GGUF file is handed to `gguf`, a Hub id to `hub`.
"""

import re
from pathlib import Path

from knedit.errors import ModelError
from knedit.hub.fetching import fetch
from knedit.models.gguf import convert_gguf

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
PICKLE_ENDINGS = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def local_folder(path_or_id: str | Path, *, revision: str | None = None) -> Path:
    """Return the local folder of a model.

    A folder is returned as it is; a GGUF file (or a folder that holds just one and no config.json) is converted once
    into the cache; anything else that looks like a Hub id is downloaded, safetensors only. Raises ModelError if there
    is no such thing, or if it has only pickle weights.
    """
    path = Path(path_or_id).expanduser()
    if path.is_dir():
        return _checked_folder(path)
    if path.is_file():
        return _from_file(path)
    if isinstance(path_or_id, str) and _HUB_ID.fullmatch(path_or_id) and path.suffix not in (".gguf", ".safetensors"):
        return _checked_folder(fetch(path_or_id, revision))
    raise ModelError("there is no such file or folder", str(path_or_id), "Check the path.")


def _from_file(path: Path) -> Path:
    if path.suffix == ".gguf":
        return convert_gguf(path)
    if path.suffix in PICKLE_ENDINGS:
        raise _pickle_refused(path)
    raise ModelError(
        "a model is a folder, a GGUF file or a Hub id",
        str(path),
        "Name the folder that holds config.json and the weights.",
    )


def _checked_folder(folder: Path) -> Path:
    names = sorted(entry.name for entry in folder.iterdir())
    ggufs = [name for name in names if name.endswith(".gguf")]
    if "config.json" not in names and len(ggufs) == 1:
        return convert_gguf(folder / ggufs[0])
    if not any(name.endswith((".safetensors", ".safetensors.index.json")) for name in names):
        if any(name.endswith(PICKLE_ENDINGS) for name in names):
            raise _pickle_refused(folder)
        raise ModelError("the folder holds no safetensors weights", str(folder), "Name the folder of a checkpoint.")
    if "config.json" not in names:
        raise ModelError("the folder holds no config.json", str(folder), "Name the folder of a whole checkpoint.")
    return folder


def _pickle_refused(path: Path) -> ModelError:
    return ModelError(
        "only pickle weights were found, which can run code when they are read, so knedit refuses them",
        str(path),
        "Convert them to safetensors where you trust them: load with transformers and save_pretrained.",
    )

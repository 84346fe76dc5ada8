"""The files of a checkpoint's folder: which there are, which may be reached, which an edited copy takes along.

Knows nothing of what is in them. Symlinks are followed inside the folder and into the `blobs` of the Hugging Face
cache around it (…/models--x--y/snapshots/REVISION/file → ../../blobs/HASH), nowhere else.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from knedit.errors import CheckpointError

MANIFEST = "knedit.json"
SUMS = "SHA256SUMS"
SIGNATURE = "model.sig"
OWN_FILES = (MANIFEST, SUMS, SIGNATURE)

REPRODUCE = "reproduce"  # the folder of what is needed to write an edited checkpoint again
PLAN, VALUES = "plan.json", "values.safetensors"
ENVIRONMENT, PINS, WISHES, FACTS = "environment.json", "requirements.txt", "wishes.jsonl", "facts.jsonl"
PARENT_CARD = "parent-card.md"
REPRODUCE_FILES = (PLAN, VALUES, ENVIRONMENT, PINS, WISHES, FACTS, PARENT_CARD)

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
OTHER_WEIGHTS = (
    *("*.safetensors", "*.h5", "*.keras", "*.msgpack", "*.onnx", "*.onnx_data*", "*.gguf", "*.ggml", "*.npz", "*.npy"),
    *("*.bin.*", "*.bin_*", "*.ckpt.*", "*.ckpt-*", "*.pt2", "*.ptl", "*.pte", "*.ot", "*.pdparams", "*.pb", "*.mar"),
    *("*.tflite", "*.litertlm", "*.task", "*.mlmodel", "*.engine", "*.plan", "*.trt", "*.llamafile", "*.rten"),
    *("*.distcp", "*.nemo", "*.index.json", "*.index.*.json", "*.dduf"),
    *("*.zip", "*.tar", "*.tar.*", "*.tgz", "*.7z"),  # whatever is packed in them is not looked at
)
OTHER_FOLDERS = ("original", "onnx", "openvino", "coreml", "mlx", "variables", "__pycache__")
PACKAGES = ("*.mlpackage", "*.mlmodelc", "*.zarr")  # folders


@contextmanager
def reading(where: Path) -> Iterator[None]:
    """Turn an OSError of the body into a CheckpointError about `where`."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"Cannot read the checkpoint: {error.strerror}", error.filename or str(where)) from error


def reach(folder: Path, name: str) -> Path:
    """Return the regular file that `name` in `folder` leads to, symlinks resolved.

    Raises CheckpointError when it is missing, is no regular file, or lies where the folder's symlinks may not lead.
    """
    path, root = folder / name, folder.resolve()
    try:
        target = path.resolve(strict=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{name} is missing", str(folder), "Fetch the checkpoint again.") from error
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of symlinks; ValueError: a NUL
        raise CheckpointError(f"{name} cannot be reached: {error}", str(folder)) from error
    if not any(target.is_relative_to(place) for place in (root, *_cache_blobs(root))):
        cure = "Copy the file into the folder if you trust it."
        raise CheckpointError(f"{name} leads out of the checkpoint's folder, to {target}", str(folder), cure)
    if not target.is_file():
        raise CheckpointError(f"{name} is not a regular file", str(folder))
    return target


def list_files(folder: Path) -> list[str]:
    """Return the names of all files under `folder`, with "/" between folders, sorted; hidden ones are left out.

    Raises CheckpointError for names that a SHA256SUMS line cannot hold, and for symlinked sub-folders.
    """
    names = []
    with reading(folder):
        for root, folders, files in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in folders:
                if (Path(root) / name).is_symlink():
                    raise CheckpointError(f"{name} is a symlink to a folder", root, "Copy the folder instead.")
            names += [(Path(root) / name).relative_to(folder).as_posix() for name in files if name[0] != "."]
    for name in names:
        if "\\" in name or not name.isprintable():
            raise CheckpointError(f"The file name {name!r} is not printable", str(folder), "Rename the file.")
    return sorted(names)


def is_other_weights(name: str) -> bool:
    """Tell whether the file `name` looks like weights in whatever format, or is one of their indexes."""
    *folders, file = name.lower().split("/")
    other = any(name in OTHER_FOLDERS or matches(name, PACKAGES) for name in folders)
    return other or matches(file, PICKLES + OTHER_WEIGHTS)


def carried_files(folder: Path, weights: Collection[str]) -> list[str]:
    """Return the files that an edited copy takes along: `weights` and what is neither weights nor knedit's own.

    Weights in other files and formats hold what an edit takes out, so they stay behind, and so does what is needed to
    write the folder again. Sorted.
    """
    return [name for name in list_files(folder) if name in weights or not (is_own(name) or is_other_weights(name))]


def is_own(name: str) -> bool:
    """Tell whether a file of this name tells of the one folder that it lies in, so that no copy takes it along."""
    return name in OWN_FILES or name.startswith(f"{REPRODUCE}/")


def matches(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _cache_blobs(root: Path) -> list[Path]:
    snapshots = root.parent
    cached = snapshots.name == "snapshots" and snapshots.parent.name.startswith("models--")
    return [snapshots.parent / "blobs"] if cached else []


def _raise(error: OSError) -> None:
    raise error

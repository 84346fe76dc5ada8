"""What a checkpoint is, told by the sha256 of its files.

Knows nothing of tensors. A single weights file's sha256 is the checkpoint's, as `sha256sum` prints it; of shards it is
the sha256 of the text that `sha256sum` prints for them, sorted by name.
"""

import hashlib
import os
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from knedit.checkpoints.folder import (
    OWN_FILES,
    REPRODUCE,
    REPRODUCE_FILES,
    is_other_weights,
    list_files,
    matches,
    reach,
    reading,
)
from knedit.checkpoints.shards import INDEX, weight_files, weight_set
from knedit.errors import CheckpointError

WORKERS = min(4, os.cpu_count() or 1)  # files at a time
BEHAVIOUR = (
    *("config.json", "generation_config.json", INDEX),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "*.model", "*.tiktoken", "tekken.json"),
    *("chat_template.*", "additional_chat_templates/*", "*.py"),  # .py: code that trust_remote_code runs
)


def file_sha256(path: Path) -> str:
    """Return the sha256 of the file at `path` in hexadecimal, reading it in pieces. Raises CheckpointError."""
    with reading(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_sha256(folder: Path, names: Collection[str]) -> dict[str, str]:
    """Return the sha256 of files in `folder` by name, several taken at a time. Raises CheckpointError."""
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda name: file_sha256(reach(folder, name)), names)
        return dict(zip(names, found, strict=True))


def weights_sha256(folder: Path, known: Mapping[str, str] | None = None) -> str:
    """Return the sha256 of the weights in `folder`; files named in `known` are not read again.

    Raises CheckpointError.
    """
    hashes = dict(known or {})
    files = weight_files(folder)
    hashes |= files_sha256(folder, [file for file in files if file not in hashes])
    if len(files) == 1:
        return hashes[files[0]]
    return hashlib.sha256("".join(f"{hashes[file]}  {file}\n" for file in files).encode()).hexdigest()


def behaviour_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file that decides what the model does, by name: weights, configuration, tokenizer.

    Raises CheckpointError when there are no weights.
    """
    names = {*weight_set(folder), *_settings(folder)}
    return files_sha256(folder, sorted(names))


def changed_files(folder: Path, recorded: Mapping[str, str]) -> list[str]:
    """Return a sentence for each file of `behaviour_files` that changed, went or came since `recorded` was taken.

    Sorted by file. Raises CheckpointError when `folder` or a file in it cannot be read.
    """
    try:
        weights = weight_set(folder)
    except CheckpointError:
        weights = []  # the recorded names below tell which are missing
    names = sorted({*weights, *_settings(folder), *recorded})
    present = {name for name in names if (folder / name).exists()}
    found = files_sha256(folder, sorted(present & recorded.keys()))
    told = {name: f"{name} has changed" for name in found if found[name] != recorded[name]}
    told |= {name: f"{name} was added" for name in present - recorded.keys()}
    told |= {name: f"{name} is missing" for name in set(names) - present}
    return [told[name] for name in names if name in told]


def decides_behaviour(name: str) -> bool:
    """Tell whether a file of this name, other than weights, decides what the model does."""
    return matches(name, BEHAVIOUR) and name.count("/") <= name.startswith("additional_chat_templates/")


def may_be_written(name: str) -> bool:
    """Tell whether a file of this name may lie beside the weights of an edited checkpoint in place of its parent's."""
    folder, _, own = name.rpartition("/")
    if folder == REPRODUCE:
        return own in REPRODUCE_FILES
    plain = name.isprintable() and not set(name) & set("/\\") and not name.startswith(".") and bool(name)
    return plain and not (name in OWN_FILES or is_other_weights(name) or decides_behaviour(name))


def _settings(folder: Path) -> list[str]:
    return [name for name in list_files(folder) if decides_behaviour(name)]

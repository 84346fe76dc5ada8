"""Turn a GGUF file into a plain safetensors folder, once: later calls find it in the cache.

The weights are what the quantised file holds, widened to float32. Needs the extra `gguf`.
"""

import fcntl
import hashlib
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from knedit.errors import ModelError
from knedit.settings import cache_folder

logger = logging.getLogger(__name__)


def convert_gguf(path: Path) -> Path:
    """Return the cached folder of a GGUF file, converting it first if need be.

    The folder's name ends in the beginning of the file's sha256, so another file never finds it. Raises ModelError if
    the file is no GGUF of a known family, a package is missing, or the disk is full.
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError("the file is not GGUF", str(path), "Its first four bytes should read GGUF.")
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = re.sub(r"[^\w.-]", "-", path.stem)
    folder = cache_folder() / "gguf" / f"{name}-{digest[:12]}"
    try:
        with _alone(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _convert(path, folder)
    except OSError as error:
        raise ModelError(
            f"the converted model cannot be written: {error.strerror or error}",
            str(folder),
            "Free some disk space, or point KNEDIT_CACHE at a folder on another disk.",
        ) from None
    return folder


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _convert(path: Path, folder: Path) -> None:
    missing = [package for package in ("gguf", "accelerate") if find_spec(package) is None]
    if missing:
        raise ModelError(
            f"reading GGUF needs the package {' and '.join(missing)}", str(path), 'Run: pip install "knedit[gguf]"'
        )
    logger.info("Converting %s once into %s", path, folder)
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write_plain(path, partial)
        partial.replace(folder)
    except OSError:
        raise
    except Exception as error:
        if "No space left" in str(error):
            raise OSError(28, "No space left on device") from None
        raise ModelError(
            f"the GGUF file cannot be converted: {str(error).strip().splitlines()[0][:200]}",
            str(path),
            "transformers must know its architecture and its quantisation.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_plain(path: Path, folder: Path) -> None:
    """Write the model in its plain class: the one that was read carries a quantisation config and will not be saved."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from knedit.models.quiet import quiet

    with quiet():
        source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        read = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**source)
        config = read.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = type(read)(config)
        plain.load_state_dict(read.state_dict())
        plain.generation_config = read.generation_config
        plain.save_pretrained(folder, max_shard_size="5GB")
        tokenizer.init_kwargs.pop("local_files_only", None)  # of this load, not of the model: it would be written down
        tokenizer.save_pretrained(folder)

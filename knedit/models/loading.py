"""Load a model from files: never pickle, never remote code unless asked for, never with weights made up.

Knows no catalog; what the files are called and hashed is the business of `checkpoints/`.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

from knedit.errors import ModelError
from knedit.models.families import Family
from knedit.models.layout import Layout, read_layout
from knedit.models.model import Model, wrap_model
from knedit.models.quiet import quiet
from knedit.models.sources import local_folder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "auto": "auto"}


def load_model(
    path_or_id: str | Path,
    *,
    dtype: str = "float32",
    device: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Model:
    """Load a model with its language-modelling head and tokenizer from a folder, a GGUF file or the Hub.

    `dtype` is the precision of computation (`auto`: as stored), `device` a torch device (default: CUDA where there is
    one). Raises ModelError if the files are missing, hold only pickle weights, lack tensors or a tokenizer, or are of
    no known family, and if the device cannot take the model.
    """
    if dtype not in DTYPES:
        raise ModelError(f"there is no precision {dtype!r}", "dtype", f"Choose one of {', '.join(DTYPES)}.")
    folder = local_folder(path_or_id, revision=revision)
    layout = layout_of(folder)
    auto = _class_of(layout.family)
    arguments: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True, "local_files_only": True}
    with quiet():
        try:
            net, report = auto.from_pretrained(
                folder, dtype=DTYPES[dtype], trust_remote_code=trust_remote_code, **arguments
            )
            tokenizer = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=trust_remote_code, local_files_only=True
            )
        except Exception as error:
            raise ModelError(
                f"transformers cannot load the model: {_first_line(error)}",
                str(folder),
                "Check that its files are whole.",
            ) from error
    _check_complete(report, folder)
    _check_words(tokenizer, folder)
    _move(net.eval(), device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return wrap_model(net, tokenizer, source=str(folder))


def _class_of(family: Family) -> Any:
    if family.encoder_decoder:
        return AutoModelForSeq2SeqLM
    return AutoModelForMaskedLM if family.masked else AutoModelForCausalLM


def layout_of(folder: Path) -> Layout:
    """Return the layout that a folder's config.json describes."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"config.json cannot be read: {_first_line(error)}", str(path), "Repair the file.") from None
    if not isinstance(config, dict):
        raise ModelError("config.json is no JSON object", str(path), "Repair the file.")
    return read_layout(config)


def _check_complete(report: dict[str, Any], folder: Path) -> None:
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if missing:
        raise ModelError(
            f"the files lack {len(missing)} of the network's tensors, such as {missing[0]}",
            str(folder),
            "A head that was never saved would be random: use a checkpoint with its language-modelling head.",
        )


def _check_words(tokenizer: Any, folder: Path) -> None:
    """Refuse the empty tokenizer that transformers makes up for some families where no tokenizer was saved."""
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise ModelError(
            "the tokenizer knows no words, as its files are missing or empty",
            str(folder),
            "Put the tokenizer's files (tokenizer.json, or those of its vocabulary) beside the weights.",
        )


def _move(net: Any, device: str) -> None:
    try:
        net.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"the model cannot be put on the device: {_first_line(error)}",
            f"device {device}",
            "Choose another device, such as cpu.",
        ) from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__

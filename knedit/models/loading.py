"""Load a model from files: never pickle, never remote code unless asked for, never with weights made up.

Knows no catalog; what the files are called and hashed is the business of `checkpoints/`.
"""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from knedit.errors import ModelError
from knedit.models.families import Family
from knedit.models.layout import Layout, read_layout
from knedit.models.model import Model, wrap_model
from knedit.models.precision import PRECISIONS
from knedit.models.quiet import quiet
from knedit.models.sources import local_folder

DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
_INSTALL_ACCELERATE = 'Run: pip install "knedit[accelerate]"'


def load_model(
    path_or_id: str | Path,
    *,
    dtype: str = "float32",
    device: str | None = None,
    device_map: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Model:
    """Load a model with its language-modelling head and tokenizer from a folder, a GGUF file or the Hub.

    `dtype` is the precision of computation (`auto`: as stored; `tf32`: float32 weights whose products CUDA may cut),
    `device` a torch device (default: CUDA where there is one), `device_map` accelerate's way of spreading the blocks
    over several devices, such as `auto`. Raises ModelError if the files are missing, hold only pickle weights, lack
    tensors or a tokenizer, or are of no known family, and if the devices cannot take the model.
    """
    _check_places(dtype, device, device_map)
    folder = local_folder(path_or_id, revision=revision)
    auto = _class_of(layout_of(folder).family)
    arguments: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True, "local_files_only": True}
    arguments |= {"dtype": PRECISIONS[dtype] or "auto", "trust_remote_code": trust_remote_code}
    if device_map is not None:
        arguments["device_map"] = device_map
    with quiet():
        try:
            net, report = auto.from_pretrained(folder, **arguments)
            tokenizer = _tokenizer(folder, trust_remote_code)
        except Exception as error:
            raise _unloadable(error, folder) from error
    _check_complete(report, folder)
    _check_words(tokenizer, folder)
    if device_map is None:
        _move(net.eval(), device or ("cuda" if torch.cuda.is_available() else "cpu"))
    else:
        _check_present(net.eval(), folder)
    model = wrap_model(net, tokenizer, source=str(folder))
    model.tf32 = dtype == "tf32"
    if model.tf32 and model.device.type != "cuda":
        raise _no_tf32(str(model.device))
    return model


def load_reader(path_or_id: str | Path, *, dtype: str = "float32") -> Model:
    """Load what is needed to read prompts: tokenizer, config and a network without weights (on the `meta` device).

    It can be asked nothing: that is for those who hold the weights. Raises ModelError as `load_model` does.
    """
    _check_places(dtype, None, None)
    folder = local_folder(path_or_id)
    layout = layout_of(folder)
    with quiet():
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            precision = PRECISIONS[dtype] or config.dtype
            with torch.device("meta"):
                net = _class_of(layout.family).from_config(config, dtype=precision)
            tokenizer = _tokenizer(folder, trust_remote_code=False)
        except Exception as error:
            raise _unloadable(error, folder) from error
    if precision is None:
        raise ModelError(
            "config.json does not say in which precision the weights are stored", str(folder), "Name one with --dtype."
        )
    _check_words(tokenizer, folder)
    return Model(net.eval(), tokenizer, layout, str(folder), tf32=dtype == "tf32")


def _check_places(dtype: str, device: str | None, device_map: str | None) -> None:
    if dtype not in PRECISIONS:
        raise ModelError(f"there is no precision {dtype!r}", "dtype", f"Choose one of {', '.join(PRECISIONS)}.")
    if dtype == "tf32" and (device == "cpu" or not torch.cuda.is_available()):
        raise _no_tf32(device or "cpu")
    if device_map is not None and device_map not in DEVICE_MAPS:
        raise ModelError(
            f"there is no device map {device_map!r}", "device map", f"Choose one of {', '.join(DEVICE_MAPS)}."
        )
    if device_map is not None and device is not None:
        raise ModelError("a model goes to one device or is spread by a device map, not both", "device", "Name one.")
    if device_map is not None and find_spec("accelerate") is None:
        raise ModelError("a device map needs the package accelerate", "device map", _INSTALL_ACCELERATE)


def _no_tf32(device: str) -> ModelError:
    return ModelError("TF32 is a precision of CUDA devices", f"device {device}", "Use float32, or a CUDA device.")


def _tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)


def _unloadable(error: Exception, folder: Path) -> ModelError:
    return ModelError(
        f"transformers cannot load the model: {_first_line(error)}", str(folder), "Check that its files are whole."
    )


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


def _check_present(net: Any, folder: Path) -> None:
    """Refuse a model, part of which accelerate left in the host's memory or on the disk, to be fetched call by call."""
    away = [name for name, parameter in net.named_parameters() if parameter.is_meta]
    if away:
        raise ModelError(
            f"the devices cannot hold the model: {len(away)} tensors were left out, such as {away[0]}",
            str(folder),
            "Use more devices, or a smaller precision such as bfloat16.",
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

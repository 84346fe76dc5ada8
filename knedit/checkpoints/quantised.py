"""Whether a checkpoint's weights are quantised, so that a value vector has no bytes of its own to be changed.

Knows nothing of how to undo it. What GPTQ, AWQ, bitsandbytes and others leave in config.json, beside it, or in the
tensors' names tells.
"""

from collections.abc import Iterable
from pathlib import Path

from knedit.checkpoints.folder import reach
from knedit.checkpoints.strict_json import read_json
from knedit.errors import CheckpointError

CURE = "Edit the checkpoint it was quantised from, then quantise the result."
FILES = {"quantize_config.json": "GPTQ", "quant_config.json": "AWQ"}
ENDINGS = {
    ".g_idx": "GPTQ",
    ".qweight": "GPTQ or AWQ",
    ".qzeros": "GPTQ or AWQ",
    ".SCB": "bitsandbytes",
    ".absmax": "bitsandbytes",
    ".quant_map": "bitsandbytes",
    ".nested_absmax": "bitsandbytes",
    ".weight_packed": "compressed-tensors",
}
STATE = ".quant_state.bitsandbytes"


def refuse_quantised(folder: Path, tensors: Iterable[str]) -> None:
    """Raise CheckpointError, with the reason, if the checkpoint with these tensors is quantised or has an adapter."""
    if (folder / "adapter_config.json").exists():
        cure = "Merge it into its base first."
        raise CheckpointError("An adapter lies beside the model and would not be loaded alike", str(folder), cure)
    for reason in (_by_config(folder), _by_files(folder), _by_names(tensors)):
        if reason:
            raise CheckpointError(f"The model is quantised: {reason}", str(folder), CURE)


def _by_config(folder: Path) -> str | None:
    if not (folder / "config.json").exists():
        return None
    config = read_json(reach(folder, "config.json"), strict=False)
    for part in (config, config.get("text_config")):
        if isinstance(part, dict) and (told := part.get("quantization_config")):
            method = told.get("quant_method") if isinstance(told, dict) else None
            return f"config.json has a quantization_config{f' of {method}' if isinstance(method, str) else ''}"
    return None


def _by_files(folder: Path) -> str | None:
    present = (name for name in FILES if (folder / name).exists())
    return next((f"{name} lies beside it, as {FILES[name]} leaves it" for name in present), None)


def _by_names(tensors: Iterable[str]) -> str | None:
    for name in tensors:
        by = next((by for ending, by in ENDINGS.items() if name.endswith(ending)), None)
        by = "bitsandbytes" if STATE in name else by
        if by:
            return f"it has the tensor {name}, as {by} leaves it"
    return None

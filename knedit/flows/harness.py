"""Hand a checkpoint folder to EleutherAI's lm-evaluation-harness, which measures general ability on its own tasks.

Knows how to call it, and nothing of what it measures. The harness fetches its tasks' data itself; without a network it
knows those alone that are in its cache, or tasks of your own in a folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knedit.errors import EditError
from knedit.models.sources import local_folder


def harness_arguments(
    folder: Path, tasks: Sequence[str], *, dtype: str = "float32", limit: int | None = None
) -> dict[str, Any]:
    """Return what the harness is called with: the folder as a transformers model, without few-shot examples."""
    return {
        "model": "hf",
        "model_args": {"pretrained": str(folder), "dtype": dtype},
        "tasks": list(tasks),
        "num_fewshot": 0,
        "limit": limit,
        "bootstrap_iters": 0,
        "log_samples": False,
    }


def run_harness(
    source: str, tasks: Sequence[str], *, dtype: str = "float32", limit: int | None = None
) -> Mapping[str, Any]:
    """Return the harness's results by task; raise EditError where it is not installed or cannot run the tasks."""
    folder = local_folder(source)
    try:
        from lm_eval import simple_evaluate
    except ImportError as error:
        raise EditError(
            f"the lm-evaluation-harness is not installed: {error}", "--harness", 'Run: pip install "knedit[harness]"'
        ) from None
    try:
        report = simple_evaluate(**harness_arguments(folder, tasks, dtype=dtype, limit=limit))
    except (KeyError, OSError, ValueError) as error:
        raise EditError(
            f"the harness cannot run {', '.join(tasks)}: {type(error).__name__}: {error}",
            str(folder),
            "See lm_eval --tasks list; a task's data must be within reach.",
        ) from error
    found: Mapping[str, Any] = report["results"]
    return found

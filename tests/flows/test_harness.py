"""How lm-evaluation-harness is called, and what is said where it is not installed."""

import sys
from pathlib import Path

import pytest

from knedit.errors import EditError, ModelError
from knedit.flows.harness import harness_arguments, run_harness
from tests.flows.making import save_model


def test_the_harness_is_called_with_the_folder_and_the_tasks() -> None:
    assert harness_arguments(Path("edited"), ["piqa", "arc_easy"], dtype="bfloat16", limit=100) == {
        "model": "hf",
        "model_args": {"pretrained": "edited", "dtype": "bfloat16"},
        "tasks": ["piqa", "arc_easy"],
        "num_fewshot": 0,
        "limit": 100,
        "bootstrap_iters": 0,
        "log_samples": False,
    }


def test_without_the_harness_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(EditError, match=r"not installed.*knedit\[harness\]"):
        run_harness(str(save_model("llama", tmp_path / "base")), ["piqa"])


def test_a_folder_that_is_no_checkpoint_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no safetensors"):
        run_harness(str(tmp_path), ["piqa"])

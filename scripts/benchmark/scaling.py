"""How cost grows: the sections batching, memory, linear and gpu."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from knedit.errors import KneditError

from .clock import alternate, medians
from .contestants import GIB, MODULES, STEPS, check_installed, knedit
from .exactness import slope_fit
from .memory import Trial, peak
from .networks import network, queries_for
from .report import Curve, Row, Section, Target
from .speed import Setting

TOGETHER = 16
BUDGETS = (GIB // 4, GIB, 2 * GIB)
NUMBERS, STEP_COUNTS = (8, 16, 32, 64), (10, 20, 40, 80)
# Not adaptive in bfloat16: what that rounds off is more than the tolerance, so that refinement would never be content.
RACES = (("float32", "left", STEPS), ("float32", "adaptive", None), ("bfloat16", "left", STEPS))
PAPER_PROMPTS, PAPER_FACTS, PAPER_SECONDS = 253_448, 27_738, 13.3


def batching(setting: Setting) -> Section:
    """Compare many prompts at once with one after the other."""
    rows: list[Row] = [("network", "together s", "one by one s", "ratio")]
    figures, targets = {}, []
    for name in ("gpt2", "bert-base", "smollm2"):
        model = network(name, device=setting.device, tiny=setting.tiny)
        queries = queries_for(name, model, TOGETHER, tiny=setting.tiny)
        ask = partial(knedit, model, memory=setting.memory)
        ask(queries[:1])
        taken = alternate(
            {"together": partial(ask, queries), "one by one": lambda: [ask([query]) for query in queries]},  # noqa: B023
            setting.repeats,
        )
        middle = medians(taken)
        ratio = middle["one by one"] / middle["together"]
        rows.append((name, f"{middle['together']:.3f}", f"{middle['one by one']:.3f}", f"{ratio:.2f}"))
        figures[name] = {"prompts": len(queries), "seconds": taken, "ratio": ratio}
        targets.append(Target(f"{name}, {len(queries)} prompts together, times the speed", ratio, 1.5))
    return Section(f"{TOGETHER} prompts together or one by one, adaptive", figures, rows, targets=targets)


def memory(setting: Setting) -> Section:
    """Measure the peak of memory beyond the loaded network, a process for each contestant."""
    check_installed(*MODULES.values())
    trials = [
        Trial(name, "knedit", TOGETHER, budget, setting.threads, setting.device, setting.tiny)
        for name in ("gpt2", "bert-base")
        for budget in BUDGETS
    ]
    trials += [
        Trial(name, contestant, 1, 2 * GIB, setting.threads, setting.device, setting.tiny)
        for name in ("gpt2", "bert-base")
        for contestant in ("knedit", "EleutherAI", "Captum", "loop")
    ]
    rows: list[Row] = [("network", "contestant", "prompts", "budget MiB", "peak MiB")]
    figures, targets = [], []
    for trial in trials:
        found = peak(trial)
        own = trial.contestant == "knedit"
        budget = f"{trial.budget / 2**20:.0f}" if own else ""
        rows.append((trial.network, trial.contestant, str(trial.prompts), budget, f"{found / 2**20:.0f}"))
        figures.append({"trial": vars(trial), "peak_bytes": found})
        if own:
            what = f"{trial.network}, {trial.prompts} prompts, peak as a share of {budget} MiB"
            targets.append(Target(what, found / trial.budget, 1.0, False))
    return Section("Peak memory beyond the loaded network", {"trials": figures}, rows, targets=targets)


def linear(setting: Setting) -> Section:
    """Measure cost by number of prompts (eight at once) and by steps, and lay straight lines through it."""
    model = network("gpt2", device=setting.device, tiny=setting.tiny)
    queries = queries_for("gpt2", model, max(NUMBERS), tiny=setting.tiny)
    ask = partial(knedit, model, memory=setting.memory, batch=NUMBERS[0])
    ask(queries[:1])
    by_number = {str(n): partial(ask, queries[:n], rule="gauss") for n in NUMBERS}
    by_steps = {str(s): partial(ask, queries[:1], rule="midpoint", steps=s) for s in STEP_COUNTS}
    rows: list[Row] = [("by", "sizes", "median s", "s each", "R²")]
    figures, curves, targets = {}, [], []
    for kind, contestants in (("prompts", by_number), ("steps", by_steps)):
        taken = alternate(contestants, setting.repeats)
        sizes, middle = [float(size) for size in contestants], list(medians(taken).values())
        offset, slope, r2 = slope_fit(sizes, middle)
        curves.append(Curve(f"GPT-2: cost by {kind}", kind, sizes, middle, offset, slope))
        shown = " ".join(f"{size:.0f}" for size in sizes), " ".join(f"{second:.2f}" for second in middle)
        rows.append((kind, *shown, f"{slope:.4f}", f"{r2:.4f}"))
        figures[kind] = {"seconds": taken, "offset": offset, "slope": slope, "r2": r2}
        targets.append(Target(f"R² of the straight line by {kind}", r2, 0.99))
    title = "Cost by prompts (6 Gauss points, 8 at once) and by steps (midpoint, one prompt), GPT-2"
    return Section(title, figures, rows, targets=targets, curves=curves)


def gpu(setting: Setting) -> Section:
    """Measure prompts a second by batch size, and say how long the paper's prompts would take."""
    if not (setting.device.startswith("cuda") or setting.tiny):
        raise KneditError("the section gpu needs a CUDA device", f"device {setting.device}", "Choose --device cuda.")
    rows: list[Row] = [("network", "dtype", "rule", "batch", "prompts/s", "facts/s", "paper's prompts, h", "peak GiB")]
    figures = []
    for name in ("bert-base", "llama-1b"):
        for dtype, rule, steps in RACES:
            model = network(name, device=setting.device, dtype=dtype, tiny=setting.tiny)
            for batch in setting.batches:
                queries = queries_for(name, model, batch, tiny=setting.tiny)
                ask = partial(knedit, model, queries, rule=rule, steps=steps, memory=setting.memory, batch=batch)
                rate, taken, most = _rate(ask, batch, setting)
                facts, hours = rate * PAPER_FACTS / PAPER_PROMPTS, PAPER_PROMPTS / rate / 3600
                shown = (f"{rate:.2f}", f"{facts:.3f}", f"{hours:.2f}", f"{most / GIB:.2f}")
                rows.append((name, dtype, rule, str(batch), *shown))
                figures.append(
                    {"network": name, "dtype": dtype, "rule": rule, "batch": batch, "seconds": taken}
                    | {"prompts_per_second": rate, "facts_per_second": facts, "hours": hours, "peak_bytes": most}
                )
    device = torch.cuda.get_device_name() if setting.device.startswith("cuda") else setting.device
    published = f"{PAPER_SECONDS} s a fact on a V100, about {PAPER_FACTS * PAPER_SECONDS / 3600:.0f} GPU-hours in all"
    notes = [f"Published, for BERT-base: {published} ({PAPER_FACTS:,} facts, {PAPER_PROMPTS:,} prompts)."]
    return Section(f"Prompts a second on {device}, 12 tokens", {"device": device, "rows": figures}, rows, notes)


def _rate(ask: Callable[[], Any], batch: int, setting: Setting) -> tuple[float, list[float], int]:
    """Return prompts a second, the seconds of each repeat, and the peak of the GPU's memory beyond the network."""
    ask()
    cuda = setting.device.startswith("cuda")
    before = torch.cuda.memory_allocated() if cuda else 0
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    taken = alternate({"knedit": ask}, setting.repeats)
    most = torch.cuda.max_memory_allocated() - before if cuda else 0
    return batch / medians(taken)["knedit"], taken["knedit"], most

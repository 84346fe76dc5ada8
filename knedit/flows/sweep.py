"""Choose the layers to edit by a sweep: windows of layers are tried on a few facts of the catalog, in memory.

Each fact is given the object of another fact of its relation, alone, and the weights are given back bit for bit. What
came of it is stored with the checkpoint as the experiment `layer-sweep`, trial by trial, so that a killed sweep goes
on; plans of the checkpoint then edit the best window's layers.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from importlib.metadata import version
from statistics import fmean
from typing import TYPE_CHECKING

from knedit.catalog.store import Catalog
from knedit.errors import EditError, ModelError
from knedit.evaluation.cases import Ask, Case, Question, Rewrite
from knedit.experiments import Experiment, ExperimentPart, ExperimentValue
from knedit.flows.sources import choose_source
from knedit.flows.statistics import find_statistics
from knedit.flows.suite_joint import JointSolver
from knedit.flows.suite_state import SuiteRecord
from knedit.flows.suites import Surroundings
from knedit.flows.tally import Standing
from knedit.records import Checkpoint, Fact, Prompt, show_id

if TYPE_CHECKING:
    from knedit.editing.statistics import Statistics
    from knedit.models.layout import Layout
    from knedit.models.model import Model

NAME, CHOICE = "layer-sweep", "choice"
SIBLINGS = 8  # other facts of the relation that a trial is watched on, at most half of them
AROUND = 64  # facts of a relation that a sweep knows
_METRICS = ("argmax", "generated", "paraphrase_argmax", "sibling_argmax_kept", "sibling_kl")

Window = tuple[int, ...]
Progress = Callable[[Standing], None]


@dataclass(frozen=True, slots=True)
class SweepWish:
    """How many facts to try, of these relations (none named: of all), and in which windows (none: the usual ones)."""

    facts: int = 6
    windows: tuple[Window, ...] = ()
    relations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tried:
    """A window's figures, means over its facts; `score` decides, `failed` counts facts that could not be edited."""

    layers: Window
    score: float
    failed: int
    figures: Mapping[str, float]
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Swept:
    """The layers that a sweep chose, and the experiment that tells how."""

    layers: Window
    experiment: Experiment

    @property
    def named(self) -> str:
        return f"sweep {show_id(self.experiment.id)[:8]}"


@dataclass(frozen=True, slots=True)
class _Trial:
    part: str
    layers: Window
    case: Case
    fact: Fact


def usual_windows(n_layers: int, *, at_answer: bool = False) -> tuple[Window, ...]:
    """Return windows of a fifth of the layers, half a window apart, from the bottom up to three quarters.

    Where edits act at the answer, the windows go from the top down to a quarter.
    """
    from knedit.editing.recipe import default_layers

    usual = default_layers(n_layers, at_answer=at_answer)
    width = len(usual)
    low, high = (n_layers // 4, n_layers) if at_answer else (0, max(round(0.75 * n_layers), width))
    steps = range(0, high - low - width + 1, max(width // 2, 1))
    starts = [high - width - step if at_answer else low + step for step in steps]
    every = {tuple(range(first, first + width)) for first in starts} | {usual}
    return tuple(sorted(every))


def score_of(figures: Mapping[str, float]) -> float:
    """Return how good an edit was: the mean of what should be 1, less the nats by which other facts moved.

    That is the new object as argmax of the fact's own wording and of its paraphrases, and other facts' argmax kept;
    what could not be asked is left out.
    """
    shares = [figures[name] for name in ("argmax", "paraphrase_argmax", "sibling_argmax_kept") if name in figures]
    return fmean(shares) - figures.get("sibling_kl", 0.0) if shares else 0.0


def sweep_layers(
    catalog: Catalog,
    checkpoint: Checkpoint,
    load: Callable[[Checkpoint], "Model"],
    wish: SweepWish,
    *,
    progress: Progress = lambda _: None,
) -> tuple[Swept, list[Tried]]:
    """Try the windows, store what came of it, and return the best one with all of them.

    Raises EditError for layers that the model has not, where no relation has two facts with different objects that the
    model can be asked, and where no window holds an edit.
    """
    model = load(checkpoint)
    usual = usual_windows(checkpoint.n_layers, at_answer=model.at_answer)
    windows = wish.windows or tuple(dict.fromkeys(_without_shared(model.layout, window) for window in usual))
    for window in windows:
        _check_window(model, window)
    askable = _askable_facts(catalog, model, wish.relations)
    chosen = _chosen(catalog, model, askable, wish.facts)
    around = Surroundings([case for facts in askable.values() for _, case in facts])
    experiment = _open(catalog, checkpoint, windows, [fact for fact, _ in chosen])
    trials = [
        _Trial(f"{label(window)} {show_id(fact.id)}", window, case, fact) for window in windows for fact, case in chosen
    ]
    done = {one.part for one in catalog.experiment_parts(experiment.id)}
    before = sum(trial.part in done for trial in trials)
    progress(Standing.of(before, len(trials), before, "trials"))
    solver_of = _solvers(catalog, checkpoint, model)
    for number, trial in enumerate([trial for trial in trials if trial.part not in done], 1):
        _store(catalog, experiment, trial, _try(model, trial, around, solver_of))
        progress(Standing.of(before + number, len(trials), before, "trials"))
    tried = _judge(catalog, experiment, trials)
    _keep(catalog, experiment, tried)
    (best,) = (one for one in tried if one.chosen)
    return Swept(best.layers, experiment), tried


def swept_layers(catalog: Catalog, checkpoint: Checkpoint) -> Swept | None:
    """Return what the checkpoint's newest finished sweep chose; None where there was none."""
    for experiment in catalog.experiments(checkpoint.id, name=NAME):
        if experiment.finished_at is not None:
            for one in catalog.experiment_values(experiment.id, series=CHOICE):
                if one.metric == "chosen" and one.value:
                    first, _, last = one.key.partition("-")
                    return Swept(tuple(range(int(first), int(last) + 1)), experiment)
    return None


def label(window: Window) -> str:
    """Return how a window is called: its first and its last layer."""
    return f"{window[0]}-{window[-1]}"


def _without_shared(layout: "Layout", window: Window) -> Window:
    """Return a window up to the first layer whose weights one before it has already, as ALBERT's all have."""
    blocks = [layout.block_of(layer) for layer in window]
    return window[: next((n for n, block in enumerate(blocks) if block in blocks[:n]), len(window))]


def _check_window(model: "Model", window: Window) -> None:
    from knedit.flows.choices import Choices
    from knedit.flows.solving import recipe_of

    recipe_of(model.layout, Choices(layers=window))


Askable = dict[str, list[tuple[Fact, Case]]]


def _askable_facts(catalog: Catalog, model: "Model", relations: Sequence[str]) -> Askable:
    """Return by relation the facts that the model can be asked about, each as a case that changes nothing yet."""
    wanted = [catalog.find_relation(key).key for key in relations] or [one.key for one in catalog.relations()]
    found: Askable = {}
    for key in wanted:
        ranked = sorted(catalog.facts(relation=key), key=lambda one: one.id)
        facts = [fact for fact in ranked if fact.status != "retired"][:AROUND]
        prompts: dict[int, list[Prompt]] = {fact.id: [] for fact in facts}
        for prompt in catalog.prompts(list(prompts), roles=("attribute", "paraphrase")):
            if prompt.status != "retired":
                prompts[prompt.fact_id].append(prompt)
        cases = [(fact, _case(model, key, fact, prompts[fact.id])) for fact in facts]
        found[key] = [(fact, case) for fact, case in cases if case is not None]
    return found


def _case(model: "Model", relation: str, fact: Fact, prompts: Sequence[Prompt]) -> Case | None:
    texts = {
        role: [p.text for p in prompts if p.role == role and _asks(model, p.text, fact.object)]
        for role in ("attribute", "paraphrase")
    }
    own = [text for text in texts["attribute"] if fact.subject in text.partition("{object}")[0]]
    if not own:
        return None
    rewrite = Rewrite(f"{relation}/{fact.subject}", relation, fact.subject, own[0], fact.object, fact.object)
    return Case(rewrite, paraphrases=tuple(texts["paraphrase"]))


def _asks(model: "Model", text: str, answer: str) -> bool:
    from knedit.evaluation.replies import check

    try:
        check(model, [Question(text, (answer,))])
    except ModelError:
        return False
    return True


def _chosen(catalog: Catalog, model: "Model", askable: Askable, count: int) -> list[tuple[Fact, Case]]:
    """Return facts to try, relation by relation in turn, each with another fact's object and siblings to watch."""
    turns = {key: [one for one in facts if one[0].status != "protected"] for key, facts in askable.items()}
    found: list[tuple[Fact, Case]] = []
    for turn in range(max((len(facts) for facts in turns.values()), default=0)):
        for key, facts in turns.items():
            if turn < len(facts) and len(found) < count:
                fact, case = facts[turn]
                if (wished := _wished(model, askable[key], fact, case)) is not None:
                    found.append((fact, wished))
    if not found:
        raise EditError(
            "no relation has two facts with different objects and prompts that the model can be asked",
            catalog.address,
            "Import facts, or name other relations: knedit facts import starter",
        )
    return found


def _wished(model: "Model", facts: Sequence[tuple[Fact, Case]], fact: Fact, case: Case) -> Case | None:
    """Return a fact's case with the object of the next fact that has another one; None where there is none."""
    place = [one.id for one, _ in facts].index(fact.id)
    others = [*facts[place + 1 :], *facts[:place]]
    objects = [one.object for one, _ in others if one.object != fact.object]
    new = next((one for one in objects if _asks(model, case.rewrite.text, one)), None)
    if new is None:
        return None
    watched = others[: min(SIBLINGS, (len(others) + 1) // 2)]
    siblings = tuple(Ask(one.rewrite.text, one.rewrite.true) for _, one in watched)
    return replace(case, rewrite=replace(case.rewrite, new=new), siblings=siblings)


def _open(catalog: Catalog, checkpoint: Checkpoint, windows: Sequence[Window], facts: Sequence[Fact]) -> Experiment:
    config = {
        "windows": [list(window) for window in windows],
        "facts": [show_id(fact.id) for fact in facts],
        "edition": 1,
    }
    own = Experiment.identify(checkpoint.id, NAME, config)
    began = datetime.now(UTC)
    return catalog.open_experiment(Experiment(own, checkpoint.id, None, None, NAME, config, version("knedit"), began))


def _solvers(catalog: Catalog, checkpoint: Checkpoint, model: "Model") -> Callable[[Window], JointSolver]:
    """Return what makes a window's solver; of one window at a time, so that memory holds few statistics."""
    from knedit.editing.recipe import Recipe

    @lru_cache(maxsize=1)
    def find(layers: Window) -> "Statistics":
        source = partial(choose_source, catalog)
        return find_statistics(model, checkpoint.sha256, layers, source, progress=lambda _: None)

    @lru_cache(maxsize=1)
    def solver_of(window: Window) -> JointSolver:
        return JointSolver(Recipe(window), find)

    return solver_of


def _try(
    model: "Model", trial: _Trial, around: Surroundings, solver_of: Callable[[Window], JointSolver]
) -> tuple[SuiteRecord, float]:
    from knedit.flows.suite import Run, run_cases

    began = time.perf_counter()
    ran = run_cases(Run(model, (trial.case,), around, solver_of(trial.layers), ""))
    return ran.records[0], time.perf_counter() - began


def _store(catalog: Catalog, experiment: Experiment, trial: _Trial, result: tuple[SuiteRecord, float]) -> None:
    record, seconds = result
    failed = record.failure is not None
    part = ExperimentPart(
        experiment.id,
        trial.part,
        trial.fact.relation_id,
        trial.fact.id,
        "failed" if failed else "ok",
        record.failure,
        seconds,
        datetime.now(UTC),
    )
    figures = {} if failed else {name: record.after[name] for name in _METRICS if name in record.after}
    values = [
        ExperimentValue(experiment.id, trial.part, "trial", label(trial.layers), name, value)
        for name, value in figures.items()
    ]
    catalog.put_experiment_part(part, values)


def _judge(catalog: Catalog, experiment: Experiment, trials: Sequence[_Trial]) -> list[Tried]:
    """Return every window's figures, the best one chosen; a fact that could not be edited scores nothing."""
    stored: dict[str, dict[str, float]] = {trial.part: {} for trial in trials}
    for one in catalog.experiment_values(experiment.id, series="trial"):
        if one.part in stored and one.value is not None:
            stored[one.part][one.metric] = one.value
    windows = dict.fromkeys(trial.layers for trial in trials)
    tried = [_summed(window, [stored[trial.part] for trial in trials if trial.layers == window]) for window in windows]
    best = max(tried, key=lambda one: one.score)
    if best.figures.get("argmax", 0.0) == 0:
        reasons = sorted({part.reason for part in catalog.experiment_parts(experiment.id) if part.reason})
        raise EditError(
            "no window of layers holds an edit" + "".join(f"; {reason}" for reason in reasons[:3]),
            experiment.name,
            "Try other windows, or other facts: --windows, --relation.",
        )
    return [replace(one, chosen=one is best) for one in tried]


def _summed(window: Window, found: Sequence[Mapping[str, float]]) -> Tried:
    names = [name for name in _METRICS if any(name in one for one in found)]
    figures = {name: fmean(one[name] for one in found if name in one) for name in names}
    score = fmean(score_of(one) if one else 0.0 for one in found)
    return Tried(window, score, sum(not one for one in found), figures)


def _keep(catalog: Catalog, experiment: Experiment, tried: Sequence[Tried]) -> None:
    now = datetime.now(UTC)
    part = ExperimentPart(experiment.id, CHOICE, None, None, "ok", None, 0.0, now)
    values = [
        ExperimentValue(experiment.id, CHOICE, CHOICE, label(one.layers), name, value)
        for one in tried
        for name, value in {"score": one.score, "chosen": float(one.chosen), **one.figures}.items()
    ]
    catalog.put_experiment_part(part, values, replace=True)
    catalog.finish_experiment(experiment.id, now)

"""The report of a suite: read the set, run it, run its controls, and sum up.

Controls take the same solver on as many random neurons of the same layers, and the paper's solver.
"""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from knedit.errors import EditError, FactsError
from knedit.evaluation.cases import Case
from knedit.evaluation.figures import mean_figures
from knedit.flows.suite import Progress, Ran, Run, run_cases
from knedit.flows.suite_registry import find_solver
from knedit.flows.suite_state import State, SuiteRecord
from knedit.flows.suite_taking import Taking, known_others, take
from knedit.flows.suites import Surroundings, read_suite
from knedit.starter.held_out import held_out_text, text_name

if TYPE_CHECKING:
    from knedit.models.model import Model

logger = logging.getLogger(__name__)

DEFAULT = "closed-form"
PAPER = {"update": "embedding", "erase": "zero"}


@dataclass(frozen=True, slots=True)
class SuiteWish:
    """What to run: `limit` records of a file from `offset` on, how, and how closely to look.

    With `relations` only theirs are taken, with `known_only` those whose true object the model says.
    `thorough` and `controls` count records, evenly spread over these, that get the dear measures and the controls.
    `text` is a file to take perplexity over, instead of the one that comes with knedit.
    """

    suite: str
    file: Path
    limit: int | None = None
    offset: int = 0
    solver: str = DEFAULT
    columns: int | None = None
    mode: str = "single"
    plan_size: int = 10
    thorough: int = 5
    controls: int = 5
    seed: int = 0
    text: Path | None = None
    relations: tuple[str, ...] = ()
    known_only: bool = False


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """Means over all records that could be measured, every record, how it was run, and the controls' means."""

    summary: Mapping[str, Any]
    records: tuple[SuiteRecord, ...]
    configuration: Mapping[str, Any]
    controls: Mapping[str, Any]


def evaluate_suite(
    model: "Model",
    wish: SuiteWish,
    *,
    checkpoint: str,
    state: Path | None = None,
    progress: Progress = lambda _: None,
) -> SuiteReport:
    """Run a suite and return its report; `checkpoint` is how the model is named in it.

    With `state`, single edits that are finished are kept in a file, and the same call goes on behind them. Raises
    FactsError for a file that is no suite's, EditError for an unknown solver, mode or a state of another run.
    """
    chosen = find_solver(wish.solver)
    if state is not None and wish.mode != "single":
        raise EditError("a plan is measured as a whole", "--state", "Leave --state out, or run single edits.")
    every = read_suite(wish.suite, wish.file)
    text = _text(wish)
    alone = wish.mode == "single"
    taking = Taking(wish.limit, wish.offset, wish.relations, wish.known_only, chosen.erases)
    taken, unknown = take(model, every, taking, alone=alone, where=str(wish.file))
    cases = tuple(taken)
    configuration = _configuration(model, wish, checkpoint, text)
    kept = State(state, configuration)
    began = time.perf_counter()
    run = Run(
        model,
        cases,
        Surroundings(every),
        chosen.make(model, 1 if alone else len(cases)),
        text,
        mode=wish.mode,
        plan_size=wish.plan_size,
        columns=wish.columns,
        thorough=frozenset(_spread(cases, wish.thorough)),
        others=known_others(model, every, cases, seed=wish.seed) if wish.relations and not alone else (),
        seed=wish.seed,
        progress=progress,
    )
    prepared = time.perf_counter() - began
    ran = run_cases(run, kept)
    summary = summarise_suite(ran) | {"not_known": unknown, "seconds_of_preparation": prepared}
    return SuiteReport(summary, ran.records, configuration, _controls(run, ran, wish))


def _text(wish: SuiteWish) -> str:
    if wish.text is None:
        return held_out_text()
    try:
        return wish.text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FactsError(f"the held-out text cannot be read: {error}", str(wish.text), "Name a text file.") from None


def _configuration(model: "Model", wish: SuiteWish, checkpoint: str, text: str) -> dict[str, Any]:
    return {
        "knedit": version("knedit"),
        "checkpoint": checkpoint,
        "family": model.layout.model_type,
        "precision": model.precision,
        "suite": wish.suite,
        "file": wish.file.name,
        "file_sha256": hashlib.sha256(wish.file.read_bytes()).hexdigest(),
        "offset": wish.offset,
        "limit": wish.limit,
        "relations": list(wish.relations),
        "known_only": wish.known_only,
        "operation": _operation(wish),
        "solver": wish.solver,
        "columns": wish.columns,
        "mode": wish.mode,
        "plan_size": wish.plan_size if wish.mode == "sequence" else None,
        "thorough": wish.thorough,
        "seed": wish.seed,
        "text": text_name(text),
    }


def _operation(wish: SuiteWish) -> str:
    return "erase" if find_solver(wish.solver).erases else "update"


def _spread(cases: Sequence[Case], count: int) -> list[str]:
    """Return the keys of `count` cases, evenly over all of them."""
    keys = [case.rewrite.key for case in cases]
    count = min(count, len(keys))
    return [keys[number * len(keys) // count] for number in range(count)]


def _controls(run: Run, ran: Ran, wish: SuiteWish) -> dict[str, Any]:
    """Return the means of the controls, and of the run itself on the records of which they are."""
    keys = set(_spread(run.cases, wish.controls))
    if not keys:
        return {}
    cases = tuple(case for case in run.cases if case.rewrite.key in keys)
    logger.info("Running the controls on %d records", len(cases))
    small = replace(run, cases=cases, thorough=frozenset(), others=(), progress=lambda _: None)
    whole = run.mode == "single" or len(cases) == len(run.cases)
    own = Ran(tuple(one for one in ran.records if one.key in keys), {}) if whole else run_cases(small)
    found = {"edited": own, "random": run_cases(replace(small, random=run.seed + 1))}
    name = PAPER[_operation(wish)]
    if wish.solver != name:
        paper = find_solver(name).make(run.model, 1)
        found[name] = run_cases(replace(small, solver=paper, columns=None))
    return {"records": len(cases)} | {name: summarise_suite(one) for name, one in found.items()}


def summarise_suite(ran: Ran) -> dict[str, Any]:
    """Return the means over the records that were measured, failures and all.

    `columns` is the largest number of value vectors that one solve changed in one layer, `columns_total` the mean over
    all layers. `perplexity_…` of single edits is over the text's first 512 tokens. `seconds_per_edit` is the time to
    solve an edit, without measuring it, and `seconds_of` its parts.
    """
    records = ran.records
    measured = [record for record in records if record.before]
    before = mean_figures(record.before for record in measured)
    after = mean_figures(record.after for record in measured)
    if "perplexity" in after:
        after["perplexity_after"] = after.pop("perplexity")
    seconds = _seconds(records)
    solved = [record.columns for record in records if record.columns]
    return {
        "records": len(records),
        "measured": len(measured),
        "failed": sum(record.failure is not None for record in records),
        **after,
        **{f"{name}_before": value for name, value in before.items()},
        "columns": max((count for one in solved for count in one.values()), default=0),
        "columns_total": fmean(sum(one.values()) for one in solved) if solved else 0.0,
        "layers": sorted({int(layer) for one in solved for layer in one}),
        "seconds_per_edit": seconds.pop("edit", None),
        "seconds_of": seconds,
        "rounded": _rounded_means(records),
        **ran.whole,
    }


def failure_counts(records: Sequence[SuiteRecord]) -> Counter[str]:
    """Return how often each reason stands in the way of an edit."""
    return Counter(record.failure for record in records if record.failure is not None)


def _seconds(records: Sequence[SuiteRecord]) -> dict[str, float]:
    """Return each part of the time that an edit takes, as a mean over the records that a solver was asked for."""
    names = dict.fromkeys(name for record in records for name in record.seconds)
    return {name: fmean(one.seconds[name] for one in records if name in one.seconds) for name in names}


def _rounded_means(records: Sequence[SuiteRecord]) -> dict[str, Any]:
    names = dict.fromkeys(name for record in records for name in record.rounded)
    found = {}
    for name in names:
        some = [record.rounded[name] for record in records if name in record.rounded]
        was, now = (mean_figures(one[side] for one in some) for side in ("before", "after"))
        found[name] = {"records": len(some), **now, **{f"{key}_before": value for key, value in was.items()}}
    return found

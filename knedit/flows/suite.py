"""Run a published set of rewrites end to end on a model in memory: edit, measure, give the weights back bit for bit.

Single: each record alone, base first. Plan: all records in one solve. Sequence: plans of some records one after the
other, each on what the last left. In both of these only the final weights are measured.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from knedit.editing.apply import edited, lent
from knedit.errors import EditError, ModelError
from knedit.evaluation.cases import Case, questions
from knedit.evaluation.figures import Figures, figures
from knedit.evaluation.look import Look, ask_cases, look, moved
from knedit.evaluation.perplexity import perplexity
from knedit.evaluation.replies import check
from knedit.evaluation.rounding import ROUNDINGS, rounded
from knedit.flows.suite_erasing import Priors, prior_questions, priors_of, with_erasure
from knedit.flows.suite_solvers import SuiteContext, SuiteSolver
from knedit.flows.suite_solving import Solution, solve_cases
from knedit.flows.suite_state import State, SuiteRecord
from knedit.flows.suite_taking import count_right
from knedit.flows.suites import Surroundings
from knedit.flows.tally import Standing
from knedit.memory import give_back

if TYPE_CHECKING:
    from knedit.models.model import Model

QUICK_TOKENS = 512  # of the held-out text, for the perplexity after a single edit
LOOKS = 32  # cases, after which freed memory is given back: over 500 it came to half a gigabyte

Progress = Callable[[Standing], None]


@dataclass(frozen=True, slots=True)
class Run:
    """What a run goes over and by: the cases to edit, the whole set around them, the solver.

    `thorough` are the keys of the records that get the dear measures too; `text` is held out, for perplexity. `others`
    are records of other relations, known to the model, that plans are watched on.
    """

    model: "Model"
    cases: tuple[Case, ...]
    surroundings: Surroundings
    solver: SuiteSolver
    text: str
    mode: str = "single"
    plan_size: int = 10
    columns: int | None = None
    random: int | None = None
    thorough: frozenset[str] = frozenset()
    others: tuple[Case, ...] = ()
    seed: int = 0
    progress: Progress = lambda _: None

    def context(self, edited_cases: Collection[Case], earlier: Sequence[Case] = ()) -> SuiteContext:
        """Return what the solver may know in a plan of some cases."""
        known = cache(lambda relation: self.surroundings.known(relation, edited_cases))
        return SuiteContext(known, tuple(case.rewrite for case in earlier), self.columns, self.random)

    @property
    def causal(self) -> bool:
        return not (self.model.masked or self.model.encoder_decoder)


@dataclass(frozen=True, slots=True)
class Ran:
    """A run's records in the cases' order, and figures of the whole: perplexities, and columns changed at the end."""

    records: tuple[SuiteRecord, ...]
    whole: Mapping[str, Any]


def run_cases(run: Run, state: State | None = None) -> Ran:
    """Edit and measure a run's cases; those that `state` holds are taken from it."""
    if run.mode not in MODES:
        raise EditError(f"there is no mode {run.mode!r}", "--mode", f"Choose one of {', '.join(MODES)}.")
    return MODES[run.mode](run, state or State(None, {}))


def _single(run: Run, state: State) -> Ran:
    waiting = [case for case in run.cases if case.rewrite.key not in state.done]
    tally = _Tally(run, [case for case in run.cases if case.rewrite.key in state.done])
    able, unable = _askable(run, waiting)
    was_rounded = _rounded(run, able)
    words = perplexity(run.model, run.text, limit=QUICK_TOKENS) if run.causal and run.thorough else None
    for case in waiting:
        key = case.rewrite.key
        record = unable[key] if key in unable else _alone(run, case, was_rounded.get(key, {}), words)
        state.add(record)
        tally.add(case)
    return Ran(tuple(state.done[case.rewrite.key] for case in run.cases), {})


def _alone(run: Run, case: Case, was_rounded: Mapping[str, Figures], words: float | None) -> SuiteRecord:
    """Edit one case, measure it, and give the weights back."""
    priors = priors_of(run.model, [case])
    (before,) = _looks(run, [case], priors)
    solution = solve_cases(run.model, run.solver, [case], run.context([case]))
    with edited(run.model, solution.changes):
        (after,) = _looks(run, [case], priors)
        now_rounded = _rounded(run, [case]).get(case.rewrite.key, {})
        record = _record(run, case, before, after, solution)
        if words is not None and case.rewrite.key in run.thorough:
            now = perplexity(run.model, run.text, limit=QUICK_TOKENS)
            record = replace(
                record,
                before={**record.before, "perplexity": words},
                after={**record.after, "perplexity": now},
            )
    return replace(record, rounded=_paired(was_rounded, now_rounded))


def _together(run: Run, _: State) -> Ran:
    return _planned(run, len(run.cases))


def _in_turn(run: Run, _: State) -> Ran:
    return _planned(run, run.plan_size)


MODES: Mapping[str, Callable[[Run, State], Ran]] = {"single": _single, "plan": _together, "sequence": _in_turn}


def _planned(run: Run, size: int) -> Ran:
    """Solve plans of `size` cases one after the other, then measure every case on the final weights."""
    able, unable = _askable(run, run.cases)
    tally = _Tally(run, [])
    priors = priors_of(run.model, able)
    before = _looks(run, able, priors)
    was_rounded = _rounded(run, able)
    whole: dict[str, Any] = {"others_known": len(run.others)} if run.others else {}
    if run.causal:
        whole["perplexity_before"] = perplexity(run.model, run.text)
    solutions: list[Solution] = []
    with lent(run.model) as put:
        for first in range(0, len(able), size):
            plan = able[first : first + size]
            context = replace(run.context(able, able[:first]), searched=tally.tell)
            solution = solve_cases(run.model, run.solver, plan, context)
            put(solution.changes)
            solution = replace(solution, changes=())  # all plans' vectors, or a large one's, would fill the memory
            solutions += [solution] * len(plan)
            tally.add(*plan)
        give_back()
        after = _looks(run, able, priors)
        now_rounded = _rounded(run, able)
        if run.others:
            whole["others_kept"] = count_right(run.model, run.others) / len(run.others)
        if run.causal:
            whole["perplexity_after"] = perplexity(run.model, run.text)
    records = dict(unable)
    for case, was, now, solution in zip(able, before, after, solutions, strict=True):
        key = case.rewrite.key
        both = _paired(was_rounded.get(key, {}), now_rounded.get(key, {}))
        records[key] = replace(_record(run, case, was, now, solution), rounded=both)
    return Ran(tuple(records[case.rewrite.key] for case in run.cases), whole | _final_columns(solutions))


def _looks(run: Run, cases: Sequence[Case], priors: Sequence[Priors]) -> list[Look]:
    """Look at cases as the weights stand; erasures are held against their bounds."""
    found: list[Look] = []
    for first in range(0, len(cases), LOOKS):
        found += look(run.model, cases[first : first + LOOKS], thorough=run.thorough, seed=run.seed)
        give_back()
    return [with_erasure(case, one, prior) for case, one, prior in zip(cases, found, priors, strict=True)]


def _askable(run: Run, cases: Sequence[Case]) -> tuple[list[Case], dict[str, SuiteRecord]]:
    """Part the cases that the model can be asked from those that it cannot, which are records with a failure."""
    able, unable = [], {}
    for case in cases:
        asked = questions(case, thorough=case.rewrite.key in run.thorough)
        try:
            check(run.model, [one for some in (*asked.values(), *prior_questions(case).values()) for one in some])
        except ModelError as error:
            unable[case.rewrite.key] = replace(_bare(case), failure=f"cannot be asked: {error.what} ({error.where})")
        else:
            able.append(case)
    return able, unable


def _rounded(run: Run, cases: Sequence[Case]) -> dict[str, dict[str, Figures]]:
    """Return the figures of the thorough cases after each rounding of the present weights: key → rounding → figures."""
    some = [case for case in cases if case.rewrite.key in run.thorough]
    found: dict[str, dict[str, Figures]] = {case.rewrite.key: {} for case in some}
    for name in ROUNDINGS if some else ():
        with rounded(run.model, name):
            for case in some:
                (replies,) = ask_cases(run.model, [case])
                found[case.rewrite.key][name] = figures(replies)
    return found


def _paired(was: Mapping[str, Figures], now: Mapping[str, Figures]) -> dict[str, dict[str, Figures]]:
    return {name: {"before": was[name], "after": now[name]} for name in was}


def _bare(case: Case) -> SuiteRecord:
    one = case.rewrite
    return SuiteRecord(one.key, one.relation, one.subject, one.text, one.true, one.new)


def _record(run: Run, case: Case, before: Look, after: Look, solution: Solution) -> SuiteRecord:
    key = case.rewrite.key
    asked = questions(case, thorough=key in run.thorough)
    return replace(
        _bare(case),
        failure=solution.failures.get(key),
        columns={str(layer): len(indices) for layer, indices in solution.columns.items()},
        seconds=solution.seconds,
        before=before.figures,
        after=moved(run.model, before, after),
        texts={text: {"before": said, "after": after.texts[text]} for text, said in before.texts.items()},
        prompts={group: [one.text for one in some] for group, some in asked.items()},
    )


def _final_columns(solutions: Sequence[Solution]) -> dict[str, Any]:
    """Return how many value vectors of each layer the final weights hold changed, all plans together."""
    columns: dict[int, set[int]] = {}
    for solution in solutions:
        for layer, indices in solution.columns.items():
            columns.setdefault(layer, set()).update(indices)
    return {"columns_in_all": {str(layer): len(indices) for layer, indices in sorted(columns.items())}}


class _Tally:
    """Tells how far a run is: records as facts, and their prompts."""

    def __init__(self, run: Run, done: Sequence[Case]) -> None:
        self._prompts = {case.rewrite.key: _prompts(case) for case in run.cases}
        self._progress = run.progress
        self._done = {case.rewrite.key for case in done}
        self._before = sum(self._prompts[key] for key in self._done)
        self._tell()

    def add(self, *cases: Case) -> None:
        self.tell([case.rewrite.key for case in cases])

    def tell(self, keys: Collection[str]) -> None:
        """Count records by their keys, each once."""
        self._done.update(keys)
        self._tell()

    def _tell(self) -> None:
        total = sum(self._prompts.values())
        prompts = sum(self._prompts[key] for key in self._done)
        self._progress(Standing(len(self._done), len(self._prompts), prompts, total, prompts - self._before))


def _prompts(case: Case) -> int:
    return sum(len(some) for some in questions(case).values())

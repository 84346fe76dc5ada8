"""Solve a plan of cases by a suite's solver: refuse what cannot be, check what comes back, take the time.

A failure is told by the record's key, and leaves the others of its plan standing where the solver can do without it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from knedit.errors import KneditError
from knedit.evaluation.cases import Case
from knedit.flows.suite_solvers import SolvedRewrites, SuiteContext, SuiteSolver
from knedit.flows.suites import refusal

if TYPE_CHECKING:
    from knedit.editing.solve import ValueChange
    from knedit.models.model import Model


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Changes to lend the model, failures by key, changed indices by layer, and seconds a record by part.

    `seconds["edit"]` is the whole; the other parts are those that the solver tells.
    """

    changes: "Sequence[ValueChange]" = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[int, frozenset[int]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


def solve_cases(model: "Model", solver: SuiteSolver, cases: Sequence[Case], context: SuiteContext) -> Solution:
    """Return the solution of one plan, with the model untouched."""
    failures = {case.rewrite.key: reason for case in cases if (reason := refusal(case.rewrite))}
    able = [case.rewrite for case in cases if case.rewrite.key not in failures]
    if not able:
        return Solution(failures=failures)
    began = time.perf_counter()
    try:
        solved = solver(model, able, context)
    except KneditError as error:
        solved = SolvedRewrites((), {rewrite.key: f"{error.what} ({error.where})" for rewrite in able})
    whole = time.perf_counter() - began
    failures |= solved.failures
    left = [rewrite.key for rewrite in able if rewrite.key not in failures]
    changes, columns = solved.changes, _columns(solved.changes)
    wrong = _complaint(changes, columns) if left else None
    if wrong:
        failures |= dict.fromkeys(left, wrong)
        changes, columns = (), {}
    seconds = {"edit": whole, **solved.seconds}
    return Solution(changes, failures, columns, {name: value / len(able) for name, value in seconds.items()})


def _complaint(changes: "Sequence[ValueChange]", columns: Mapping[int, frozenset[int]]) -> str | None:
    """Return what is wrong with a solver's changes, None where nothing is."""
    if not all(bool(change.new.isfinite().all()) for change in changes):
        return "the solver's value vectors are not finite"
    return None if columns else "the solver changed nothing"


def _columns(changes: "Sequence[ValueChange]") -> dict[int, frozenset[int]]:
    """Return the indices whose value vectors really change, by layer."""
    found: dict[int, set[int]] = {}
    for change in changes:
        own = {index for index, other in zip(change.indices, change.differs.tolist(), strict=True) if other}
        found.setdefault(change.layer, set()).update(own)
    return {layer: frozenset(indices) for layer, indices in found.items() if indices}

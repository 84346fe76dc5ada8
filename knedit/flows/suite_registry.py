"""The solvers that a suite can be run with, by the names that command line and report know them by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from knedit.errors import EditError
from knedit.flows.suite_joint import closed_form, optimised
from knedit.flows.suite_solvers import SuiteSolver, embedding, zero

if TYPE_CHECKING:
    from knedit.models.model import Model


@dataclass(frozen=True, slots=True)
class SuiteChoice:
    """A solver of the registry: `make` prepares it for a model, whose weights will hold so many facts' edits at once.

    `summary` says in a few words what it does; `erases` tells that records' true objects are forgotten, where other
    solvers give them their new ones.
    """

    make: "Callable[[Model, int], SuiteSolver]"
    summary: str
    erases: bool = False


SUITE_SOLVERS: Mapping[str, SuiteChoice] = {
    "closed-form": SuiteChoice(closed_form, "columns chosen by the facts' keys, solved with statistics in view"),
    "optimised": SuiteChoice(optimised, "the same, trained on by gradient with other facts' prompts in view"),
    "prior": SuiteChoice(
        closed_form, "true objects forgotten, down to what the model says without the subject", erases=True
    ),
    "embedding": SuiteChoice(embedding, "the paper's: output embeddings into neurons ranked by attribution"),
    "zero": SuiteChoice(zero, "the paper's erasure: zeros into neurons ranked by attribution", erases=True),
}


def find_solver(name: str) -> SuiteChoice:
    """Return the solver of this name; raise EditError where there is none."""
    if name not in SUITE_SOLVERS:
        raise EditError(f"there is no solver {name!r} for suites", "--solver", f"Choose {', '.join(SUITE_SOLVERS)}.")
    return SUITE_SOLVERS[name]

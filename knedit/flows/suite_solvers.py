"""What a suite hands a solver and is handed back, and the paper's solvers: rewrites in, changed value vectors out.

A solver is made once for a run, so that what it needs of the model, such as statistics, is made once; it is then called
for every plan, of one rewrite or of many. It learns no prompt by which its edits are judged.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from knedit.editing.solve import solve
from knedit.editing.steps import Neuron, Step
from knedit.errors import EditError, KneditError
from knedit.evaluation.cases import Rewrite
from knedit.flows.suites import KnownFact
from knedit.models.prompting import encode_prompt
from knedit.records import Prompt

if TYPE_CHECKING:
    from knedit.editing.solve import ValueChange
    from knedit.models.model import Model

PAPER_NEURONS = 5


@dataclass(frozen=True, slots=True)
class SuiteContext:
    """What a solver may know beside its rewrites.

    `known` gives a relation's other facts, none of a subject that is edited or judged; `earlier` are the rewrites that
    the weights already hold. `columns` limits the value vectors changed in a layer (None: the solver's own choice).
    With `random`, a seed, a solver takes as many neurons of the same layers by chance: the control. `searched` hears
    the keys of rewrites whose search is over, where a plan takes long.
    """

    known: Callable[[str], Sequence[KnownFact]]
    earlier: tuple[Rewrite, ...] = ()
    columns: int | None = None
    random: int | None = None
    searched: Callable[[Collection[str]], None] = lambda _: None


@dataclass(frozen=True, slots=True, eq=False)
class SolvedRewrites:
    """What a solver gives: changes against the weights as they stand; why rewrites, by key, are not among them.

    `seconds` tells the time of its parts by name; that of v* is named `target`.
    """

    changes: "Sequence[ValueChange]"
    failures: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


SuiteSolver = Callable[["Model", Sequence[Rewrite], SuiteContext], SolvedRewrites]


def embedding(_: "Model", __: int = 1) -> SuiteSolver:
    """Return the paper's solver: the neurons that attribution at the answer's position ranks first, 5 a rewrite.

    One wording is attributed, for more are not to be known: hubs are not told apart, as refinement would. With
    `columns`, so many neurons a rewrite, over all layers.
    """
    return partial(_solve_ranked, name="embedding")


def zero(_: "Model", __: int = 1) -> SuiteSolver:
    """Return the paper's way to forget: zeros into the neurons that attribution ranks first, 5 a rewrite."""
    return partial(_solve_ranked, name="zero")


def _solve_ranked(model: "Model", rewrites: Sequence[Rewrite], context: SuiteContext, *, name: str) -> SolvedRewrites:
    began = time.perf_counter()
    failures: dict[str, str] = {}
    steps: list[Step] = []
    for rewrite in rewrites:
        try:
            neurons = _ranked(model, rewrite, context.columns or PAPER_NEURONS)
        except KneditError as error:
            failures[rewrite.key] = error.what
            continue
        if context.random is not None:
            neurons = random_neurons(neurons, model.layout.ffn_width, f"{context.random} {rewrite.key}")
        operation, new = ("erase", None) if rewrite.erase else ("update", rewrite.new)
        steps.append(Step(operation, rewrite.key, neurons, rewrite.true, new))
    chosen = time.perf_counter()
    changes: Sequence[ValueChange] = ()
    while steps and not changes:
        try:
            changes = solve(model, steps, {"update": name, "erase": name})
        except EditError as error:
            left = [step for step in steps if step.target != error.where]
            failures |= {step.target: error.what for step in steps if step not in left or len(left) == len(steps)}
            steps = left if len(left) < len(steps) else []
    seconds = {"choose": chosen - began, "target": 0.0, "solve": time.perf_counter() - chosen}
    return SolvedRewrites(changes, failures, seconds)


def _ranked(model: "Model", rewrite: Rewrite, count: int) -> tuple[Neuron, ...]:
    """Return the neurons with the largest scores for the true object, by falling score."""
    from knedit.attribution.attribute_prompt import attribute_queries
    from knedit.attribution.method import Method

    query = encode_prompt(model, Prompt(0, 0, "attribute", rewrite.text, rewrite.true))
    (found,) = attribute_queries(model, [query], Method())
    best = found.scores.flatten().topk(count).indices.tolist()
    return tuple(divmod(int(place), found.scores.shape[1]) for place in best)


def random_neurons(neurons: Sequence[Neuron], width: int, seed: str) -> tuple[Neuron, ...]:
    """Return as many other neurons of each layer, by chance; of its own ones only where the others do not do."""
    chance = Random(seed)  # noqa: S311
    found: list[Neuron] = []
    for layer in dict.fromkeys(layer for layer, _ in neurons):
        own = {index for place, index in neurons if place == layer}
        others = [index for index in range(width) if index not in own]
        picked = chance.sample(others, min(len(own), len(others)))
        found += [(layer, index) for index in picked + chance.sample(sorted(own), len(own) - len(picked))]
    return tuple(found)

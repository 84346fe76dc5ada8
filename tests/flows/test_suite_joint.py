"""The suites' solver that chooses its own columns, on a tiny model."""

from pathlib import Path

import pytest

from knedit.evaluation.cases import Rewrite
from knedit.flows import suite_joint
from knedit.flows.suite_joint import JointSolver, closed_form, optimised
from knedit.flows.suite_registry import SUITE_SOLVERS
from knedit.flows.suite_solvers import SuiteContext
from knedit.flows.suites import KnownFact
from knedit.models.loading import load_model
from knedit.models.model import Model
from tests.flows.making import save_model

KNOWN = [KnownFact(subject, f"people of {subject} {{object}}", "Rome") for subject in ("Japan", "Spain", "Italy")]
FRANCE = Rewrite("1", "capital", "France", "the capital {} {{object}}".format("France"), "Paris", "Rome")
KENYA = Rewrite("2", "capital", "Kenya", "the capital {} {{object}}".format("Kenya"), "Nairobi", "Oslo")
ATLANTIS = Rewrite("3", "capital", "Norway", "the capital {} {{object}}".format("Norway"), "Oslo", "Atlantis")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setenv("KNEDIT_CACHE", str(tmp_path / "cache"))
    return load_model(save_model("gpt2", tmp_path / "base"), device="cpu")


def context(**more: object) -> SuiteContext:
    return SuiteContext(lambda _: KNOWN, **more)  # type: ignore[arg-type]


def columns(solver: JointSolver, model: Model, given: SuiteContext) -> list[set[int]]:
    return [set(change.indices) for change in solver(model, [FRANCE, KENYA], given).changes]


def test_a_plan_of_rewrites_is_solved_and_what_cannot_be_is_named(model: Model) -> None:
    assert SUITE_SOLVERS["closed-form"].make is closed_form
    solved = closed_form(model)(model, [FRANCE, ATLANTIS, KENYA], context(columns=6))
    assert list(solved.failures) == ["3"]
    assert "Atlantis" in solved.failures["3"]
    assert [len(change.indices) <= 12 for change in solved.changes] == [True]
    assert set(solved.seconds) == {"choose", "target", "solve"}


def test_what_many_facts_need_is_counted_before_the_first_edit(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    monkeypatch.setattr(suite_joint, "find_statistics", lambda _, __, layers, *___, **____: asked.append(layers))
    few, many = (closed_form(model, n).recipe.for_facts(model.layout.n_layers, n).layers for n in (1, 500))
    assert len(many) > len(few)
    assert asked == [few, many]


def test_the_control_takes_as_many_columns_by_chance(model: Model) -> None:
    solver = closed_form(model)
    own, again = (columns(solver, model, context(columns=6)) for _ in range(2))
    chance, other = (columns(solver, model, context(columns=6, random=seed)) for seed in (1, 2))
    assert own == again
    assert len({tuple(map(frozenset, one)) for one in (own, chance, other)}) == 3
    every = columns(solver, model, context(columns=0))
    assert every == [set(range(model.layout.ffn_width))] * len(own)


def test_earlier_rewrites_change_what_is_solved(model: Model) -> None:
    solver = closed_form(model)
    alone = solver(model, [FRANCE], context(columns=6)).changes
    after = solver(model, [FRANCE], context(columns=6, earlier=(KENYA,))).changes
    assert [one.new.tolist() for one in alone] != [one.new.tolist() for one in after]


def test_the_optimised_solver_goes_on_from_the_closed_form_on_its_columns(model: Model) -> None:
    given = context(columns=6)
    assert SUITE_SOLVERS["optimised"].make is optimised
    solved = closed_form(model)(model, [FRANCE, KENYA], given)
    trained = optimised(model)(model, [FRANCE, KENYA], given)
    assert set(trained.seconds) == {"choose", "target", "solve", "train"}
    assert [one.indices for one in trained.changes] == [one.indices for one in solved.changes]
    assert [one.new.tolist() for one in trained.changes] != [one.new.tolist() for one in solved.changes]
    assert all(bool(one.new.isfinite().all()) for one in trained.changes)

"""Whole runs of a suite on a tiny model: modes, failures, controls, going on, and weights that are given back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from knedit.editing.solve import ValueChange
from knedit.errors import EditError
from knedit.evaluation.cases import Case, Rewrite
from knedit.evaluation.look import look
from knedit.flows import suite
from knedit.flows.suite import Run, run_cases
from knedit.flows.suite_report import SuiteWish, evaluate_suite, summarise_suite
from knedit.flows.suite_solvers import SolvedRewrites, SuiteContext, embedding, random_neurons
from knedit.flows.suite_state import State
from knedit.flows.suites import Surroundings, read_suite
from knedit.models.model import Model, wrap_model
from tests.flows.rewriting import RECORDS, record, write_records
from tests.tiny_models import network, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def model() -> Model:
    return wrap_model(network("llama"), tokenizer(masked=False))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_records(tmp_path / "set.jsonl")


def towards(model: Model, rewrites: Sequence[Rewrite], context: SuiteContext) -> SolvedRewrites:
    """A solver that lets two neurons of layer 1, each rewrite its own, speak of the new objects."""
    known = {one.subject for rewrite in rewrites for one in context.known(rewrite.relation)}
    assert not known & {rewrite.subject for rewrite in rewrites}
    start = 2 * len(context.earlier)
    indices = tuple(range(start, start + 2 * len(rewrites)))
    old = model.value_vectors(1, indices).double()
    tokens = [model.tokenizer(rewrite.new)["input_ids"][0] for rewrite in rewrites for _ in range(2)]
    new = old + torch.stack([model.output_embedding(token).double() for token in tokens])
    return SolvedRewrites([ValueChange(1, indices, old, new)], seconds={"target": 0.5 * len(rewrites)})


def run_of(model: Model, file: Path, **more: Any) -> Run:
    cases = read_suite("counterfact", file)
    return Run(model, tuple(cases), Surroundings(cases), more.pop("solver", towards), "the city is big and old", **more)


def weights_of(model: Model) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in model.net.state_dict().items()}


def looked(model: Model, case: Case, changes: Sequence[ValueChange] = ()) -> dict[str, float]:
    saved = [(change, model.value_vectors(change.layer, change.indices)) for change in changes]
    for change in changes:
        model.put_value_vectors(change.layer, change.indices, change.new)
    (found,) = look(model, [case])
    for change, values in saved:
        model.put_value_vectors(change.layer, change.indices, values)
    return found.figures


@pytest.mark.parametrize("mode", ["single", "plan", "sequence"])
def test_the_weights_are_given_back_bit_for_bit(model: Model, file: Path, mode: str) -> None:
    before = weights_of(model)
    ran = run_cases(run_of(model, file, mode=mode, plan_size=3, thorough=frozenset("12")))
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.net.state_dict().items())
    assert [one.key for one in ran.records] == ["0", "1", "2", "3"]
    assert all(one.before and one.after and one.failure is None for one in ran.records)
    assert [one.key for one in ran.records if one.rounded] == ["1", "2"]
    assert all(list(one.rounded) == ["bfloat16", "8-bit", "4-bit"] for one in ran.records[1:3])


def test_single_edits_are_measured_each_alone(model: Model, file: Path) -> None:
    run = run_of(model, file)
    ran = run_cases(run)
    for case, one in zip(run.cases, ran.records, strict=True):
        changes = towards(model, [case.rewrite], run.context([case])).changes
        assert one.before == pytest.approx(looked(model, case), rel=1e-4)
        after = looked(model, case, changes)
        assert {name: one.after[name] for name in after} == pytest.approx(after, rel=1e-4)
        assert one.columns == {"1": 2}
        assert one.seconds["target"] == 0.5
    assert ran.records[0].after["em"] != ran.records[0].before["em"]


@pytest.mark.parametrize("at_once", [suite.LOOKS, 3])
def test_a_sequence_measures_the_final_weights_with_each_plan_on_the_last(
    model: Model, file: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "LOOKS", at_once)
    run = run_of(model, file, mode="sequence", plan_size=3)
    ran = run_cases(run)
    (whole,) = towards(model, [case.rewrite for case in run.cases], SuiteContext(lambda _: [])).changes
    for case, one in zip(run.cases, ran.records, strict=True):
        after = looked(model, case, [whole])
        assert {name: one.after[name] for name in after} == pytest.approx(after, rel=1e-4)
    assert [one.columns for one in ran.records] == [{"1": 6}] * 3 + [{"1": 2}]
    assert ran.whole["columns_in_all"] == {"1": 8}
    assert ran.whole["perplexity_before"] != ran.whole["perplexity_after"]
    together = run_cases(run_of(model, file, mode="plan"))
    assert [dict(one.after) for one in together.records] == [
        pytest.approx(dict(one.after), rel=1e-4) for one in ran.records
    ]


def test_what_cannot_be_edited_is_named_and_measured_as_the_model_stands(model: Model, tmp_path: Path) -> None:
    records = [
        RECORDS[0],
        record(5, "Japan", "Tokyo", "Tokyo"),
        record(6, "Italy", "Rome", "big city"),
        record(7, "Spain", "Madrid", "Atlantis"),
    ]
    file = write_records(tmp_path / "set.jsonl", records)
    for mode in ("single", "plan"):
        ran = run_cases(run_of(model, file, mode=mode, solver=embedding(model)))
        assert [one.failure for one in ran.records] == [
            None,
            "the new object 'Tokyo' is the present one",
            "the new answer 'big city' is 2 tokens, and the solver embedding needs one",
            "cannot be asked: the answer 'Atlantis' is not in the model's vocabulary (a model in memory)",
        ]
        assert ran.records[3].before == {}
        if mode == "single":
            same = {name: value for name, value in ran.records[2].after.items() if name in ran.records[2].before}
            assert same == pytest.approx(dict(ran.records[2].before))
        summary = summarise_suite(ran)
        assert (summary["records"], summary["measured"], summary["failed"]) == (4, 3, 3)


def test_a_solver_that_fails_or_changes_nothing_is_told_of_every_record(model: Model, file: Path) -> None:
    def fails(_: Model, __: Sequence[Rewrite], ___: SuiteContext) -> SolvedRewrites:
        raise EditError("the target did not converge", "layer 1", "Try other layers.")

    def idle(model: Model, _: Sequence[Rewrite], __: SuiteContext) -> SolvedRewrites:
        old = model.value_vectors(1, [0]).double()
        return SolvedRewrites([ValueChange(1, (0,), old, old)])

    def lost(model: Model, _: Sequence[Rewrite], __: SuiteContext) -> SolvedRewrites:
        old = model.value_vectors(1, [0]).double()
        return SolvedRewrites([ValueChange(1, (0,), old, old / 0)])

    reasons = {
        fails: "the target did not converge (layer 1)",
        idle: "the solver changed nothing",
        lost: "the solver's value vectors are not finite",
    }
    for solver, reason in reasons.items():
        ran = run_cases(run_of(model, file, solver=solver, mode="plan"))
        assert [one.failure for one in ran.records] == [reason] * 4
        assert summarise_suite(ran)["columns"] == 0


def test_the_papers_solver_moves_the_answer_and_random_neurons_are_other_ones(model: Model, file: Path) -> None:
    rewrite = read_suite("counterfact", file)[0].rewrite
    solver = embedding(model)
    own, control = (solver(model, [rewrite], SuiteContext(lambda _: [], random=seed)) for seed in (None, 1))
    places = [{(one.layer, index) for one in solved.changes for index in one.indices} for solved in (own, control)]
    assert [len(side) for side in places] == [5, 5]
    assert not places[0] & places[1]
    assert sorted(layer for layer, _ in places[0]) == sorted(layer for layer, _ in places[1])
    few = solver(model, [rewrite], SuiteContext(lambda _: [], columns=2))
    assert sum(len(one.indices) for one in few.changes) == 2


def test_random_neurons_are_own_ones_only_where_a_layer_has_no_others() -> None:
    found = random_neurons([(0, 1), (0, 2), (2, 0)], 3, "seed")
    assert [layer for layer, _ in found] == [0, 0, 2]
    assert (0, 0) in found
    assert found[-1] in ((2, 1), (2, 2))
    assert found == random_neurons([(0, 1), (0, 2), (2, 0)], 3, "seed")


def test_a_killed_run_goes_on_from_its_finished_records(model: Model, file: Path, tmp_path: Path) -> None:
    wish = SuiteWish("counterfact", file, solver="embedding", thorough=1, controls=0)
    state = tmp_path / "state.jsonl"
    whole = evaluate_suite(model, wish, checkpoint="tiny", state=state)
    head, *records = state.read_text(encoding="utf-8").splitlines(keepends=True)
    state.write_text(head + "".join(records[:2]) + records[2][:40], encoding="utf-8")
    done: list[tuple[int, int]] = []

    def progress(standing: Any) -> None:
        done.append((standing.facts_done, standing.prompts_now))

    again = evaluate_suite(model, wish, checkpoint="tiny", state=state, progress=progress)
    assert done[0] == (2, 0)
    assert [one.key for one in again.records] == ["0", "1", "2", "3"]
    assert again.records[:2] == whole.records[:2]
    assert [dict(one.after) for one in again.records] == [
        pytest.approx(dict(one.after), rel=1e-4) for one in whole.records
    ]
    assert len(state.read_text(encoding="utf-8").splitlines()) == 5


def test_a_state_of_another_run_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    State(tmp_path / "state", {"seed": 1, "limit": None})
    with pytest.raises(EditError, match="another run's: seed differ"):
        State(tmp_path / "state", {"seed": 2, "limit": None})
    (tmp_path / "other").write_text("[1]\n")
    with pytest.raises(EditError, match="no state of a suite"):
        State(tmp_path / "other", {})
    with pytest.raises(EditError, match="cannot be kept"):
        State(tmp_path, {})


def test_controls_take_random_neurons_and_the_records_they_are_compared_on(model: Model, file: Path) -> None:
    wish = SuiteWish("counterfact", file, solver="embedding", controls=2, thorough=0)
    report = evaluate_suite(model, wish, checkpoint="tiny")
    assert list(report.controls) == ["records", "edited", "random"]
    own = [one for one in report.records if one.key in "02"]
    assert report.controls["edited"]["em"] == pytest.approx(sum(one.after["em"] for one in own) / 2)
    assert report.controls["random"]["em"] != report.controls["edited"]["em"]
    assert report.controls["random"]["es_before"] == report.controls["edited"]["es_before"]

"""Erasing what a published set calls true: bounds, figures, known records, whole relations."""

import math
from pathlib import Path

import pytest

from knedit.errors import FactsError
from knedit.evaluation.look import look
from knedit.evaluation.metrics import answer, write
from knedit.flows.suite_erasing import erasure_figures, priors_of
from knedit.flows.suite_report import SuiteWish, evaluate_suite
from knedit.flows.suite_taking import Taking, known_others, take
from knedit.flows.suites import read_suite
from knedit.models.loading import load_model
from knedit.models.model import Model
from knedit.models.prompting import encode_prompt
from knedit.records import Prompt
from tests.flows.making import save_model
from tests.flows.rewriting import RECORDS, record, write_records

WHERE = "set.jsonl"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setenv("KNEDIT_CACHE", str(tmp_path / "cache"))
    return load_model(save_model("gpt2", tmp_path / "base"), device="cpu")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_records(tmp_path / WHERE)


def chance(model: Model, text: str, said: str) -> float:
    (found,) = answer(model, [encode_prompt(model, Prompt.make(0, "attribute", text, said))])
    return found.probability


def test_a_bound_is_the_mean_probability_with_neutral_words_for_the_subject(model: Model, file: Path) -> None:
    cases, _ = take(model, read_suite("counterfact", file), Taking(1, erase=True), alone=True, where=WHERE)
    (priors,) = priors_of(model, cases)
    words = ("it", "this", "that one", "someone")
    expected = [chance(model, f"the capital of {word} is {{object}}", "Paris") for word in words]
    assert priors["the capital of France is {object}"] == pytest.approx(math.fsum(expected) / 4, rel=1e-4)
    begins = [chance(model, f"big and old . {w.capitalize()} has a city called {{object}}", "Paris") for w in words]
    assert priors["big and old . France has a city called {object}"] == pytest.approx(sum(begins) / 4, rel=1e-4)
    assert len(priors) == 3


def test_a_case_is_erased_where_every_wording_is_at_its_bound_or_below(model: Model, file: Path) -> None:
    (case,), _ = take(model, read_suite("counterfact", file), Taking(1, erase=True), alone=True, where=WHERE)
    (seen,) = look(model, [case])
    texts = (case.rewrite.text, *case.paraphrases)
    chances = [chance(model, text, "Paris") for text in texts]
    above = {text: one * 1.1 for text, one in zip(texts, chances, strict=True)}
    found = erasure_figures(case, seen.replies, above)
    assert (found["erased"], found["paraphrase_erased"], found["erased_everywhere"]) == (1, 1, 1)
    assert found["probability"] == pytest.approx(chances[0], rel=1e-4)
    found = erasure_figures(case, seen.replies, above | {texts[1]: chances[1] * 0.9})
    assert (found["erased"], found["paraphrase_erased"], found["erased_everywhere"]) == (1, 0.5, 0)
    assert {"es", "ps", "ns", "em"}.isdisjoint(seen.figures)


@pytest.mark.parametrize("mode", ["single", "plan"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_set_is_erased_end_to_end(model: Model, file: Path, mode: str) -> None:
    wish = SuiteWish("counterfact", file, 2, solver="prior", mode=mode, thorough=0, controls=int(mode == "single"))
    report = evaluate_suite(model, wish, checkpoint="tiny")
    summary = report.summary
    assert summary["failed"] == 0
    assert summary["probability"] < summary["probability_before"]
    assert {"erased", "erased_before", "paraphrase_erased", "erased_everywhere", "accuracy"} <= summary.keys()
    assert summary["neighbour_argmax_kept"] <= 1
    assert list(report.controls) == (["records", "edited", "random", "zero"] if mode == "single" else [])
    assert report.configuration["operation"] == "erase"


def test_only_what_the_model_says_counts_and_the_rest_is_told(model: Model, tmp_path: Path) -> None:
    countries = ("France", "Japan", "Spain")
    said = [write(model, f"the capital of {country} is {{object}}", tokens=1).strip() for country in countries]
    trues = [said[0], next(word for word in ("Rome", "Oslo") if word != said[1]), said[2]]
    records = [record(n, *one, "Madrid") for n, one in enumerate(zip(countries, trues, strict=True))]
    every = read_suite("counterfact", write_records(tmp_path / WHERE, records))
    cases, unknown = take(model, every, Taking(known_only=True), alone=True, where=WHERE)
    assert ([case.rewrite.key for case in cases], unknown) == (["0", "2"], 1)
    cases, unknown = take(model, every, Taking(limit=1, known_only=True), alone=True, where=WHERE)
    assert ([case.rewrite.key for case in cases], unknown) == (["0"], 0)
    with pytest.raises(FactsError, match="knows none of the 1 records"):
        take(model, every[1:2], Taking(known_only=True), alone=True, where=WHERE)


def test_a_relation_is_taken_alone_and_an_unknown_one_is_refused(model: Model, tmp_path: Path) -> None:
    other = record(9, "Spain", "Madrid", "Oslo")
    other["requested_rewrite"]["relation_id"] = "P999"
    every = read_suite("counterfact", write_records(tmp_path / WHERE, [*RECORDS, other]))
    cases, unknown = take(model, every, Taking(relations=("P999",)), alone=False, where=WHERE)
    assert ([case.rewrite.subject for case in cases], unknown) == (["Spain"], 0)
    with pytest.raises(FactsError, match="no record has the relation 'P7'"):
        take(model, every, Taking(relations=("P7",)), alone=False, where=WHERE)
    assert {case.rewrite.relation for case in known_others(model, every, cases, seed=0)} <= {"P36"}

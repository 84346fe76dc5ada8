"""knedit evaluate --suite as a user types it, on a tiny model: JSON, tables, and what can go wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import knedit
from tests.flows.making import save_model
from tests.flows.rewriting import RECORDS, ZSRE, record, write_records

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

WANTED = {
    "argmax", "generated", "es", "em", "ps", "pm", "ns", "nm", "s", "paraphrase_argmax", "neighbour_argmax_kept",
    "neighbour_kl", "sibling_argmax_kept", "es_before", "ps_before", "ns_before", "argmax_before", "columns",
    "columns_total", "layers", "seconds_per_edit", "seconds_of", "perplexity_after", "perplexity_before", "fluency",
    "repetition", "prepended_ns", "negated_argmax", "rounded", "records", "measured", "failed",
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KNEDIT_DATABASE", "facts.db")
    monkeypatch.setenv("KNEDIT_CACHE", str(tmp_path / "cache"))
    save_model("llama", tmp_path / "base")
    write_records(tmp_path / "set.jsonl")
    (tmp_path / "zsre.json").write_text(json.dumps(ZSRE))
    return tmp_path


PAPER = ("--solver", "embedding", "--controls", "0")


def suite(*arguments: str) -> Any:
    ran = knedit("evaluate", *arguments, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def refused(*arguments: str) -> str:
    ran = knedit("evaluate", *arguments)
    assert ran.code == 2
    assert "Traceback" not in ran.err + ran.out
    return ran.err


def test_a_set_is_run_end_to_end_and_told_as_json(place: Path) -> None:
    report = suite("set.jsonl", "--suite", "counterfact", "--checkpoint", "base", "--thorough", "1", "--controls", "1")
    assert list(report) == ["summary", "records", "configuration", "controls"]
    summary = report["summary"]
    assert summary.keys() >= WANTED
    assert (summary["records"], summary["measured"], summary["failed"]) == (4, 4, 0)
    assert list(summary["rounded"]) == ["bfloat16", "8-bit", "4-bit"]
    assert (0 < summary["columns"] <= 64, summary["layers"]) == (True, [0])
    assert summary["es"] == sum(one["after"]["es"] for one in report["records"]) / 4
    first = report["records"][0]
    assert first["prompts"]["rewrite"] == ["the capital of France is {object}"]
    assert set(first["texts"]["the capital of France is {object}"]) == {"before", "after"}
    assert first["texts"]["people in France speak"]["before"].startswith("people in France speak")
    told = report["configuration"]
    assert (told["suite"], told["solver"], told["file"], told["checkpoint"]) == (
        "counterfact", "closed-form", "set.jsonl", "base",
    )  # fmt: skip
    assert not (place / "facts.db").exists()


def test_limit_offset_and_modes_choose_what_is_run(place: Path) -> None:
    options = ("--suite", "counterfact", "--checkpoint", "base", "--thorough", "0", "--controls", "0")
    some = suite("set.jsonl", *options, "--limit", "2", "--offset", "1")
    assert [one["key"] for one in some["records"]] == ["1", "2"]
    planned = suite("set.jsonl", *options, "--mode", "sequence", "--plan-size", "2", "--limit", "3")
    assert len(planned["records"]) == 3
    assert planned["summary"]["perplexity_after"] > 0
    assert planned["configuration"]["plan_size"] == 2
    assert planned["controls"] == {}


def test_a_report_for_people_has_tables_of_figures_controls_and_failures(place: Path) -> None:
    write_records(place / "set.jsonl", [*RECORDS[:2], record(9, "Spain", "Madrid", "Madrid")])
    ran = knedit("evaluate", "set.jsonl", "--suite", "counterfact", "--checkpoint", "base", "--controls", "1")
    assert ran.code == 0, ran.err
    for words in (
        "3 of 3 records measured, 1 without an edit",
        "new answer generated",
        "Controls, 1 records",
        "random",
        "After rounding all weights",
        "seconds an edit",
        "perplexity of held-out text",
        "the new object 'Madrid' is the present one",
    ):
        assert words in ran.out


def test_a_checkpoint_of_the_catalog_and_a_set_of_questions(place: Path) -> None:
    assert knedit("checkpoint", "add", "base", "--name", "tiny").code == 0
    report = suite("zsre.json", "--suite", "zsre", "--checkpoint", "tiny", *PAPER)
    assert report["configuration"]["checkpoint"].startswith("tiny ")
    assert {"portability_accuracy", "token_accuracy", "neighbour_accuracy"} <= report["summary"].keys()
    assert report["records"][0]["failure"].startswith("the new answer 'old Rome' is 2 tokens")


def test_finished_records_are_kept_and_not_run_again(place: Path) -> None:
    options = ("set.jsonl", "--suite", "counterfact", "--checkpoint", "base", "--controls", "0", "--state", "kept")
    first = suite(*options)
    again = suite(*options)
    assert again["records"] == first["records"]
    assert "another run's: solver" not in refused(*options, "--seed", "1")
    assert "another run's: seed differ" in refused(*options, "--seed", "1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("set.jsonl --suite popqa --checkpoint base", "no suite 'popqa'"),
        ("set.jsonl --suite counterfact --checkpoint base --solver magic", "no solver 'magic'"),
        ("set.jsonl --suite counterfact", "--checkpoint"),
        ("set.jsonl --suite counterfact --checkpoint nowhere", "nowhere"),
        ("set.jsonl --suite counterfact --checkpoint empty", "no safetensors"),
        ("nowhere.jsonl --suite counterfact --checkpoint base", "nowhere.jsonl"),
        ("empty.jsonl --suite counterfact --checkpoint base", "empty.jsonl"),
        ("zsre.json --suite counterfact --checkpoint base", "case_id"),
        ("set.jsonl --suite zsre --checkpoint base", "set.jsonl"),
        ("set.jsonl --suite counterfact --checkpoint base --offset 9", "4 records"),
        ("set.jsonl --suite counterfact --checkpoint base --text nowhere.txt", "nowhere.txt"),
        ("set.jsonl --suite counterfact --checkpoint base --mode plan --state kept", "--state"),
        ("set.jsonl --suite counterfact --checkpoint base --mode magic", "magic"),
        ("set.jsonl --suite counterfact --harness piqa", "two commands"),
        ("base --harness ,", "names of tasks"),
        ("3f2a --limit 3", "belongs to --suite"),
    ],
)
def test_what_a_user_gets_wrong_is_one_clear_error(place: Path, arguments: str, words: str) -> None:
    (place / "empty").mkdir()
    (place / "empty.jsonl").touch()
    assert words in refused(*arguments.split())

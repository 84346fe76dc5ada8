"""knedit experiment and knedit report, from the command line."""

import json
from pathlib import Path

import pytest

from tests.cli.running import knedit
from tests.flows.experiments.world import build


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("bert", tmp_path_factory.mktemp("cli") / "world")


def test_an_experiment_prints_its_answer_writes_files_and_becomes_a_page(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNEDIT_DATABASE", str(world / "facts.db"))
    ran = knedit("experiment", "statistics", "model", "--relation", "capital", "--output", str(tmp_path / "out"))
    assert (ran.code, "neurons a fact" in ran.out) == (0, True)
    assert "statistics: 1 parts" in ran.err
    assert (tmp_path / "out" / "statistics" / "layers.svg").read_text().startswith("<?xml")
    told = json.loads(knedit("experiment", "statistics", "model", "--relation", "capital", "--json").out)
    assert [one["findings"]["name"] for one in told] == ["statistics"]
    page = tmp_path / "report.html"
    assert knedit("report", "model", "--output", str(page)).code == 0
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["experiment", "statistics", "nobody"], "nobody"),
        (["experiment", "statistcs", "model"], "there is no experiment 'statistcs'"),
        (["experiment", "statistics", "model", "--relation", "nothing"], "nothing"),
        (
            ["experiment", "statistics", "model", "--output", "/proc/none"],
            "the output cannot be written: No such file or directory (/proc/none)",
        ),
        (["report", "nobody"], "nobody"),
        (["report", "model", "--output", "/proc/none/report.html"], "the output cannot be written"),
    ],
)
def test_what_cannot_be_done_ends_with_one_sentence_and_two(
    world: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.setenv("KNEDIT_DATABASE", str(world / "facts.db"))
    ran = knedit(*arguments)
    assert ran.code == 2
    assert told in ran.err.replace("\n", " ")
    assert "Traceback" not in ran.err

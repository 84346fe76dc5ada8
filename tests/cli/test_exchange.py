"""Published neurons in and out, checkpoints without files, tables and questions to files, as a user types them."""

import json
from pathlib import Path

import pytest

from tests.catalog.formats import making
from tests.cli.running import knedit

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a catalog of ParaRel's facts and a checkpoint of a name alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KNEDIT_DATABASE", "facts.db")
    making.pararel(tmp_path)
    making.kn_paper(tmp_path)
    making.eleuther(tmp_path)
    making.scores(tmp_path)
    for command in ("facts import pararel", "facts import paper", "checkpoint register bert --revision main"):
        assert knedit(*command.split()).code == 0
    return tmp_path


def test_a_checkpoint_without_files_is_listed_and_shown_as_such(place: Path) -> None:
    (listed,) = json.loads(knedit("checkpoint", "list", "--json").out)
    assert (listed["name"], listed["layers"], listed["path"]) == ("bert", None, "no files")
    assert "known by name and revision alone" in knedit("checkpoint", "show", "bert").out
    again = knedit(
        "checkpoint", "register", "bert", "--revision", "main", "--layers", "12", "--width", "3072", "--json"
    )
    registered = json.loads(again.out)
    assert (registered["n_layers"], registered["ffn_width"], registered["revision"]) == (12, 3072, "main")


def test_published_neurons_are_imported_asked_and_exported(place: Path) -> None:
    command = ("neurons", "import", "bert_neurons_0.json", "--checkpoint", "bert", "--json")
    (count,) = json.loads(knedit(*command).out)
    assert (count["records"], count["neurons"]) == ({"seen": 3, "added": 2}, {"seen": 4, "added": 2})
    assert "3" in knedit(*command[:-1]).out
    hubs = json.loads(knedit("neurons", "hubs", "--json").out)
    assert [(one["layer"], one["index"], one["facts"]) for one in hubs] == [(0, 5, 1), (10, 188, 1)]
    assert knedit("neurons", "of", "P1/Hill").code == 0
    assert "published neurons of pararel" in knedit("runs", "list").out
    assert knedit("neurons", "export", "out.json").out == "Wrote the neurons of 3 keys to out.json.\n"
    assert json.loads((place / "out.json").read_text())["u-1"] == [[0, 5], [10, 188]]


def test_published_scores_are_imported_and_refined(place: Path) -> None:
    counts = json.loads(knedit("neurons", "import", "TREx-all-P1.rlt.jsonl", "--checkpoint", "bert", "--json").out)
    run = next(one["run"]["id"] for one in counts if one["run"]["config"]["method"] == "ig_gold")
    assert knedit("refine", "bert", "--run", run, "--min-prompts", "1").code == 0
    neurons = json.loads(knedit("neurons", "of", "P1/Hill", "--json").out)
    assert [(one["layer"], one["index"], one["score"]) for one in neurons] == [(8, 2, 1.0), (9, 1, 0.5)]


def test_records_that_cannot_be_joined_are_told_and_passed_over(place: Path) -> None:
    making.write_json(place / "n.json", {"u-1": [[1, 2]], "u-9": [[1, 2]]})
    ran = knedit("neurons", "import", "n.json", "--checkpoint", "new", "--revision", "r1", "--on-error", "skip")
    assert ran.code == 0
    assert ran.err.startswith("Skipped: 1 of 2 records are of nothing that the catalog has: u-9 (n.json). Import the")
    assert [one["name"] for one in json.loads(knedit("checkpoint", "list", "--json").out)] == ["bert", "new"]


def test_a_table_and_an_answer_are_written(place: Path) -> None:
    assert knedit("export", "facts", "facts.csv").out == "Wrote 2 rows to facts.csv.\n"
    question = (
        "SELECT subject, count(*) AS keys FROM facts JOIN fact_sources ON fact_id = id GROUP BY subject ORDER BY 1"
    )
    assert knedit("export", "--sql", question, "out.jsonl").out == "Wrote 2 rows to out.jsonl.\n"
    rows = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    assert rows == [{"subject": "Dale", "keys": 2}, {"subject": "Hill", "keys": 4}]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("attribute bert", ("has no files", "revision main", "checkpoint add FOLDER --name OTHER")),
        ("attribute bert --workers 2", ("has no files",)),
        ("refine bert", ("no attribution", "neurons import PATH --checkpoint bert")),
        ("neurons hubs --checkpoint bert", ("no refined neurons", "neurons import PATH --checkpoint bert")),
        ("edit plan bert --erase P1/Hill --solver zero", ("no refined neurons", "neurons import PATH")),
        ("checkpoint register bert --revision v2", ("belongs to another", "bert@v2")),
        ("checkpoint register bert", ("--revision",)),
        ("checkpoint register bert --revision main --layers 0", ("--layers",)),
        ("neurons import bert_neurons_0.json --checkpoint bret", ("bret", "bert", "checkpoint register bret")),
        ("neurons import bert_neurons_0.json --checkpoint bert --revision v2", ("main", "v2")),
        ("neurons import nowhere.json --checkpoint bert", ("nowhere.json", "No such file")),
        ("neurons import pararel --checkpoint bert", ("no known format", "--format", "eleuther")),
        ("neurons import bert_neurons_0.json --checkpoint bert --format elether", ("elether", "eleuther")),
        ("neurons import bert_neurons_0.json", ("--checkpoint",)),
        ("neurons export out.json --checkpoint bert", ("no refined neurons",)),
        ("export fact out.csv", ("no table", "facts")),
        ("export facts out.xls", ("out.xls", "csv")),
        ("export facts nowhere/out.csv", ("cannot be written",)),
        ("export facts", ("OUTPUT",)),
        ("export facts out.csv --sql SELECT", ("OUTPUT",)),
        ("export out.csv --sql DROP", ("no question",)),
    ],
)
def test_one_clear_error_and_nothing_changed(place: Path, command: str, words: tuple[str, ...]) -> None:
    before = (place / "facts.db").read_bytes()
    ran = knedit(*command.split())
    assert (ran.code, ran.out) == (2, "")
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err
    assert (place / "facts.db").read_bytes() == before

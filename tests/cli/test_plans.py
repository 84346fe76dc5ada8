"""knedit statistics, and plans whose solver chooses its own columns, as a user types them."""

import json
from pathlib import Path

import pytest

from knedit.catalog.store import Catalog
from tests.cli.running import Ran, knedit
from tests.flows.making import save_model
from tests.flows.test_solving import FACTS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LOOSE = ("--gate", "perplexity=1e6", "--gate", "growth=1e3")
PLAN = ("--solver", "closed-form", "--columns", "12", "--layers", "0-2", "--steps", "60", *LOOSE)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny checkpoint and facts; the catalog is a new file, or a new database on PostgreSQL."""
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///facts.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    monkeypatch.setenv("KNEDIT_DATABASE", url)
    monkeypatch.setenv("KNEDIT_CACHE", str(tmp_path / "cache"))
    save_model("gpt2", tmp_path / "base")
    (tmp_path / "facts.jsonl").write_text("\n".join(map(json.dumps, FACTS)))
    (tmp_path / "plan.csv").write_text("relation,subject,new_object,erase\ncapital,France,Rome,\ncountry,Oslo,,yes\n")
    for command in ("checkpoint add base", "facts import facts.jsonl"):
        assert knedit(*command.split()).code == 0
    return tmp_path


def done(*arguments: str) -> Ran:
    ran = knedit(*arguments)
    assert ran.code == 0, ran.err
    return ran


def refused(*arguments: str) -> str:
    ran = knedit(*arguments)
    assert ran.code == 2
    assert "Traceback" not in ran.err
    return " ".join(ran.err.split())


def test_a_plan_goes_from_a_file_to_an_edited_checkpoint(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    counted = json.loads(done("statistics", "base", "--layers", "1-2", "--tokens", "500", "--json").out)
    assert [(one["layer"], one["source"].partition(":")[0]) for one in counted] == [(1, "starter"), (2, "starter")]
    ran = done("edit", "plan", "base", "--file", "plan.csv", *PLAN, "--json")
    assert f"Statistics of layers 0 of {place / 'base'} are missing" in caplog.text
    planned = json.loads(ran.out)
    edit = planned["edit"]["id"]
    assert planned["edit"]["refinement_id"] is None
    assert [one["converged"] for one in planned["outcomes"]] == [True, True]
    assert {one["gate"] for one in planned["gates"] if one["passed"]} == {
        "growth", "perplexity", "success",
    }  # fmt: skip
    assert json.loads(done("edit", "show", edit, "--json").out) == planned
    shown = done("edit", "show", edit).out
    assert "Columns chosen by e" in shown
    assert "capital/France" in shown
    assert "perplexity" in shown
    tried = json.loads(done("edit", "try", edit, "--json").out)
    applied = json.loads(done("edit", "apply", edit, "--output", "edited", "--json").out)
    assert tried["summary"] == applied["summary"]
    assert "Verified: " in done("checkpoint", "verify", "edited").out
    assert json.loads(done("edit", "impact", edit, "--json").out)["facts"] == []


def test_what_cannot_be_planned_is_told_and_nothing_is_stored(place: Path) -> None:
    france = ("edit", "plan", "base", "--update", "capital/France=Rome")
    (place / "bad.jsonl").write_text('{"relation": "capital"}\n')
    for arguments, words in (
        (("edit", "plan", "base", "--file", "bad.jsonl"), "bad.jsonl, line 1"),
        ((*france, "--update", "capital/France=Tokyo", *PLAN), "two answers are wished for one question"),
        (("edit", "plan", "base", "--update", "capital/Spain=Rome", *PLAN), "is protected"),
        (("edit", "plan", "base", "--update", "capital/France=Paris", *PLAN), "is the present one"),
        ((*france, *PLAN, "--gate", "magic=1"), "there is no gate 'magic'"),
        ((*france, *PLAN, "--gate", "growth"), "is not GATE=NUMBER"),
        ((*france, *PLAN, "--gate", "growth=0.5"), "does not pass its gates: growth is"),
        ((*france, *PLAN, "--layers", "8"), "the model has no layer 8"),
        ((*france, *PLAN, "--layers", "3-1"), "goes downwards"),
        ((*france, *PLAN, "--layers", "x"), "is no layer"),
        ((*france, "--solver", "magic"), "there is no solver 'magic'"),
        (("statistics", "base", "--dataset", "none"), "no facts of the data set"),
        (("statistics", "base", "--layers", "40"), "the model has no layer 40"),
    ):
        assert words in refused(*arguments)
    with Catalog() as catalog:
        assert catalog.edits() == []


def test_a_plan_that_is_forced_says_so(place: Path) -> None:
    ran = done("edit", "plan", "base", "--update", "capital/France=Rome", *PLAN, "--gate", "growth=0.5", "--force")
    assert "failed, forced" in ran.out

"""The commands of the whole road on a tiny model, as a user types them; every table as JSON too."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from unittest.mock import ANY

import pytest
from rich.console import Console

from knedit.cli.options import MemorySize
from knedit.cli.progress import attribution_progress
from knedit.flows.tally import Standing
from tests.cli.running import knedit
from tests.flows.making import save_model, write_facts

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny checkpoint and facts; the catalog is a new file, or a new database on PostgreSQL."""
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///facts.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    monkeypatch.setenv("KNEDIT_DATABASE", url)
    save_model("llama", tmp_path / "base")
    write_facts(tmp_path)
    return tmp_path


def done(*arguments: str) -> str:
    ran = knedit(*arguments)
    assert ran.code == 0, ran.err
    return ran.out


def told(*arguments: str) -> object:
    return json.loads(done(*arguments, "--json"))


def test_every_command_of_the_road_works_and_prints_json(place: Path) -> None:
    assert "→ 0006" in done("db", "upgrade")
    assert told("db", "current")["state"] == "current"  # type: ignore[index]
    checkpoint = told("checkpoint", "add", "base", "--name", "tiny")
    assert isinstance(checkpoint, dict)
    assert (checkpoint["name"], checkpoint["n_layers"], checkpoint["ffn_width"]) == ("tiny", 4, 48)
    imported = told("facts", "import", "facts.jsonl")
    assert imported == {
        "relations": {"seen": 2, "added": 2},
        "facts": {"seen": 7, "added": 7},
        "prompts": {"seen": 33, "added": 33},
        "sources": {"seen": 0, "added": 0},
        "rewrites": {"seen": 0, "added": 0},
    }
    assert [one["relation"] for one in told("facts", "list")] == ["capital", "country"]  # type: ignore[attr-defined]
    assert len(told("facts", "list", "--relation", "country")) == 3  # type: ignore[arg-type]
    assert told("facts", "show", "capital/France")["fact"]["object"] == "Paris"  # type: ignore[index]
    report = told("attribute", "tiny", "--rule", "gauss", "--steps", "3")
    assert isinstance(report, dict)
    assert (report["attributed"], report["prompts"]) == (7, 25)
    again = told("attribute", "tiny", "--rule", "gauss", "--steps", "3")
    assert isinstance(again, dict)
    assert (again["attributed"], again["already"], again["run"]["id"]) == (0, 7, report["run"]["id"])
    runs = told("runs", "list", "tiny")
    assert isinstance(runs, list)
    (listed,) = runs
    assert (listed["run"], listed["facts"], listed["prompts"]) == (again["run"] | {"finished_at": ANY}, 7, {"ok": 25})
    shown = told("runs", "show", report["run"]["id"][:8])
    assert shown == {"summary": listed, "inexact": [], "unusable": []}
    like = told("attribute", "tiny", "--like", report["run"]["id"][:6], "--batch", "4", "--memory", "100MB")
    assert isinstance(like, dict)
    assert (like["already"], like["run"]["id"]) == (7, report["run"]["id"])
    refined = told(
        "refine", "tiny", "--threshold", "0.1", "--share", "0.3", "--min-prompts", "2",
        "--hub-share", "1", "--hub-relations", "1",
    )  # fmt: skip
    assert isinstance(refined, dict)
    assert refined["facts"] == 7
    neurons = told("neurons", "of", "capital/France")
    assert isinstance(neurons, list)
    first = neurons[0]
    users = told("neurons", "facts", str(first["layer"]), str(first["index"]))
    assert isinstance(users, list)
    assert len(users) == first["other_facts"] + 1
    hubs = told("neurons", "hubs", "--limit", "3")
    assert isinstance(hubs, list)
    assert len(hubs) == 3
    planned = told(
        "edit", "plan", "tiny", "--update", "capital/France=Rome", "--erase-relation", "country",
        "--solver", "embedding", "--roles", "fact,relation,generic",
    )  # fmt: skip
    assert isinstance(planned, dict)
    edit = planned["edit"]["id"]
    assert told("edit", "show", edit[:8]) == planned
    tried = told("edit", "try", edit)
    applied = told("edit", "apply", edit, "--output", "edited")
    evaluated = told("evaluate", edit)
    assert isinstance(tried, dict)
    assert isinstance(applied, dict)
    assert isinstance(evaluated, dict)
    assert tried["summary"] == applied["summary"] == evaluated["summary"]
    assert told("evaluate", edit, "--stored") == evaluated
    names = [one["name"] for one in told("checkpoint", "list")]  # type: ignore[attr-defined]
    assert names == ["edited", "tiny"]
    verified = told("checkpoint", "verify", "edited")
    assert isinstance(verified, dict)
    assert verified["ok"] is True
    assert verified["value_vectors"] > 0
    assert told("checkpoint", "show", "edited")["checkpoint"]["parent_id"] == checkpoint["id"]  # type: ignore[index]
    assert [one["result"] for one in told("edit", "list")] == ["edited"]  # type: ignore[attr-defined]


def test_an_edit_is_shipped_as_a_delta_compared_and_taken_back(place: Path) -> None:
    done("checkpoint", "add", "base")
    done("facts", "import", "facts.jsonl")
    done("attribute", "base", "--rule", "gauss", "--steps", "2")
    done("refine", "base", "--threshold", "0.1", "--share", "0.3", "--min-prompts", "2", "--hub-share", "1")
    planned = told(
        "edit",
        "plan",
        "base",
        "--update",
        "capital/France=Rome",
        "--solver",
        "embedding",
        "--roles",
        "fact,relation,generic",
    )
    assert isinstance(planned, dict)
    edit = planned["edit"]["id"]
    done("edit", "apply", edit, "--output", "edited", "--no-evaluate", "--link")
    written = told("delta", "create", edit, "--output", "edit.safetensors", "--with-revert")
    assert isinstance(written, list)
    assert [(one["file"], one["kind"], one["value_vectors"]) for one in written] == [
        ("edit.safetensors", "edit", len(planned["neurons"])),
        ("edit.revert.safetensors", "revert", len(planned["neurons"])),
    ]
    assert told("delta", "apply", "base", "edit.safetensors", "--output", "again") == {"folder": "again"}
    weights = {name: (place / name / "model.safetensors").read_bytes() for name in ("base", "edited", "again")}
    assert weights["again"] == weights["edited"] != weights["base"]
    assert "Verified: " in done("checkpoint", "verify", "again", "--parent", "base")
    assert "the parent's sha256: old" in done("checkpoint", "revert", "edited", "--output", "old")
    assert told("checkpoint", "revert", "again", "--delta", "edit.revert.safetensors", "--output", "older") == {
        "folder": "older"
    }
    assert {(place / name / "model.safetensors").read_bytes() for name in ("old", "older")} == {weights["base"]}
    adapter = told("delta", "lora", edit, "--output", "adapter", "--rank", "1", "--base", "someone/base")
    assert isinstance(adapter, list)
    assert sum(one["value_vectors"] for one in adapter) == len(planned["neurons"])
    assert {one["rank"] for one in adapter} == {1}
    assert all(0 <= one["relative_error"] < 1 for one in adapter)
    assert "base_model: someone/base" in (place / "adapter" / "README.md").read_text()
    found = told("checkpoint", "diff", "base", "edited")
    assert isinstance(found, dict)
    changed = {(one["layer"], one["index"]) for one in found["neurons"]}
    assert changed == {(one["layer"], one["index"]) for one in planned["neurons"]}
    assert {one["target"] for one in planned["neurons"]} == {step["target"] for step in planned["steps"]}
    assert (found["only_second"], found["other_tensors"]) == (["SHA256SUMS", "knedit.json"], {})
    table = done("checkpoint", "diff", "base", "edited")
    assert f"Value vectors that differ: {len(changed)}" in table
    assert "capital/France" in table


def test_the_same_commands_print_tables(place: Path) -> None:
    done("checkpoint", "add", "base")
    done("facts", "import", "facts.jsonl")
    assert "7 facts attributed" in done("attribute", "base", "--rule", "gauss", "--steps", "2")
    lenient = ("--threshold", "0.1", "--share", "0.3", "--min-prompts", "2", "--hub-share", "1")
    assert "7 facts" in done("refine", "base", *lenient)
    plan = done(
        "edit", "plan", "base", "--erase", "capital/Japan", "--solver", "zero", "--roles", "fact,relation,generic"
    )
    assert "capital/Japan" in plan
    edit = plan.split("Edit ")[1].split()[0]
    assert "Means over prompts" in done("edit", "try", edit)
    assert "Generated text" in done("edit", "apply", edit, "--output", "edited")
    assert "Verified: " in done("checkpoint", "verify", "edited")
    for command in (("checkpoint", "list"), ("facts", "list"), ("edit", "list"), ("runs", "list"), ("neurons", "hubs")):
        assert "━" in done(*command)


def test_a_run_shows_what_missed_the_tolerance_and_what_could_not_be_asked(place: Path) -> None:
    lost = {
        "relation": "capital",
        "subject": "Norway",
        "object": "Atlantis",
        "prompts": ["the city of Norway is {object}"],
    }
    (place / "lost.jsonl").write_text(json.dumps(lost))
    done("checkpoint", "add", "base")
    done("facts", "import", "facts.jsonl")
    done("facts", "import", "lost.jsonl")
    report = told("attribute", "base", "--tolerance", "1e-9", "--steps", "3")
    assert isinstance(report, dict)
    assert (report["unusable"], report["inexact"] > 5) == (1, True)
    run = report["run"]["id"]
    shown = told("runs", "show", run, "--limit", "5")
    assert isinstance(shown, dict)
    errors = [one["attribution"]["completeness_error"] for one in shown["inexact"]]
    assert len(errors) == 5
    assert errors == sorted(errors, reverse=True)
    (told_of,) = shown["unusable"]
    assert (told_of["fact"]["object"], told_of["attribution"]["completeness_error"]) == ("Atlantis", None)
    table = done("runs", "show", run)
    assert "Missed the tolerance" in table
    assert "'Atlantis' is not in the model's vocabulary" in table


@pytest.mark.parametrize(
    ("written", "size"),
    [("2GiB", 2 * 2**30), ("500MB", 500_000_000), ("1.5 g", 1_500_000_000), ("7kib", 7168), ("800", 800), ("9B", 9)],
)
def test_sizes_of_memory_are_read_as_people_write_them(written: str, size: int) -> None:
    assert MemorySize().convert(written, None, None) == size


def test_progress_is_a_line_at_the_start_and_at_most_one_in_thirty_seconds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "knedit")
    clock = iter([0.0, 0.0, 10.0, 31.0, 40.0])
    monkeypatch.setattr("knedit.cli.progress.time.monotonic", lambda: next(clock))
    with attribution_progress("Attributing", Console(stderr=True, force_terminal=False)) as show:
        for prompts in (8, 12, 39, 40):
            show(Standing(prompts // 4, 25, prompts, 100, prompts - 8))
    assert caplog.messages == [
        "Attributing: 25 facts, 100 prompts, 8 of them done before",
        "Attributing: 9 of 25 facts, 39 of 100 prompts, 1 a second, 0:01:01 left",
    ]


def test_progress_counts_what_a_run_names_and_starts_anew_with_another_unit(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "knedit")
    clock = iter([0.0, 0.0, 100.0, 101.0, 141.0])
    monkeypatch.setattr("knedit.cli.progress.time.monotonic", lambda: next(clock))
    with attribution_progress("Planning", Console(stderr=True, force_terminal=False)) as show:
        for standing in (
            Standing.of(4, 33, 4, "parts of text"),
            Standing.of(29, 33, 4, "parts of text"),
            Standing.of(4, 24, 0, "facts"),
            Standing.of(20, 24, 0, "facts"),
        ):
            show(standing)
    assert caplog.messages == [
        "Planning: 33 parts of text, 4 of them done before",
        "Planning: 29 of 33 parts of text, 0.25 a second, 0:00:16 left",
        "Planning: 24 facts, 4 of them done before",
        "Planning: 20 of 24 facts, 0.5 a second, 0:00:08 left",
    ]


def test_progress_is_a_bar_on_a_terminal() -> None:
    drawn = StringIO()
    with attribution_progress("Attributing", Console(file=drawn, force_terminal=True, width=120)) as show:
        show(Standing(1, 25, 4, 100, 0))
        show(Standing(3, 25, 12, 100, 8))
    assert "3/25 facts," in drawn.getvalue()
    assert "12/100" in drawn.getvalue()


def test_help_starts_without_torch_and_names_every_command() -> None:
    script = (
        "import sys\nsys.argv = ['knedit', '--help']\nfrom knedit.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'transformers', 'sqlalchemy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip().endswith("[]")
    for command in (
        "attribute",
        "checkpoint",
        "db",
        "delta",
        "demo",
        "edit",
        "evaluate",
        "facts",
        "neurons",
        "refine",
        "runs",
    ):
        assert f"  {command} " in ran.stdout

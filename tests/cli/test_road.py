"""The commands of the whole road on a tiny model, as a user types them; every table as JSON too."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert "→ 0002" in done("db", "upgrade")
    assert told("db", "current")["state"] == "current"  # type: ignore[index]
    checkpoint = told("checkpoint", "add", "base", "--name", "tiny")
    assert isinstance(checkpoint, dict)
    assert (checkpoint["name"], checkpoint["n_layers"], checkpoint["ffn_width"]) == ("tiny", 4, 48)
    imported = told("facts", "import", "facts.jsonl")
    assert imported == {
        "relations": {"seen": 2, "added": 2},
        "facts": {"seen": 7, "added": 7},
        "prompts": {"seen": 33, "added": 33},
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
        "--roles", "fact,relation,generic",
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


def test_the_same_commands_print_tables(place: Path) -> None:
    done("checkpoint", "add", "base")
    done("facts", "import", "facts.jsonl")
    assert "7 facts attributed" in done("attribute", "base", "--rule", "gauss", "--steps", "2")
    lenient = ("--threshold", "0.1", "--share", "0.3", "--min-prompts", "2", "--hub-share", "1")
    assert "7 facts" in done("refine", "base", *lenient)
    plan = done("edit", "plan", "base", "--erase", "capital/Japan", "--roles", "fact,relation,generic")
    assert "capital/Japan" in plan
    edit = plan.split("Edit ")[1].split()[0]
    assert "Means over prompts" in done("edit", "try", edit)
    assert "Generated text" in done("edit", "apply", edit, "--output", "edited")
    assert "Verified: " in done("checkpoint", "verify", "edited")
    for command in (("checkpoint", "list"), ("facts", "list"), ("edit", "list"), ("neurons", "hubs")):
        assert "━" in done(*command)


def test_help_starts_without_torch_and_names_every_command() -> None:
    script = (
        "import sys\nsys.argv = ['knedit', '--help']\nfrom knedit.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'transformers', 'sqlalchemy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip().endswith("[]")
    for command in ("attribute", "checkpoint", "db", "demo", "edit", "evaluate", "facts", "neurons", "refine"):
        assert f"  {command} " in ran.stdout

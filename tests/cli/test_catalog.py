"""knedit catalog: what is printed, and with which code it ends."""

import json
from pathlib import Path

import pytest

from knedit.catalog.store import Catalog
from knedit.records import Relation
from tests.catalog.making import EVENING, RUN, fill_refinement
from tests.cli.running import knedit


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two catalogs that tell one label differently."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KNEDIT_DATABASE", "facts.db")
    with Catalog("facts.db") as catalog:
        catalog.import_facts([Relation.make("capital", "chief town")])
    with Catalog("other.db") as catalog:
        fill_refinement(catalog)
        catalog.finish_run(RUN.id, EVENING)
    return tmp_path


def test_merging_lists_conflicts_and_exits_with_one(place: Path) -> None:
    ran = knedit("catalog", "merge", "other.db", "--dry-run", "--conflicts", "conflicts.jsonl")
    assert (ran.code, "Would be merged" in ran.out) == (1, True)
    assert "chief town" in ran.out
    assert "capital of a country" in ran.out
    lines = [json.loads(line) for line in Path("conflicts.jsonl").read_text().splitlines()]
    assert [(one["words"], one["field"], one["ours"], one["theirs"]) for one in lines] == [
        ("relation capital", "label", "chief town", "capital of a country")
    ]
    with Catalog("facts.db") as catalog:
        assert catalog.facts() == []
    assert knedit("catalog", "merge", "other.db").code == 1
    with Catalog("facts.db") as catalog, Catalog("other.db") as other:
        assert catalog.facts() == other.facts()


def test_merging_without_conflicts_exits_with_zero(place: Path) -> None:
    ran = knedit("--database", "new.db", "catalog", "merge", "other.db", "--json")
    told = json.loads(ran.out)
    assert (ran.code, told["all_conflicts"], told["conflicts"]) == (0, 0, [])
    assert {one["table"]: one["added"] for one in told["tables"]}["knowledge_neurons"] == 6


@pytest.mark.parametrize("other", ["nowhere.db", "empty.db"])
def test_a_catalog_that_is_not_there_is_told_and_not_made(place: Path, other: str) -> None:
    Path("empty.db").touch()
    ran = knedit("catalog", "merge", other)
    assert (ran.code, ran.out) == (2, "")
    assert "There is no catalog to merge" in ran.err
    assert not Path("nowhere.db").exists()


def test_a_catalog_is_not_merged_with_itself(place: Path) -> None:
    ran = knedit("catalog", "merge", str(place / "facts.db"))
    assert (ran.code, ran.out) == (2, "")
    assert "cannot be merged with itself" in ran.err


def test_checking_exits_with_zero_where_nothing_is_wrong_else_with_one(place: Path) -> None:
    ran = knedit("catalog", "check")
    assert (ran.code, ran.out) == (0, "Nothing is wrong with the catalog at sqlite:///facts.db\n")
    ran = knedit("--database", "other.db", "catalog", "check", "--json")
    assert ran.code == 1
    (finding,) = json.loads(ran.out)
    assert (finding["check"], finding["what"]) == ("files", "the checkpoint's folder is gone")


def test_a_backup_comes_back(place: Path) -> None:
    assert knedit("--database", "other.db", "catalog", "backup", "copy.bak").code == 0
    again = knedit("--database", "other.db", "catalog", "backup", "copy.bak")
    assert (again.code, "add --overwrite" in again.err) == (2, True)
    assert knedit("--database", "restored.db", "catalog", "restore", "copy.bak").code == 0
    with Catalog("restored.db") as catalog, Catalog("other.db") as other:
        assert catalog.facts() == other.facts() != []
    filled = knedit("catalog", "restore", "copy.bak")
    assert (filled.code, "into an empty database only" in filled.err) == (2, True)

"""knedit facts import and export, as a user types them."""

import json
from pathlib import Path

import pytest

from tests.catalog.formats import making
from tests.cli.running import knedit

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KNEDIT_DATABASE", "facts.db")
    return tmp_path


def test_a_folder_is_imported_by_its_shape_or_by_name(place: Path) -> None:
    making.pararel(place)
    found, named = (knedit("facts", "import", "pararel", *more, "--json") for more in ([], ["--format", "pararel"]))
    assert (found.code, named.code) == (0, 0)
    assert json.loads(found.out)["facts"] == {"seen": 3, "added": 2}
    assert json.loads(named.out)["facts"] == {"seen": 3, "added": 0}


def test_broken_records_stop_or_are_told_and_left_out(place: Path) -> None:
    lines = ["relation,subject,object", "capital,Peru,Lima", *["capital,,Paris"] * 25]
    (place / "facts.csv").write_text("\n".join(lines))
    stopped = knedit("facts", "import", "facts.csv")
    assert (stopped.code, stopped.out) == (2, "")
    assert stopped.err.startswith("Error: The subject is empty (facts.csv, line 3).")
    skipped = knedit("facts", "import", "facts.csv", "--on-error", "skip", "--json")
    assert (skipped.code, json.loads(skipped.out)["facts"]) == (0, {"seen": 1, "added": 1})
    told = skipped.err.splitlines()
    assert (len(told), told[-1]) == (21, "Skipped: 5 more records.")
    assert told[0] == "Skipped: The subject is empty (facts.csv, line 3). Write it out."


def test_sources_and_rewrites_are_counted(place: Path) -> None:
    making.counterfact(place)
    counts = json.loads(knedit("facts", "import", "counterfact.jsonl", "--json").out)
    assert (counts["sources"], counts["rewrites"]) == ({"seen": 1, "added": 1}, {"seen": 1, "added": 1})
    table = knedit("facts", "import", "counterfact.jsonl").out
    assert [line.split()[1::2] for line in table.splitlines()[3:-1]] == [
        ["relations", "1", "0"],
        ["facts", "1", "0"],
        ["prompts", "5", "0"],
        ["sources", "1", "0"],
        ["rewrites", "1", "0"],
    ]


def test_a_format_that_is_not_known_is_refused(place: Path) -> None:
    making.knedit_jsonl(place)
    ran = knedit("facts", "import", "facts.jsonl", "--format", "cvs")
    assert (ran.code, ran.err) == (2, 'Error: There is no format "cvs". Did you mean "csv"?\n')


def test_facts_are_exported_and_a_second_time_only_if_asked(place: Path) -> None:
    making.knedit_jsonl(place)
    assert knedit("facts", "import", "facts.jsonl").code == 0
    assert knedit("facts", "export", "out.jsonl").out == "Wrote 3 facts to out.jsonl.\n"
    assert knedit("facts", "export", "out.csv", "--relation", "capital").out == "Wrote 5 rows to out.csv.\n"
    refused = knedit("facts", "export", "out.csv")
    assert (refused.code, "--overwrite" in refused.err) == (2, True)
    assert knedit("facts", "export", "out.csv", "--overwrite").code == 0
    assert len((place / "out.csv").read_text().splitlines()) == 6
    assert knedit("facts", "export", "out.txt").code == 2

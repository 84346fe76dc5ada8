"""knedit experiment and knedit report, from the command line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from knedit.catalog.store import Catalog
from knedit.records import Relation
from tests.cli.running import knedit
from tests.flows.experiments.world import build, laboratory


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build("bert", tmp_path_factory.mktemp("cli") / "world")
    shutil.copy(folder / "facts.db", folder / "untouched.db")
    return folder


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


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of inputs that nothing can be made of."""
    folder = tmp_path_factory.mktemp("spoilt")
    (folder / "latin.txt").write_bytes("Zürich lies in Switzerland.".encode("latin-1"))
    (folder / "wide.txt").write_text("The capital of France is Paris.", encoding="utf-16")
    (folder / "blank.txt").write_text(" \n\n", encoding="utf-8")
    (folder / "none").mkdir()
    (folder / "distant_P36.json").write_text('[{"th_bags": []}]', encoding="utf-8")
    (folder / "query_pairs.json").write_text('{"P36": [["France", "Paris"]]}', encoding="utf-8")
    (folder / "lines.txt").write_text("football is soccer\n", encoding="utf-8")
    (folder / "taken").mkdir()
    (folder / "taken" / "statistics").write_text("a file where a folder should be", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("statistics nobody", 'There is no checkpoint "nobody" in the catalog. There is model.'),
        ("statistcs model", "there is no experiment 'statistcs' (experiment). Choose all, statistics,"),
        ("statistics model --relation nothing", "nothing"),
        ("update model --relation empty", 'the relation "empty" has no facts (sqlite:///FACTS). Run: knedit facts'),
        ("values model --fact capital/Atlantis", 'no fact "Atlantis" in the relation "capital". There is'),
        ("statistics model --refinement ffff", "ffff"),
        ("map model --role implied", "no prompt of the role implied that can be asked (map, all relations). Choose"),
        ("suppress-amplify model --role implied", "that this model can be asked (suppress-amplify, all relations)."),
        ("activations model --texts SPOILT/latin.txt", "not UTF-8: byte 1 cannot be read (SPOILT/latin.txt). Convert"),
        ("triggers model --texts SPOILT/wide.txt", "not UTF-8: byte 0 cannot be read (SPOILT/wide.txt). Convert it:"),
        ("values model --texts SPOILT/blank.txt", "no sentence in the texts (SPOILT/blank.txt). Name a file that has"),
        ("triggers model --texts SPOILT/none", "the folder holds no texts (SPOILT/none). Name .txt files, or a folder"),
        ("triggers model --texts SPOILT/distant_P36.json", "no th_bags and h_bags (SPOILT/distant_P36.json, entry 1)."),
        ("consistency model --synonyms SPOILT/lines.txt", "is no list of synonyms (SPOILT/lines.txt, line 1). Write:"),
        ("consistency model --synonyms SPOILT/latin.txt", "not UTF-8: byte 1 cannot be read (SPOILT/latin.txt)."),
        (
            "statistics model --output /proc/none",
            "the output cannot be written: No such file or directory (/proc/none)",
        ),
        ("all model --output SPOILT/taken", "cannot be written: File exists (SPOILT/taken/statistics). Choose another"),
        ("statistics model --output SPOILT/latin.txt/in", "Not a directory (SPOILT/latin.txt/in). Choose another"),
        ("statistics model --output SPOILT/latin.txt", "SPOILT/latin.txt' is a file."),
    ],
)
def test_what_cannot_be_asked_ends_with_what_where_and_cure_and_two(
    world: Path, spoilt: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, told: str
) -> None:
    monkeypatch.setenv("KNEDIT_DATABASE", str(world / "facts.db"))
    with Catalog(str(world / "facts.db")) as catalog:
        catalog.import_facts([Relation.make("empty")])
    ran = knedit("experiment", *arguments.replace("SPOILT", str(spoilt)).split())
    assert (ran.code, ran.out) == (2, "")
    wanted = told.replace("SPOILT", str(spoilt)).replace("FACTS", str(world / "facts.db"))
    assert wanted in _in_one_line(ran.err)
    assert "Traceback" not in ran.err


def test_a_fact_without_neurons_is_told_and_named(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with laboratory(world, tmp_path) as lab:
        bare = lab.catalog.find_fact("capital/France")
        neurons = [one for one in lab.catalog.refined_neurons(lab.refinement.id) if one.fact_id != bare.id]
        facts = [replace(one, neurons=0 if one.fact_id == bare.id else one.neurons)
                 for one in lab.catalog.refined_facts(lab.refinement.id)]  # fmt: skip
        lab.catalog.put_refinement(lab.refinement, facts, neurons)
    monkeypatch.setenv("KNEDIT_DATABASE", str(tmp_path / "facts.db"))
    alone = knedit("experiment", "values", "model", "--fact", "capital/France")
    assert (alone.code, alone.out) == (2, "")
    cure = "(values, capital/France). Refine with a lower --share or --threshold: knedit refine model --adjust"
    assert f"nothing could be measured: The refinement kept no neuron of the fact {cure}" in _in_one_line(alone.err)
    among = knedit("experiment", "suppress-amplify", "model", "--relation", "capital")
    assert among.code == 0
    assert "Not measured" in among.out
    assert "capital/France – Paris" in among.out


@pytest.mark.parametrize(
    ("catalog", "arguments", "told"),
    [
        ("new.db", "model", 'no checkpoint "model" in the catalog. Run: knedit checkpoint add FOLDER'),
        ("untouched.db", "nobody", 'no checkpoint "nobody" in the catalog. There is model.'),
        ("untouched.db", "model", "no experiment was run on the checkpoint model (sqlite:///"),
        (
            "facts.db",
            "model --output /proc/none/report.html",
            "the output cannot be written: No such file or directory",
        ),
    ],
)
def test_a_report_of_nothing_or_to_nowhere_is_refused(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, catalog: str, arguments: str, told: str
) -> None:
    monkeypatch.setenv("KNEDIT_DATABASE", str(world / catalog))
    if catalog == "facts.db":
        knedit("experiment", "statistics", "model", "--no-figures")
    monkeypatch.chdir(tmp_path)
    ran = knedit("report", *arguments.split())
    assert (ran.code, ran.out) == (2, "")
    assert told in _in_one_line(ran.err)
    assert not (tmp_path / "report.html").exists()


def _in_one_line(text: str) -> str:
    return " ".join(text.split())

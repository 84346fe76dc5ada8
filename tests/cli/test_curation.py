"""Statuses, notes, labels, selections and readings, as a user types them: what works, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from knedit.catalog.store import Catalog
from tests.cli.running import Ran, knedit
from tests.flows.making import save_model, write_facts

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

READY = (
    "checkpoint add base",
    "facts import facts.jsonl",
    "attribute base --rule gauss --steps 2",
    "refine base --threshold 0.1 --share 0.3 --min-prompts 2 --hub-share 1",
    "selections save capitals --relation capital",
    "selections save nothing --label unheard",
)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny checkpoint, facts, neurons, and two selections."""
    folder = tmp_path_factory.mktemp("ready")
    save_model("gpt2", folder / "base")
    write_facts(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KNEDIT_DATABASE", "facts.db")
        patch.setenv("KNEDIT_USER", "ada")
        for command in READY:
            assert knedit(*command.split()).code == 0, command
    return folder


@pytest.fixture
def place(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of its catalog to work in; the checkpoint's files stay where they were added."""
    shutil.copy(ready / "facts.db", tmp_path / "facts.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KNEDIT_DATABASE", "facts.db")
    monkeypatch.setenv("KNEDIT_USER", "ada")
    return tmp_path


def told(command: str, *more: str) -> str:
    ran = knedit(*command.split(), *more)
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def asked(command: str) -> Any:
    return json.loads(told(command, "--json"))


def refused(ran: Ran, *words: str) -> bool:
    clean = ran.code == 2 and "Error: " in ran.err and "Traceback" not in ran.err + ran.out
    return clean and all(word in ran.err for word in words)


def test_statuses_are_given_to_one_and_many_and_told_in_the_history(place: Path) -> None:
    assert told("facts status capital/France approved --reason", "in the atlas") == "1 of 1 facts are newly approved.\n"
    out = told("facts status --relation capital --from proposed retired --by Bo")
    assert out == "2 of 4 facts are newly retired. The others were so already, or are not what --from says.\n"
    assert asked("facts status --select capitals approved") == {"facts": 4, "changed": 3}
    assert asked("prompts status --fact capital/France --role generate retired") == {"prompts": 1, "changed": 1}
    history = asked("facts history capital/France")["history"]
    assert [(one["before"], one["after"], one["changed_by"], one["reason"]) for one in history] == [
        ("proposed", "approved", "ada", "in the atlas"),
        ("proposed", "retired", "ada", ""),
    ]
    shown = told("facts history capital/France")
    assert all(word in shown for word in ("the fact", "in France people live", "in the atlas"))


def test_a_prompt_is_retired_by_its_id(place: Path) -> None:
    prompts = asked("facts show capital/France")["prompts"]
    assert told(f"prompts status {prompts[0]['id'][:10]} retired") == "1 of 1 prompts are newly retired.\n"
    assert [one["status"] for one in asked("facts show capital/France")["prompts"]] == ["retired", *["proposed"] * 5]


def test_notes_and_labels_of_facts_are_shown(place: Path) -> None:
    assert told("facts note capital/France", "Ask <b>again</b>.").startswith("Noted. See: knedit facts show ")
    assert told("facts label capital/France country/Oslo easy") == "2 of 2 facts are newly labelled.\n"
    assert told("facts label --select capitals easy") == "3 of 4 facts are newly labelled.\n"
    assert told("facts label capital/Japan easy --remove") == "1 of 1 facts had the label.\n"
    shown = told("facts show capital/France")
    assert all(word in shown for word in ("Labels: easy", "ada", "Ask <b>again</b>."))
    assert [one["subject"] for one in asked("facts list --label easy")] == ["France", "Italy", "Spain", "Oslo"]
    assert [one["subject"] for one in asked("facts list --label easy --relation country")] == ["Oslo"]
    assert [one["subject"] for one in asked("facts list --select capitals --status protected")] == ["Spain"]
    assert asked("facts labels") == [{"label": "easy", "facts": 4, "neurons": 0}]


def test_selections_are_saved_shown_used_and_removed(place: Path) -> None:
    assert told("selections save sure --status approved --label easy") == "Saved sure: 0 facts at present.\n"
    told("facts label capital/France country/Oslo easy")
    told("facts status capital/France approved")
    assert told("selections show sure --count") == "1\n"
    assert told("selections save two --frozen --fact capital/France --fact country/Oslo") == "Saved two: 2 facts.\n"
    assert [one["subject"] for one in asked("selections show two")["facts"]] == ["France", "Oslo"]
    assert "two: 2 facts by name, frozen" in told("selections show two")
    listed = asked("selections list")
    counts = [("capitals", 4), ("nothing", 0), ("sure", 1), ("two", 2)]
    assert [(one["selection"]["name"], one["facts"]) for one in listed] == counts
    assert "labels easy; statuses approved" in told("selections list")
    assert told("facts export out.csv --select two") == "Wrote 9 rows to out.csv.\n"
    ran = knedit("attribute", "base", "--select", "two", "--rule", "gauss", "--steps", "2")
    assert (ran.code, "0 facts attributed (0 prompts), 2 already done" in ran.out) == (0, True)
    planned = knedit(
        "edit",
        "plan",
        "base",
        "--erase-selection",
        "two",
        "--solver",
        "zero",
        "--roles",
        "fact,relation,generic",
        "--json",
    )
    assert [one["target"] for one in json.loads(planned.out)["steps"]] == ["capital/France", "country/Oslo"]
    assert told("selections remove two") == "Removed two.\n"
    assert [one["selection"]["name"] for one in asked("selections list")] == ["capitals", "nothing", "sure"]


def test_neurons_are_read_noted_and_labelled(place: Path) -> None:
    assert "Not read yet. Run: knedit neurons describe base --neuron 2:3" in told("neurons show 2 3")
    read = knedit("neurons", "describe", "base", "--neuron", "2:3", "--top", "4")
    assert read.out == "1 neurons are read. See: knedit neurons show 2 3 --checkpoint base\n"
    told("neurons note 2 3", "speaks of cities")
    assert told("neurons label 2 3 cities --checkpoint base") == "The neuron is labelled.\n"
    assert told("neurons label 2 3 cities") == "The neuron has the label already.\n"
    sheet = asked("neurons show 2 3")
    assert [len(sheet["description"]["reading"][end]) for end in ("top", "bottom")] == [4, 4]
    assert ([one["text"] for one in sheet["notes"]], [one["label"] for one in sheet["labels"]]) == (
        ["speaks of cities"],
        ["cities"],
    )
    shown = told("neurons show 2 3")
    assert all(word in shown for word in ("promotes", "suppresses", "Labels: cities", "speaks of cities"))
    assert [(one["layer"], one["index"]) for one in asked("neurons labels --label cities")] == [(2, 3)]
    assert told("neurons label 2 3 cities --remove") == "The label is taken off.\n"
    assert told("neurons label 2 3 cities --remove") == "The neuron did not have the label.\n"
    every = json.loads(knedit("neurons", "describe", "base", "--json").out)
    with Catalog("facts.db") as catalog:
        refined = catalog.refined_places(catalog.find_checkpoint("base").id)
    assert every == {"checkpoint": "base", "neurons": len(refined), "top": 10}


REFUSED: list[tuple[str, tuple[str, ...]]] = [
    ("facts status capital/Atlantis approved", ("Atlantis",)),
    ("facts status capital/France aproved", ('no status "aproved"', "Did you mean approved")),
    ("facts status capital/France approved --from good", ('no status "good"',)),
    ("facts status approved", ("no facts are named", "--relation")),
    ("facts status --relation captial approved", ("captial", "capital")),
    ("facts status --select nothing approved", ("the selection has no facts",)),
    ("facts status --from retired approved", ("there are no such facts", "retired")),
    ("facts status capital/France approved --by=", ("Nobody signs", "--by NAME")),
    ("facts history capital/Atlantis", ("Atlantis",)),
    ("facts note capital/Atlantis text", ("Atlantis",)),
    ("facts note capital/France", ("TEXT",)),
    (f"facts label capital/France {'x' * 101}", ("101 characters", "100")),
    ("facts label easy", ("no facts are named",)),
    ("facts list --select captials", ("captials", "capitals")),
    ("facts list --status good", ('no status "good"',)),
    ("facts list --relation captial", ("captial", "capital")),
    ("facts export out.jsonl --select nothing", ("the selection has no facts", "nothing")),
    ("prompts status ffff approved", ('no prompt "ffff"',)),
    ("prompts status approved", ("no prompts are named", "--fact")),
    ("prompts status --fact capital/France good", ('no status "good"',)),
    ("selections save capitals", ('a selection "capitals" already', "--replace")),
    ("selections save other --relation captial", ("captial", "capital")),
    ("selections save other --status good", ('no status "good"',)),
    ("selections save other --fact capital/Atlantis", ("Atlantis",)),
    ("selections save other --label unheard --frozen", ("Nothing would be in", "other")),
    (f"selections save {'x' * 101}", ("101 characters",)),
    ("selections show captials", ("captials", "Did you mean capitals?")),
    ("selections remove captials", ("captials", "Did you mean capitals?")),
    ("attribute base --select nothing", ("the selection has no facts",)),
    ("attribute base --select captials", ("captials", "capitals")),
    ("edit plan base --erase-selection nothing", ("the selection has no facts",)),
    ("edit plan base --erase-selection capitals", ("Spain – Madrid is protected", "knedit facts status")),
    ("edit plan base --rewrite-selection capitals", ("0 requested rewrites", "capital/France")),
    ("neurons show 9 9", ("no neuron (9, 9)", "3 layers of 128 neurons")),
    ("neurons show 0 1 --checkpoint other", ("other",)),
    ("neurons note 0 128 text", ("no neuron (0, 128)",)),
    (f"neurons label 0 1 {'x' * 101}", ("101 characters",)),
    ("neurons labels --checkpoint other", ("other",)),
    ("neurons describe other", ("other",)),
    ("neurons describe base --neuron 5", ("LAYER:INDEX", "'5'")),
    ("neurons describe base --neuron 3:0", ("no neuron (3, 0)",)),
    ("neurons describe base --refinement ffff", ("0 refinements",)),
    ("neurons describe base --top 0", ("--top",)),
    ("neurons describe base --memory much", ("'much'", "2GiB")),
]


@pytest.mark.parametrize(("command", "words"), REFUSED, ids=[command[:60] for command, _ in REFUSED])
def test_one_clear_error_and_nothing_is_changed(place: Path, command: str, words: tuple[str, ...]) -> None:
    before = everything()
    assert refused(knedit(*command.split()), *words)
    assert everything() == before


def everything() -> object:
    with Catalog("facts.db") as catalog:
        (checkpoint,) = catalog.checkpoints()
        france = catalog.find_fact("capital/France")
        return (
            catalog.facts(),
            catalog.prompts([france.id]),
            catalog.history(france.id),
            catalog.fact_notes(france.id),
            catalog.labels(),
            catalog.selections(),
            list(catalog.descriptions(checkpoint.id)),
            catalog.edits(),
        )


@pytest.mark.parametrize("text", ["", "  ", "\udcff"])
def test_a_note_of_nothing_or_of_broken_characters_is_refused(place: Path, text: str) -> None:
    word = "cannot keep the note" if text.strip() else "The note is empty"
    assert refused(knedit("facts", "note", "capital/France", text), word)
    assert refused(knedit("neurons", "note", "0", "1", text), word)


def test_a_checkpoint_whose_files_are_gone_is_not_read(place: Path) -> None:
    with Catalog("facts.db") as catalog:
        base = catalog.find_checkpoint("base")
        folder = Path(base.path)
    away = folder.with_name("away")
    folder.rename(away)
    try:
        ran = knedit("neurons", "describe", "base")
    finally:
        away.rename(folder)
    assert refused(ran, "files of checkpoint base are gone", "knedit checkpoint add")

"""The commands that ask the catalog, on a small world of neurons: as JSON, as tables, and asked wrongly."""

import json
from pathlib import Path
from typing import Any

import pytest

from knedit.catalog.questions.answers import NeuronSet
from knedit.catalog.store import Catalog
from knedit.records import DegenerateSet, EditNeuron, EditTarget, Refinement, show_id
from tests.catalog.making import (
    EDIT,
    NOON,
    PARIS,
    PARIS_IS,
    PARIS_SEAT,
    REFINEMENT,
    RUN,
    attribution,
    checkpoint,
    fill_refinement,
    score,
)
from tests.cli.running import knedit

EARLIER, LATER = show_id(REFINEMENT.id), "7777000000000000"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KNEDIT_DATABASE", "facts.db")
    with Catalog("facts.db") as catalog:
        fill_refinement(catalog)
        catalog.put_refinement(Refinement(int(LATER, 16), RUN.id, {}, NOON.replace(year=2020)), [], [])
        places = ((0, 3), (1, 7))
        own = DegenerateSet.identify(REFINEMENT.id, PARIS.id, places)
        found = NeuronSet(DegenerateSet(own, REFINEMENT.id, PARIS.id, 0.5), places)
        catalog.put_degenerate_sets(REFINEMENT.id, [PARIS.id], [found])
        target = EditTarget(EDIT.id, 0, PARIS.id, "update", "Rome")
        catalog.put_edit(EDIT, [target], [EditNeuron(EDIT.id, 0, 1, 9, 1.0, 2.0)])
        prompts = (PARIS_IS, PARIS_SEAT)
        scores = [score(prompt, 0, number, 1.0) for number, prompt in enumerate(prompts)]
        catalog.put_attributions([attribution(prompt) for prompt in prompts], scores)
        catalog.add_checkpoint(checkpoint("another"))
    return tmp_path


def told(*arguments: str) -> Any:
    ran = knedit(*arguments, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_the_neurons_of_a_fact_name_their_users() -> None:
    found = told("neurons", "of", "capital/France", "--users", "1")
    assert [(one["layer"], one["index"], one["other_facts"], one["users"]) for one in found] == [
        (1, 7, 1, ["capital/Japan"]),
        (1, 9, 2, ["capital/Japan"]),
        (0, 3, 0, []),
    ]
    assert found[0] == {
        "layer": 1,
        "index": 7,
        "score": 2.0,
        "share": 0.75,
        "role": "relation",
        "other_facts": 1,
        "relations": 1,
        "labels": [],
        "says": [],
        "users": ["capital/Japan"],
    }
    assert told("neurons", "of", "capital/France", "--refinement", EARLIER)[0]["users"] == []


def test_hubs_layers_and_overlap() -> None:
    assert told("neurons", "hubs", "--role", "relation", "--min-share", "0.5") == [
        {
            "layer": 1,
            "index": 7,
            "facts": 2,
            "share_of_facts": 2 / 3,
            "relations": 1,
            "share_of_relations": 0.5,
            "role": "relation",
        }
    ]
    assert [(one["layer"], one["uses"]) for one in told("neurons", "layers")] == [(0, 1), (1, 5)]
    overlap = told("neurons", "overlap")
    assert (overlap["within"], overlap["across"]) == (2.0, 1.0)
    assert told("neurons", "overlap", "--matrix")[1] == {"relation": "capital", "other": "currency", "mean_shared": 1.0}


def test_facts_of_a_neuron_in_pages_facts_of_few_and_sets() -> None:
    page = told("neurons", "facts", "1", "9", "--limit", "1", "--offset", "1")
    assert [(one["relation"], one["subject"]) for one in page] == [("capital", "Japan")]
    few = told("neurons", "few", "--at-most", "2", "--relation", "capital")
    assert [(one["subject"], one["neurons"]) for one in few] == [("Japan", 2)]
    sets = [{"relation": "capital", "subject": "France", "score": 0.5, "neurons": [[0, 3], [1, 7]]}]
    assert told("neurons", "sets", "capital/France") == sets
    assert told("neurons", "sets", "--neuron", "1", "7") == sets
    assert told("neurons", "sets", "--neuron", "1", "9") == []


def test_the_impact_of_an_edit_and_of_a_fact() -> None:
    found = told("edit", "impact", show_id(EDIT.id)[:8])
    assert (found["protected"], found["others"]) == (1, 1)
    assert [(one["fact"]["subject"], one["used"], one["share"]) for one in found["facts"]] == [
        ("Japan", 1, 0.4),
        ("Japan", 1, 1.0),
    ]
    assert told("neurons", "impact", "capital/France", "--roles", "relation")["protected"] == 1


def test_what_differs_between_refinements_runs_and_checkpoints() -> None:
    found = told("neurons", "diff", EARLIER, LATER, "--limit", "1")["difference"]
    assert (found["only_before"], len(found["changes"])) == (3, 1)
    run = show_id(RUN.id)
    assert told("runs", "diff", run, run)["difference"]["both"] == 2
    files = told("checkpoint", "compare", "tiny", "another")
    assert (files["changed"], files["refinements"]) == (["model.safetensors"], None)
    (least,) = told("runs", "consistency", run)
    assert (least["subject"], least["prompts"], least["mean_Jaccard"], least["low"]) == ("France", 2, 0.0, True)
    assert told("runs", "consistency", run, "--fact", "capital/Japan") == []


def test_search_in_facts_and_prompts() -> None:
    assert [one["fact"]["object"] for one in told("search", "jap*", "tokyo")["facts"]] == ["Tokyo"]
    found = told("search", '"in the capital"', "--in", "prompts", "--relation", "capital")
    assert [one["prompt"]["text"] for one in found["prompts"]] == ["In the capital of France"]
    assert list(found) == ["prompts"]


RUN_ID, EDIT_ID = show_id(RUN.id), show_id(EDIT.id)


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("neurons of capital/France --users 2", "capital/Japan"),
        ("neurons hubs --layer 1", "generic"),
        ("neurons facts 1 9", "facts 1 to 3"),
        ("neurons layers", "uses"),
        ("neurons overlap", "shared within"),
        ("neurons overlap --matrix", "mean shared"),
        ("neurons few --at-most 1", "yen"),
        ("neurons sets capital/France", "(0, 3), (1, 7)"),
        ("neurons impact capital/France --roles relation", "1 protected and 0 other facts"),
        (f"neurons diff {EARLIER} {LATER}", "mean Jaccard"),
        (f"runs diff {RUN_ID} {RUN_ID}", "of another status"),
        (f"runs consistency {RUN_ID}", "yes"),
        ("checkpoint compare tiny another", "not both were refined"),
        ("checkpoint compare tiny tiny", "Their newest refinements"),
        (f"edit impact {EDIT_ID}", "1 protected and 1 other facts"),
        ("search japan", "Among prompts"),
    ],
)
def test_every_question_is_a_table_too(command: str, word: str) -> None:
    ran = knedit(*command.split())
    assert (ran.code, ran.err) == (0, "")
    assert word in ran.out


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("neurons of capital/France --refinement ffff", 'no refinement "ffff"'),
        ("neurons of capital/France --refinement 7777", "was not refined"),
        (f"neurons hubs --checkpoint another --refinement {EARLIER}", "of another checkpoint"),
        ("neurons hubs --role hub", "'hub' is not one of"),
        ("neurons hubs --min-share 2", "--min-share"),
        ("neurons hubs --limit 99999999999999999999", "--limit"),
        ("neurons facts 1 99999999999999999999", "INDEX"),
        ("neurons few --relation captial", "Did you mean capital?"),
        ("neurons sets", "Give FACT or --neuron"),
        ("neurons sets capital/France --neuron 1 7", "Give FACT or --neuron"),
        ("neurons impact capital/France --roles hub", "'hub' is none of"),
        ("neurons diff 7777 8888", 'no refinement "8888"'),
        ("runs diff ffff ffff", 'no run "ffff"'),
        (f"runs consistency {RUN_ID} --fact capital/France --relation capital", "not both"),
        (f"runs consistency {RUN_ID} --threshold 0", "--threshold"),
        ("checkpoint compare tiny nothing", 'no checkpoint "nothing"'),
        ("edit impact ffff", 'no edit "ffff"'),
        ("search", "WORDS"),
        ("search *", "no word to search for"),
        ("search japan --relation captial", "Did you mean capital?"),
        ("search japan --in objects", "objects"),
    ],
)
def test_a_question_asked_wrongly_is_one_clear_error(command: str, word: str) -> None:
    ran = knedit(*command.split())
    assert (ran.code, ran.out) == (2, "")
    assert word in ran.err
    assert "Traceback" not in ran.err

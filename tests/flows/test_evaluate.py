"""Which facts beside the edited ones an evaluation asks, and the group that each counts for."""

import json
from pathlib import Path

import pytest

from knedit.flows.choices import Choices
from knedit.flows.edit import read_edit
from knedit.flows.evaluate import choose_probes
from knedit.flows.facts import import_file
from knedit.flows.goals import Wishes
from knedit.flows.plan import plan_edit
from tests.flows.making import attributed, open_catalog, save_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

MORE = {
    "relation": "language",
    "templates": ["people of {subject} speak of {object}", "in {subject} they speak the language of {object}"],
    "facts": [["France", "Spain"], ["Norway", "Oslo"]],
}


def test_the_edited_subjects_other_facts_and_the_fact_said_backwards_are_groups_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text(json.dumps(MORE))
    with open_catalog(tmp_path) as catalog:
        import_file(catalog, tmp_path / "more.jsonl")
        checkpoint, model = attributed(catalog, save_model("llama", tmp_path / "base"))
        wishes = Wishes(updates=["capital/France=Rome"], erasures=["capital/Japan"])
        choices = Choices("embedding", "zero", roles=("fact", "relation", "generic"))
        planned = read_edit(catalog, plan_edit(catalog, checkpoint, lambda _: model, wishes, choices))
        asked = choose_probes(catalog, planned)
        facts = {fact.id: f"{fact.subject} – {fact.object}" for fact in catalog.facts()}
    groups: dict[str, set[str]] = {}
    for one in asked:
        groups.setdefault(one.group, set()).add(facts[one.probe.prompt.fact_id])
    assert groups == {
        "updated": {"France – Paris"},
        "erased": {"Japan – Tokyo"},
        "same relation": {"Italy – Rome", "Spain – Madrid"},
        "inverse": {"Tokyo – Japan"},
        "same subject": {"France – Spain"},
        "other relations": {"Nairobi – Kenya", "Oslo – Norway", "Norway – Oslo"},
    }

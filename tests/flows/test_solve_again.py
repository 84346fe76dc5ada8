"""A shipped plan solved once more: from the catalog in which it was planned, from others, and where it cannot be."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from knedit.catalog.store import Catalog
from knedit.errors import CatalogError, CheckpointError, EditError
from knedit.flows.checkpoint import add_checkpoint, load_checkpoint
from knedit.flows.edit import read_edit
from knedit.flows.facts import import_file
from knedit.flows.goals import Wishes
from knedit.flows.plan import plan_edit
from knedit.flows.reproduce import reproduce
from knedit.records import show_id
from tests.cli.running import knedit
from tests.flows.making import save_model
from tests.flows.shipping import Ready, contents, made, texts
from tests.flows.test_solving import CHOICES, FACTS, WISHES

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

AROUND = "facts around those edited are other in this catalog, or have other prompts"


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    """An update and an erasure that were solved together, shipped openly and privately."""
    folder = tmp_path_factory.mktemp("ready")
    with pytest.MonkeyPatch.context() as patch, Catalog(str(folder / "facts.db")) as catalog:
        patch.setenv("KNEDIT_CACHE", str(folder / "cache"))
        write(folder / "facts.jsonl", FACTS)
        import_file(catalog, folder / "facts.jsonl")
        checkpoint = add_checkpoint(catalog, save_model("gpt2", folder / "base"))
        model = load_checkpoint(checkpoint, device="cpu")
        edit = plan_edit(catalog, checkpoint, lambda _: model, WISHES, CHOICES)
        one = Ready(catalog, read_edit(catalog, edit), model, folder)
        one.ship(folder / "shipped")
        one.ship(folder / "private", private=True)
        yield one


def write(path: Path, relations: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, relations)))
    return path


def test_the_same_bytes_come_out_when_it_is_solved_again(ready: Ready, tmp_path: Path) -> None:
    source = ready.folder / "shipped"
    found = reproduce(ready.catalog, source, tmp_path / "again", solve=True)
    assert found.again is not None
    assert (found.again.vectors, found.again.differing, found.again.largest) == (len(ready.planned.values), 0, 0.0)
    assert (found.differing, found.versions) == ((), ())
    assert contents(tmp_path / "again") == contents(source)


def test_which_of_the_two_was_done_is_told(ready: Ready, tmp_path: Path) -> None:
    words = (
        "--database",
        str(ready.folder / "facts.db"),
        "edit",
        "apply",
        "--reproduce",
        str(ready.folder / "shipped"),
    )
    stored, solved = tmp_path / "stored", tmp_path / "solved"
    assert knedit(*words, "--output", str(stored)).out.startswith(
        "Applied: the stored values; nothing was solved again"
    )
    ran = knedit(*words, "--output", str(solved), "--solve-again")
    told = f"Solved again: {len(ready.planned.values)} value vectors, all of them as stored, to the bit.\nEqual: "
    assert (ran.code, ran.out.startswith(told)) == (0, True)
    ran = knedit(*words, "--output", str(tmp_path / "third"), "--solve-again", "--json")
    assert json.loads(ran.out)["solved_again"] == {"vectors": len(ready.planned.values), "differing": 0, "largest": 0.0}
    for more in (("--solve-again",), ("--parent", "base")):
        ran = knedit(*words[:4], "3f2a", "--output", str(tmp_path / "fourth"), *more)
        assert (ran.code, "go with --reproduce DIR" in ran.err) == (2, True)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(str(tmp_path / "other.db")) as catalog:
        yield catalog


def test_another_catalog_must_know_the_facts_and_what_it_has_otherwise_is_told(
    ready: Ready, elsewhere: Catalog, tmp_path: Path
) -> None:
    source, parent = ready.folder / "shipped", ready.folder / "base"
    import_file(elsewhere, source / "reproduce" / "facts.jsonl")
    with pytest.raises(CatalogError, match=r"facts are not all in the catalog: .*country"):
        reproduce(elsewhere, source, tmp_path / "again", parent=parent, solve=True)
    import_file(elsewhere, write(tmp_path / "same.jsonl", FACTS))
    found = reproduce(elsewhere, source, tmp_path / "same", parent=parent, solve=True)
    assert (found.differing, found.versions, elsewhere.checkpoints()) == ((), (), [])
    more = [{**FACTS[0], "facts": [["Norway", "Oslo"]]}]
    import_file(elsewhere, write(tmp_path / "more.jsonl", more))
    found = reproduce(elsewhere, source, tmp_path / "again", parent=parent, solve=True)
    assert found.again is not None
    assert (found.again.differing > 0, found.equal) == (True, False)
    assert found.versions == (AROUND,)


def test_other_statistics_are_told(
    ready: Ready, elsewhere: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = next((ready.folder / "cache" / "statistics").iterdir())
    shutil.copytree(kept, tmp_path / "cache" / "statistics" / kept.name)
    (tmp_path / "cache" / "statistics" / kept.name / "layer-0001.safetensors").unlink()
    monkeypatch.setenv("KNEDIT_CACHE", str(tmp_path / "cache"))
    import_file(elsewhere, write(tmp_path / "same.jsonl", FACTS))
    import_file(elsewhere, write(tmp_path / "more.jsonl", [{**FACTS[1], "relation": "river"}]))
    source, parent = ready.folder / "shipped", ready.folder / "base"
    found = reproduce(elsewhere, source, tmp_path / "again", parent=parent, solve=True)
    told, around = sorted(found.versions, reverse=True)
    assert told.startswith("statistics are starter:")
    assert around == AROUND  # a relation beside those edited is around them, too


def test_another_recipe_is_told(ready: Ready, tmp_path: Path) -> None:
    source = changed(ready, tmp_path / "source", lambda plan: plan["edit"]["config"]["joint"].update(recipe="0" * 16))
    found = reproduce(ready.catalog, source, tmp_path / "again", solve=True)
    told = "the recipe, its prices or bounds, is another than that of the knedit which planned it"
    assert found.versions == (told,)


def test_nothing_of_a_private_erasure_is_told_and_it_cannot_be_solved_again(ready: Ready, tmp_path: Path) -> None:
    config = ready.planned.edit.config["joint"]
    prints = (config["around"], *config["statistics"], show_id(ready.planned.edit.id))
    secrets = ("country", "Oslo", "Norway", *prints)
    told = texts(ready.folder / "private")
    recipe = "".join(text for name, text in told.items() if name.startswith("reproduce/"))
    assert [secret for secret in secrets if secret in recipe] == []
    assert [(name, one) for one in prints for name, text in told.items() if one in text] == []
    public = texts(ready.folder / "shipped")["reproduce/plan.json"]
    assert {secret for secret in secrets if secret in public} == set(secrets) - {"Norway"}
    with pytest.raises(CheckpointError, match="does not tell of what it was solved: its erasures are private"):
        reproduce(ready.catalog, ready.folder / "private", tmp_path / "again", solve=True)
    assert reproduce(ready.catalog, ready.folder / "private", tmp_path / "again").equal


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan["solving"].pop("steps"),
        lambda plan: plan["solving"].update(steps=[1]),
        lambda plan: plan["solving"].pop("refinement"),
        lambda plan: plan["solving"]["steps"][0].update(facts=[]),
        lambda plan: plan["solving"]["steps"][0].update(operation="format"),
        lambda plan: plan["solving"]["steps"][0].update(neurons=[[0, 1]]),
        lambda plan: plan["edit"]["config"]["joint"].update(layers="all"),
        lambda plan: plan["edit"]["config"]["joint"].update(steps=-1),
        lambda plan: plan["edit"]["config"].pop("roles"),
    ],
)
def test_a_malformed_plan_is_refused(ready: Ready, tmp_path: Path, change: Any) -> None:
    with pytest.raises(CheckpointError, match="What the plan tells of its solving is malformed"):
        reproduce(ready.catalog, changed(ready, tmp_path / "source", change), tmp_path / "again", solve=True)
    assert not (tmp_path / "again").exists()


def test_what_no_plan_may_ask_is_refused(ready: Ready, tmp_path: Path) -> None:
    steps = [
        (lambda plan: plan["edit"]["config"]["joint"].update(layers=[9]), EditError, "no layer 9"),
        (lambda plan: plan["edit"]["config"]["update"].update(solver="magic"), EditError, "magic"),
        (lambda plan: plan["solving"]["steps"][0].update(facts=["capital/Spain"]), EditError, "is protected"),
        (lambda plan: plan["solving"].update(refinement="0" * 16), CatalogError, "has not the refinement 0000"),
    ]
    for number, (change, error, message) in enumerate(steps):
        with pytest.raises(error, match=message):
            reproduce(ready.catalog, changed(ready, tmp_path / f"{number}", change), tmp_path / "again", solve=True)
    shutil.copytree(ready.folder / "base", tmp_path / "base")
    save_model("gpt2", tmp_path / "base", seed=3)
    with pytest.raises(CheckpointError, match="The weights have the sha256"):
        reproduce(ready.catalog, ready.folder / "shipped", tmp_path / "again", parent=tmp_path / "base", solve=True)
    assert not (tmp_path / "again").exists()


def changed(ready: Ready, folder: Path, change: Any) -> Path:
    shutil.copytree(ready.folder / "shipped", folder)
    path = folder / "reproduce" / "plan.json"
    plan = json.loads(path.read_text())
    change(plan)
    path.write_text(json.dumps(plan))
    return folder


def test_plans_by_the_catalogs_neurons_are_solved_again(tmp_path: Path) -> None:
    for ready in made(tmp_path, "llama"):
        ready.ship(tmp_path / "shipped")
        found = reproduce(ready.catalog, tmp_path / "shipped", tmp_path / "again", solve=True)
        assert found.again is not None
        assert (found.again.differing, found.equal, found.versions) == (0, True, ())
        assert found.again.vectors == len(ready.planned.values)


def test_another_plan_in_other_surroundings_is_another_edit(ready: Ready, tmp_path: Path) -> None:
    """Facts that are protected meanwhile are spared by a plan that is made now, of the very same wishes."""
    with Catalog(str(tmp_path / "facts.db")) as catalog:
        import_file(catalog, write(tmp_path / "facts.jsonl", FACTS))
        checkpoint = add_checkpoint(catalog, ready.folder / "base")
        wishes, choices = Wishes(updates=["capital/France=Rome"]), replace(CHOICES, erase_solver="zero")
        plans = [plan_edit(catalog, checkpoint, lambda _: ready.model, wishes, choices) for _ in range(2)]
        catalog.set_fact_status([catalog.find_fact("capital/Japan").id], "protected", by="x", reason="y")
        plans.append(plan_edit(catalog, checkpoint, lambda _: ready.model, wishes, choices))
        assert len({one.id for one in plans}) == 2
        assert plans[0].id == plans[1].id

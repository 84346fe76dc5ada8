"""Every experiment on tiny models that know their facts: done once, resumed, told whole, and refused with a reason."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from knedit.analysis.sheet import Row
from knedit.errors import FactsError, KneditError
from knedit.experiments import Experiment, ExperimentPart, ExperimentValue
from knedit.flows.experiments.conduct import Conducted, conduct
from knedit.flows.experiments.edits import UPDATES, Update
from knedit.flows.experiments.lab import Lab
from knedit.flows.experiments.registry import RECIPES
from knedit.flows.experiments.report import report_page
from knedit.flows.experiments.running import read_sheet, run_experiment
from knedit.flows.refine import refine_checkpoint
from knedit.models.loading import load_model
from knedit.models.model import Model
from knedit.models.scaling import activations
from knedit.records import Fact, Prompt, Relation
from tests.analysis.sheets import cells
from tests.catalog.making import NOON
from tests.flows.experiments.world import build, laboratory
from tests.flows.making import LENIENT, save_model

Done = dict[str, Conducted]


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the statistics of the closed form away from the user's."""
    patch = pytest.MonkeyPatch()
    patch.setenv("KNEDIT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("bert", tmp_path_factory.mktemp("bert") / "world")


@pytest.fixture(scope="module")
def model(world: Path) -> Model:
    return load_model(world / "model", device="cpu")


@pytest.fixture(scope="module")
def done(world: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """Return all experiments, done once, and the folder with their catalog and files."""
    folder = tmp_path_factory.mktemp("done")
    with laboratory(world, folder, model, limit=2) as lab:
        found = conduct(lab, "all", output=folder / "files", figures=False)
        return {one.findings.name: one for one in found}, folder


def test_every_experiment_measures_answers_and_writes_its_tables(done: tuple[Done, Path]) -> None:
    found, folder = done
    assert list(found) == list(RECIPES)
    for name, one in found.items():
        assert one.findings.answer, name
        assert one.findings.tables[0].rows, name
        assert one.experiment.refinement_id is not None
        assert [path.name for path in one.files] == [f"{table.name}.csv" for table in one.findings.tables]
        assert all(path.is_file() and path.parent == folder / "files" / name for path in one.files)
    assert all(one.findings.pictures for name, one in found.items() if name != "triggers")


def test_suppressing_what_was_learnt_loses_it_and_amplifying_does_not(done: tuple[Done, Path]) -> None:
    figures = done[0]["suppress-amplify"].findings.figures
    own, chance = figures["own suppress neurons"], figures["own suppress random"]
    assert own is not None
    assert chance is not None
    assert own < -0.1
    assert own < chance


def test_again_nothing_is_measured_again_and_the_same_is_told(
    done: tuple[Done, Path], world: Path, model: Model
) -> None:
    found, folder = done
    with laboratory(world, folder, model, limit=2) as lab:
        before = {one.id: lab.catalog.experiment_parts(one.id) for one in lab.catalog.experiments()}
        again = {one.findings.name: one.findings for one in conduct(lab, "all")}
        assert {one.id: lab.catalog.experiment_parts(one.id) for one in lab.catalog.experiments()} == before
    assert again == {name: one.findings for name, one in found.items()}


def test_a_killed_experiment_goes_on_with_what_is_stored(world: Path, model: Model, tmp_path: Path) -> None:
    recipe = RECIPES["suppress-amplify"]

    class _KilledError(BaseException):
        pass

    def kill(standing: object) -> None:
        if getattr(standing, "name", "") == recipe.name and getattr(standing, "done", 0) == 2:
            raise _KilledError

    with laboratory(world, tmp_path, model) as lab:
        lab.progress = kill
        with pytest.raises(_KilledError):
            run_experiment(lab, recipe)
    with laboratory(world, tmp_path, model) as lab:
        (begun,) = lab.catalog.experiments(name=recipe.name)
        assert begun.finished_at is None
        kept = lab.catalog.experiment_parts(begun.id)
        assert len(kept) == 2
        experiment, sheet = run_experiment(lab, recipe)
        assert experiment.id == begun.id
        assert len(sheet.parts) == 7
        assert set(kept) < set(lab.catalog.experiment_parts(begun.id))
        resumed = recipe.findings(sheet)
    with laboratory(world, tmp_path / "fresh", model) as lab:
        assert recipe.findings(run_experiment(lab, recipe)[1]) == resumed


def test_a_part_is_measured_anew_where_its_neurons_or_prompts_changed(
    world: Path, model: Model, tmp_path: Path
) -> None:
    recipe = RECIPES["values"]
    with laboratory(world, tmp_path, model, relations=("capital",), limit=0) as lab:
        first = {part.part: part for part in run_experiment(lab, recipe)[1].parts}
        fact = lab.catalog.find_fact("capital/France")
        lab.catalog.import_facts([Prompt.make(fact.id, "attribute", "France is ruled from {object}", "Paris")])
        second = {part.part: part for part in run_experiment(lab, recipe)[1].parts}
    changed = {first[name].fact_id for name in first if first[name] != second[name]}
    assert changed == {fact.id}


def test_facts_without_neurons_or_prompts_are_told_and_not_dropped(world: Path, model: Model, tmp_path: Path) -> None:
    with laboratory(world, tmp_path, model) as lab:
        fact = lab.catalog.find_fact("capital/Japan")
        (prompts,) = [[p.id for p in lab.catalog.prompts([fact.id], roles=("attribute",))]]
        lab.catalog.set_prompt_status(prompts, "retired")
        bare = lab.catalog.find_fact("capital/France")
        neurons = [one for one in lab.catalog.refined_neurons(lab.refinement.id) if one.fact_id != bare.id]
        facts = [replace(one, neurons=0) if one.fact_id == bare.id else one
                 for one in lab.catalog.refined_facts(lab.refinement.id)]  # fmt: skip
        lab.catalog.put_refinement(lab.refinement, facts, neurons)
        (found,) = conduct(lab, "suppress-amplify")
    told = {row[0]: (row[2], row[3]) for row in found.findings.tables[-1].rows}
    assert found.findings.tables[-1].name == "left-out"
    assert told == {
        "no neurons": (1, "capital/France – Paris"),
        "no prompts": (1, "capital/Japan – Tokyo"),
    }


def test_what_cannot_be_asked_is_refused_with_what_where_and_cure(world: Path, model: Model, tmp_path: Path) -> None:
    def refusal(name: str = "suppress-amplify", **scope: object) -> str:
        with laboratory(world, tmp_path, model, **scope) as lab:
            lab.catalog.import_facts([Relation.make("empty")])
            with pytest.raises(KneditError) as caught:
                list(conduct(lab, name))
        return str(caught.value)

    assert 'the relation "empty" has no facts' in refusal(relations=("empty",))
    assert "There is no relation" in refusal(relations=("capitol",))
    assert "there is no experiment 'suppres'" in refusal("suppres")
    told = refusal(role="implied")
    assert "none of 7 parts could be measured" in told
    assert "no prompt of the role implied" in told
    assert "Choose another --role" in told


def test_a_relation_that_was_not_refined_is_refused_by_the_command_that_does_it(world: Path, tmp_path: Path) -> None:
    with laboratory(world, tmp_path, None, relations=("capital",)) as lab:
        lab.catalog.put_refinement(lab.refinement, [], [])
        with pytest.raises(FactsError, match=r"none of the 4 facts .* knedit attribute model --relation capital"):
            list(conduct(lab, "statistics"))


def test_an_output_that_cannot_be_written_is_told_before_anything_is_done(world: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with laboratory(world, tmp_path, None) as lab:
        with pytest.raises(KneditError, match="the output cannot be written"):
            list(conduct(lab, "statistics", output=tmp_path / "file" / "inside"))
        assert lab.catalog.experiments() == []


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("gpt2", tmp_path_factory.mktemp("gpt2") / "world")


def test_a_causal_model_is_asked_the_same(causal: Path, tmp_path: Path) -> None:
    with laboratory(causal, tmp_path, load_model(causal / "model", device="cpu"), limit=1) as lab:
        names = ("suppress-amplify", "activations", "map", "consistency")
        assert all(next(iter(conduct(lab, name))).findings.tables[0].rows for name in names)


def test_every_experiment_can_ask_prompts_that_imply_the_fact(causal: Path, tmp_path: Path) -> None:
    model = load_model(causal / "model", device="cpu")
    with laboratory(causal, tmp_path, model) as lab:
        facts = lab.catalog.facts(relation="capital")
        lab.catalog.import_facts([prompt for fact in facts for prompt in _implied(fact)])
        seen = [prompt.text for prompt in lab.prompts(facts[0], role="implied")]
        assert len(seen) == 4  # all but the one that goes on behind the answer, which a causal model cannot be asked
    with laboratory(causal, tmp_path, model, limit=1, role="implied", relations=("capital",)) as lab:
        found = {one.findings.name: one.findings for one in conduct(lab, "all")}
        prompts = {row.texts["prompt"] for row in lab_rows(lab, "update", "edit")}
        page = report_page(lab.catalog, "model")
    assert all(one.tables[0].rows for one in found.values())
    assert found["suppress-amplify"].tables[0].rows[0][4] == 4.0
    assert cells(found["update"].tables[0], 0)["success, unseen wordings"] is not None
    assert not any("old town" in prompt for prompt in prompts)  # an edit is made by a prompt that states the fact
    probes = {str(row[0]): row[3] for row in found["consistency"].tables[2].rows}
    assert probes["the new object, where it is implied"] == 4.0
    assert probes["the new object, all wordings"] == 9.0
    assert page.count("(implied prompts)") >= 10


def test_prompts_that_this_family_cannot_be_asked_are_refused_with_the_reason(causal: Path, tmp_path: Path) -> None:
    model = load_model(causal / "model", device="cpu")
    with laboratory(causal, tmp_path, model, role="implied", relations=("capital",)) as lab:
        facts = lab.catalog.facts(relation="capital")
        lab.catalog.import_facts([_implied(fact)[-1] for fact in facts])  # they go on behind the answer
        with pytest.raises(KneditError, match=r"no prompt of the role implied that can be asked .*this kind of model"):
            list(conduct(lab, "map"))


def _implied(fact: Fact) -> list[Prompt]:
    texts = (
        "they live in {0} in the old town {{object}}",
        "in the big city of {0} called {{object}}",
        "people like {0} and the river of {{object}}",
        "she speaks of {0} and the old town {{object}} .",
        "the old town {{object}} is in {0}",
    )
    return [Prompt.make(fact.id, "implied", text.format(fact.subject), fact.object) for text in texts]


def lab_rows(lab: Lab, name: str, series: str) -> list[Row]:
    (experiment,) = lab.catalog.experiments(name=name)
    return list(read_sheet(lab.catalog, experiment.id).rows(series))


def test_the_report_is_told_from_the_catalog_alone(world: Path, model: Model, tmp_path: Path) -> None:
    with laboratory(world, tmp_path, model, limit=1, relations=("capital",)) as lab:
        found = [next(iter(conduct(lab, name))) for name in ("suppress-amplify", "triggers")]
        own = Experiment(7, lab.checkpoint.id, None, None, "layer-sweep", {"step": 1}, "0.1.0", NOON)
        lab.catalog.open_experiment(own)
        part = ExperimentPart(7, "layer 3", None, None, "ok", None, 1.0, NOON)
        lab.catalog.put_experiment_part(part, [ExperimentValue(7, "layer 3", "sweep", "3", "success", 0.875)])
    with laboratory(world, tmp_path) as lab:  # its model would have to be loaded
        page = report_page(lab.catalog, "model")
        with pytest.raises(KneditError, match=r"no checkpoint .*elsewhere"):
            report_page(lab.catalog, "elsewhere")
    for one in found:
        assert f'id="{one.findings.name}"' in page
        assert f"{one.experiment.id:016x}" in page
    assert page.count("<svg") == sum(len(one.findings.pictures) for one in found)
    assert "published, BERT" in page
    assert all(word in page for word in ("Layer sweep", "success", "0.875"))


def test_what_another_edition_measured_is_not_told_but_named(world: Path, model: Model, tmp_path: Path) -> None:
    with laboratory(world, tmp_path, model, limit=1, relations=("capital",)) as lab:
        (found,) = conduct(lab, "statistics")
        config = {**found.experiment.config, "edition": 0}
        old = Experiment.identify(lab.checkpoint.id, "map", config, refinement_id=lab.refinement.id)
        lab.catalog.open_experiment(
            Experiment(old, lab.checkpoint.id, lab.refinement.id, None, "map", config, "0.0.1", NOON)
        )
        lab.catalog.put_experiment_part(ExperimentPart(old, "a", None, None, "ok", None, 1.0, NOON), [])
        page = report_page(lab.catalog, "model")
    assert 'id="map"' not in page
    assert "<td>measured otherwise, run them again</td><td>map</td>" in page


def test_a_checkpoint_without_experiments_has_no_report_but_the_command_that_makes_one(
    world: Path, tmp_path: Path
) -> None:
    with laboratory(world, tmp_path) as lab, pytest.raises(KneditError, match="Run: knedit experiment all model"):
        report_page(lab.catalog, "model")


def test_texts_are_a_users_own_and_the_papers(world: Path, model: Model, tmp_path: Path) -> None:
    pairs = {"capital": [["France", "Paris"], ["Japan", "Tokyo"]]}
    bags = [{"th_bags": [f"the city of {o} is in {s}"], "h_bags": [f"people in {s} have a big city"]}
            for s, o in pairs["capital"]]  # fmt: skip
    (tmp_path / "query_pairs.json").write_text(json.dumps({"P36": pairs["capital"]}))
    (tmp_path / "distant_P36.json").write_text(json.dumps(bags))
    (tmp_path / "own.txt").write_text(
        "People of Japan like the city of Tokyo. They live in Japan!\nIn a small animal", "utf-8"
    )
    with laboratory(world, tmp_path / "copy", model, texts=(tmp_path / "own.txt",), relations=("capital",)) as lab:
        (found,) = conduct(lab, "triggers")
        assert "own.txt" in str(found.experiment.config["texts"])
        assert [row[0] for row in found.findings.tables[0].rows] == ["capital/Japan – Tokyo"] * 2
    (tmp_path / "latin.txt").write_bytes("Zürich".encode("latin-1"))
    (tmp_path / "distant_P37.json").write_text("{}")
    for name, told in (("latin.txt", "the text is not UTF-8: byte 1"), ("distant_P37.json", "cannot be told|no list")):
        refused = pytest.raises(FactsError, match=told)
        with laboratory(world, tmp_path / "copy", model, texts=(tmp_path / name,)) as lab, refused:
            list(conduct(lab, "activations"))


def test_the_papers_web_texts_are_joined_to_facts_by_their_list(tmp_path: Path) -> None:
    from knedit.flows.experiments.texts import read_library

    save_model("bert", tmp_path / "model")
    world = build("bert", tmp_path / "world")
    bags = [{"th_bags": ["a Paris b France"], "h_bags": ["a France b"]}]
    (tmp_path / "query_pairs.json").write_text(json.dumps({"P36": [["France", "Paris"]]}))
    (tmp_path / "distant_P36.json").write_text(json.dumps(bags))
    with laboratory(world, tmp_path / "copy") as lab:
        library = read_library(lab, [tmp_path])
    assert library.gathered == {("P36", "France", "Paris"): {"T1": ["a Paris b France"], "T2": ["a France b"]}}


def test_an_edits_report_tells_its_steps_and_gates(world: Path, model: Model, tmp_path: Path) -> None:
    from knedit.flows.choices import Choices
    from knedit.flows.goals import Wishes
    from knedit.flows.plan import plan_edit
    from knedit.records import show_id

    with laboratory(world, tmp_path, model) as lab:
        choices = Choices(roles=("fact", "relation", "generic"))
        edit = plan_edit(lab.catalog, lab.checkpoint, lambda _: model, Wishes(updates=["capital/France=Rome"]), choices)
        page = report_page(lab.catalog, show_id(edit.id)[:8])
    assert f"Edit {show_id(edit.id)[:8]} of model" in page
    assert "capital/France" in page
    assert "It was not evaluated yet" in page


def test_degenerate_pairs_are_put_where_the_catalogs_questions_find_them(
    done: tuple[Done, Path], tmp_path: Path
) -> None:
    found, folder = done
    with laboratory(folder, tmp_path) as lab:
        sheet = read_sheet(lab.catalog, found["consistency"].experiment.id)
        rows = list(sheet.rows("degenerate"))
        held = [one for part in sheet.done if part.part.startswith("pairs") and part.fact_id
                for one in lab.catalog.degenerate_sets_of(lab.refinement.id, part.fact_id)]  # fmt: skip
    assert sorted(one.held.set.score for one in held) == pytest.approx(sorted(row["together"] for row in rows))


def test_refining_again_keeps_experiments_and_what_they_found_of_neurons(
    done: tuple[Done, Path], tmp_path: Path
) -> None:
    found, folder = done
    with laboratory(folder, tmp_path, limit=2) as lab:
        before = [lab.catalog.degenerate_sets_of(lab.refinement.id, fact.id) for fact in lab.catalog.facts()]
        again, _, _ = refine_checkpoint(lab.catalog, lab.checkpoint, LENIENT)
        assert again.id == found["consistency"].experiment.refinement_id
        assert [lab.catalog.degenerate_sets_of(again.id, fact.id) for fact in lab.catalog.facts()] == before
        assert any(before)
        assert [one.findings for one in conduct(lab, "consistency")] == [found["consistency"].findings]


def test_the_papers_change_is_turned_around_for_neurons_that_fire_negatively(causal: Path, tmp_path: Path) -> None:
    model = load_model(causal / "model", device="cpu")
    with laboratory(causal, tmp_path, model, limit=1, relations=("capital",)) as lab:
        (subject, *_) = lab.subjects()
        places = tuple((layer, index) for layer in range(2) for index in range(20))
        change = Update(subject, "Rome", places)
        plain, signed = (UPDATES[name](lab, change) for name in ("paper", "signed"))
        fired = activations(model, lab.queries(subject.fact), places).mean(0)
    turned = {
        (one.layer, index): torch.equal(after, 2 * old - new)
        for one, other in zip(plain, signed, strict=True)
        for index, old, new, after in zip(one.indices, one.old, one.new, other.new, strict=True)
        if not torch.equal(after, new)
    }
    assert all(turned.values())
    assert set(turned) == {place for place, value in zip(places, fired.tolist(), strict=True) if value < 0}
    assert 0 < len(turned) < len(places)

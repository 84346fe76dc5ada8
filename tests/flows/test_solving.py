"""Plans whose solver chooses its own columns: from wishes to files, gates, stacking, and everything that may fail."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from knedit.catalog.store import Catalog
from knedit.editing import recipe
from knedit.editing.apply import edited
from knedit.editing.recipe import Recipe
from knedit.editing.upheld import Tally, Upheld
from knedit.editing.wishes import Wish
from knedit.errors import CheckpointError, EditError
from knedit.flows import solving, surroundings
from knedit.flows.checkpoint import add_checkpoint, load_checkpoint
from knedit.flows.choices import Choices, Gating
from knedit.flows.describe import describe_edit
from knedit.flows.edit import apply_edit, read_edit, solve_edit, try_edit
from knedit.flows.evaluate import choose_probes, evaluate_edit, judge_try
from knedit.flows.facts import import_file
from knedit.flows.gates import check_gates
from knedit.flows.goals import Wishes, find_goals
from knedit.flows.plan import plan_edit
from knedit.flows.plan_file import PlanRow, read_plan
from knedit.flows.solving import recipe_of
from knedit.flows.stacking import NOTHING, Earlier, earlier_edits
from knedit.flows.statistics import folder_of
from knedit.flows.surroundings import Wished, around_of, elsewhere_of, upheld_facts, wishes_of
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_prompt
from knedit.records import Checkpoint, Edit, EditTarget, Fact, Prompt, Relation, show_id
from knedit.solved import EditGate
from tests.flows.making import attributed, save_model

LOOSE = Gating({"success": 0.0, "perplexity": 1e6, "protected": 0.0, "earlier": 0.0, "growth": 1e3})
CHOICES = Choices("closed-form", "prior", columns=12, layers=(0, 1, 2), steps=60, gating=LOOSE)
WISHES = Wishes(updates=["capital/France=Rome"], erasures=["country/Oslo"])


# A random network hardly moves anything from token to token: so the answer is due where the subject ends.
TEMPLATES = [
    "the capital {subject} {object}",
    "people of {subject} {object}",
    "an old city , {subject} {object}",
    {"text": "they live in {subject} {object}", "role": "paraphrase"},
]
FACTS = [
    {
        "relation": "capital",
        "templates": TEMPLATES,
        "facts": [
            ["France", "Paris"],
            ["Japan", "Tokyo"],
            ["Italy", "Rome"],
            {"subject": "Spain", "object": "Madrid", "status": "protected"},
        ],
    },
    {
        "relation": "country",
        "templates": TEMPLATES[:3],
        "facts": [["Nairobi", "Kenya"], ["Oslo", "Norway"], ["Tokyo", "Japan"]],
    },
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KNEDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    path = tmp_path / "facts.jsonl"
    path.write_text("\n".join(map(json.dumps, FACTS)))
    with Catalog(str(tmp_path / "facts.db")) as opened:
        import_file(opened, path)
        yield opened


def ready(catalog: Catalog, folder: Path, name: str = "gpt2") -> tuple[Checkpoint, Model]:
    checkpoint = add_checkpoint(catalog, save_model(name, folder / "base"))
    return checkpoint, load_checkpoint(checkpoint, device="cpu")


def plan(
    catalog: Catalog, checkpoint: Checkpoint, model: Model, wishes: Wishes = WISHES, choices: Choices = CHOICES
) -> Edit:
    return plan_edit(catalog, checkpoint, lambda _: model, wishes, choices)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_plan_is_solved_once_and_written_as_it_was_solved(name: str, catalog: Catalog, tmp_path: Path) -> None:
    checkpoint, model = ready(catalog, tmp_path, name)
    weights = {key: tensor.clone() for key, tensor in model.net.state_dict().items()}
    edit = plan(catalog, checkpoint, model)
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.net.state_dict().items())
    assert edit.refinement_id is None
    planned = read_edit(catalog, edit)
    assert [(step.operation, step.target) for step in planned.steps] == [
        ("update", "capital/France"),
        ("erase", "country/Oslo"),
    ]
    assert [one.converged for one in planned.outcomes] == [True, True]
    assert {gate.gate for gate in planned.gates} >= {"growth", "success"}
    assert all(len(step.neurons) <= 36 for step in planned.steps)
    assert all({layer for layer, _ in step.neurons} == {0, 1, 2} for step in planned.steps)
    changes = solve_edit(planned, model)
    chosen = {neuron for step in planned.steps for neuron in step.neurons}
    assert {(change.layer, index) for change in changes for index in change.indices} == chosen
    tried = judge_try(catalog, planned, lambda probes: try_edit(planned, model, probes))
    child = apply_edit(catalog, planned, model, tmp_path / "edited")
    judged = evaluate_edit(catalog, read_edit(catalog, catalog.find_edit(show_id(edit.id))))
    assert [one.evaluation.after for one in judged] == [one.evaluation.after for one in tried]
    told = {(one.group, one.evaluation.metric): one.evaluation.after for one in judged if one.role == "attribute"}
    assert told["updated", "new_correct"] == 1
    assert told["erased", "correct"] == 0
    with edited(model, changes):
        written = load_checkpoint(child, device="cpu").net.state_dict()
        assert all(torch.equal(tensor, written[key]) for key, tensor in model.net.state_dict().items())
    manifest = json.loads((tmp_path / "edited" / "knedit.json").read_text())
    assert {one["gate"] for one in manifest["evaluation"]["gates"]} == {gate.gate for gate in planned.gates}
    assert describe_edit(catalog, planned)[0].others == ()


def test_all_columns_of_a_layer_belong_to_the_plan(catalog: Catalog, tmp_path: Path) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    planned = read_edit(catalog, plan(catalog, checkpoint, model, choices=replace(CHOICES, columns=0)))
    width = checkpoint.ffn_width
    assert [len(step.neurons) for step in planned.steps] == [3 * width, 0]
    assert [len(change.indices) for change in solve_edit(planned, model)] == [width] * 3
    assert [one.layers["1"]["columns"] for one in planned.outcomes] == [width, width]
    assert len(describe_edit(catalog, planned)) == 3 * width


def test_the_same_plan_is_not_solved_again_and_other_statistics_make_another(
    catalog: Catalog, tmp_path: Path, cache: Path
) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    edit = plan(catalog, checkpoint, model)
    assert edit.config["joint"]["statistics"][0].startswith("starter:")
    before = {path: path.stat().st_mtime_ns for path in folder_of(checkpoint.sha256).iterdir()}
    assert {path.name for path in before} == {f"layer-000{layer}.safetensors" for layer in range(3)}
    assert all(path.is_relative_to(cache) for path in before)
    assert plan(catalog, checkpoint, model) == edit
    assert {path: path.stat().st_mtime_ns for path in folder_of(checkpoint.sha256).iterdir()} == before
    other = plan(catalog, checkpoint, model, choices=replace(CHOICES, columns=11))
    assert (other.id == edit.id, len(catalog.edits())) == (False, 2)


def test_a_subjects_other_facts_and_other_relations_are_in_view(catalog: Catalog, tmp_path: Path) -> None:
    _, model = ready(catalog, tmp_path)
    goals = find_goals(catalog, Wishes(erasures=["capital/France"]))

    def seen() -> tuple[Wished, set[str], str]:
        (one,) = wishes_of(catalog, model, dict(enumerate(goals)), NOTHING, Recipe((0, 1)))[0]
        elsewhere = elsewhere_of(catalog, model, [one], (0, 1))
        assert elsewhere is not None
        assert len(elsewhere.keys[0]) == len(elsewhere.subjects)
        assert len(elsewhere.around[0])
        return one, set(elsewhere.subjects), around_of(catalog, goals, NOTHING)

    before, subjects, fingerprint = seen()
    assert before.wish.besides == ()
    assert subjects == {"Nairobi", "Oslo", "Tokyo"}
    path = tmp_path / "more.jsonl"
    size = {"relation": "size", "templates": TEMPLATES[:2], "facts": [["France", "big"], ["Norway", "old"]]}
    path.write_text(json.dumps(size))
    import_file(catalog, path)
    after, subjects, other = seen()
    assert after.wish == replace(before.wish, besides=after.wish.besides)
    assert set(after.wish.besides) == {("the capital France {object}", "big"), ("people of France {object}", "big")}
    assert subjects == {"Nairobi", "Oslo", "Tokyo", "France", "Norway"}
    assert other != fingerprint
    catalog.set_fact_status([catalog.find_fact("size/France").id], "retired", by="Ada")
    assert seen()[0].wish.besides == ()
    update = replace(after, wish=replace(after.wish, new="Rome"))
    assert elsewhere_of(catalog, model, [update], (0, 1)) is None
    assert elsewhere_of(catalog, model, [update, after], (0, 1)) is not None


def test_facts_that_the_model_knows_are_upheld_but_none_that_is_or_was_edited(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = ready(catalog, tmp_path)
    texts = [text for text in TEMPLATES[:3] if isinstance(text, str)]
    path = tmp_path / "more.jsonl"
    facts = [["Kenya", "big"], ["Norway", "big"], ["Lima", "big"], ["Oslo", "big"], ["Japan", "old"]]
    path.write_text(json.dumps({"relation": "said", "templates": texts, "facts": facts}))
    import_file(catalog, path)
    (big,) = encode_prompt(model, Prompt.make(0, "attribute", texts[0], "big")).answers
    long = len(encode_prompt(model, Prompt.make(0, "attribute", texts[2].replace("{subject}", "Lima"), "big")).tokens)

    def known(_: Model, queries: Sequence[Query]) -> list[tuple[float, bool]]:
        return [(0.0, query.answers == (big,) and len(query.tokens) < long) for query in queries]

    monkeypatch.setattr(surroundings, "answers_of", known)
    goals = find_goals(catalog, Wishes(erasures=["said/Kenya"]))

    def upheld(earlier: Earlier = NOTHING, new: str | None = None) -> dict[str, Upheld]:
        found, _ = wishes_of(catalog, model, dict(enumerate(goals)), NOTHING, Recipe((0, 1)))
        wished = [replace(one, wish=replace(one.wish, new=new)) for one in found]
        return {one.target: one for one in upheld_facts(catalog, model, wished, earlier)}

    found = upheld()
    assert found.keys() == {"said/Norway", "said/Lima", "said/Oslo"}
    for one in found.values():
        assert len(one.queries) == 2  # those that it answers right
        assert all(query.answers == (big,) and query.neurons is not None for query in one.queries)
    oslo = catalog.find_fact("said/Oslo").id
    before = Earlier({oslo: EditTarget(1, 0, oslo, "erase", None)})
    assert upheld(before).keys() == found.keys() - {"said/Oslo"}
    assert upheld(new="Rome") == {}
    monkeypatch.setattr(surroundings, "ASKED", 3)  # one of each relation
    assert len(upheld()) <= 1


def test_what_an_erasure_takes_from_others_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        solving._tell_upheld(Tally(40, 9, ("a/B", "a/B", "a/C")))
        solving._tell_upheld(Tally(40, 0, (), ("d/E",)))
    assert [record.message for record in caplog.records] == [
        "Of 40 right answers of other facts the edit took 9, and all but 3 were given back",
        "The edit takes answers of other facts: a/B, a/C",
        "Asked like what is edited, and perhaps forgotten with it: d/E",
    ]


def test_forgetting_a_relation_goes_less_far_than_forgetting_a_fact_and_neither_keeps_its_answer(
    catalog: Catalog, tmp_path: Path
) -> None:
    _, model = ready(catalog, tmp_path)
    path = tmp_path / "more.jsonl"
    facts = [["France", "Paris"], ["Japan", "big"]]
    path.write_text(json.dumps({"relation": "largest", "templates": TEMPLATES[:1], "facts": facts}))
    import_file(catalog, path)

    def asked(wishes: Wishes) -> dict[str, Wish]:
        goals = dict(enumerate(find_goals(catalog, wishes)))
        found, broken = wishes_of(catalog, model, goals, NOTHING, Recipe((0, 1)))
        assert not broken
        return {one.wish.subject: one.wish for one in found}

    whole = asked(Wishes(relations=["largest"]))
    assert {wish.enough for wish in whole.values()} == {Recipe((0, 1)).unlikely}
    beside = ("the capital Japan {object}", "Tokyo")
    assert beside in whole["Japan"].besides
    assert whole["France"].besides == ()  # its capital is the very answer
    single = asked(Wishes(erasures=["largest/Japan"], updates=["largest/France=Rome"]))
    assert {wish.enough for wish in single.values()} == {0.0}
    assert len(single["France"].besides) == len(single["Japan"].besides) == 3  # none of it is to be forgotten


def test_the_same_wishes_by_another_versions_recipe_are_another_plan(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    edit = plan(catalog, checkpoint, model)
    monkeypatch.setattr(solving, "Recipe", partial(recipe.Recipe, margin=0.01))
    assert plan(catalog, checkpoint, model).id != edit.id


def test_neurons_of_protected_facts_are_no_plans(catalog: Catalog, tmp_path: Path) -> None:
    checkpoint, model = attributed(catalog, save_model("gpt2", tmp_path / "base"))
    edit = plan(catalog, checkpoint, model)
    refinement = catalog.latest_refinement(checkpoint.id)
    assert edit.refinement_id == refinement.id
    spain = catalog.find_fact("capital/Spain")
    barred = {(one.layer, one.index) for one in catalog.neurons_of(refinement.id, spain.id)}
    chosen = {neuron for step in read_edit(catalog, edit).steps for neuron in step.neurons}
    assert barred
    assert chosen.isdisjoint(barred)
    free = plan(catalog, checkpoint, model, choices=replace(CHOICES, columns=0))
    every = {neuron for step in read_edit(catalog, free).steps for neuron in step.neurons}
    assert every == {(layer, index) for layer in (0, 1, 2) for index in range(checkpoint.ffn_width)} - barred


def test_a_plan_may_mix_solvers(catalog: Catalog, tmp_path: Path) -> None:
    checkpoint, model = attributed(catalog, save_model("gpt2", tmp_path / "base"))
    mixed = replace(CHOICES, erase_solver="zero", roles=("fact", "relation", "generic"))
    wishes = Wishes(updates=["capital/France=Rome"], erasures=["country/Oslo"], amplified=["capital/Italy"])
    planned = read_edit(catalog, plan(catalog, checkpoint, model, wishes, mixed))
    assert [step.operation for step in planned.steps] == ["update", "erase", "amplify"]
    changed = {(c.layer, i): (old, new) for c in solve_edit(planned, model) for i, old, new in zip(
        c.indices, c.old, c.new, strict=True)}  # fmt: skip
    own = set(planned.steps[0].neurons)
    assert {n for n in planned.steps[1].neurons if changed[n][1].any()} <= own
    doubled = set(planned.steps[2].neurons) - own - set(planned.steps[1].neurons)
    assert all(torch.equal(changed[n][1], changed[n][0].double() * 2) for n in doubled)
    assert {one.group for one in choose_probes(catalog, planned)} >= {"updated", "erased", "amplified"}


def test_the_optimised_solver_trains_the_same_columns_further(catalog: Catalog, tmp_path: Path) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    solved = read_edit(catalog, plan(catalog, checkpoint, model))
    trained = read_edit(catalog, plan(catalog, checkpoint, model, choices=replace(CHOICES, update_solver="optimised")))
    assert {gate.gate: gate.value for gate in trained.gates}["success"] == 1.0
    assert [step.neurons for step in trained.steps] == [step.neurons for step in solved.steps]
    assert trained.edit.id != solved.edit.id


def test_erasing_a_relation_solves_each_of_its_facts(catalog: Catalog, tmp_path: Path) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    planned = read_edit(catalog, plan(catalog, checkpoint, model, Wishes(relations=["country"])))
    assert [(one.step, one.converged) for one in planned.outcomes] == [(0, True)] * 3
    assert [step.operation for step in planned.steps] == ["erase-relation"]


@pytest.mark.parametrize("thresholds", [{"perplexity": -1.0}, {"growth": 0.0}, {"success": 1.5}])
def test_a_failing_gate_refuses_the_plan_unless_forced(
    thresholds: dict[str, float], catalog: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    strict = replace(CHOICES, columns=16, gating=Gating({**LOOSE.thresholds, **thresholds}))
    (name,) = thresholds
    with pytest.raises(EditError, match=rf"does not pass its gates: {name} is .*--force") as raised:
        plan(catalog, checkpoint, model, choices=strict)
    assert ("--on-failure skip" in raised.value.cure) == (name == "perplexity")
    assert catalog.edits() == []
    assert "kept by force" not in caplog.text
    forced = replace(strict, gating=replace(strict.gating, forced=True))
    planned = read_edit(catalog, plan(catalog, checkpoint, model, choices=forced))
    assert [gate.gate for gate in planned.gates if gate.forced] == [name]
    assert planned.edit.config["gates"]["forced"] is True
    assert f"plan: kept by force, though {name} is " in caplog.text
    apply_edit(catalog, planned, model, tmp_path / "edited")
    manifest = json.loads((tmp_path / "edited" / "knedit.json").read_text())
    assert [one["gate"] for one in manifest["edit"]["gates"] if one["forced"]] == [name]
    assert [gate.gate for gate in catalog.edit_gates(planned.edit.id) if gate.forced] == [name]


def test_the_first_facts_that_fail_a_gate_are_named_and_the_others_counted() -> None:
    gate = EditGate(1, "protected", 0.5, 1.0, passed=False)
    with pytest.raises(EditError, match=r"protected is 0\.5, not at least 1 \(a, b, c, d, e and 2 more\)"):
        check_gates([gate], {"protected": list("abcdefg"), "success": ["x"]}, "plan")


def test_written_files_that_fail_a_gate_are_not_kept(catalog: Catalog, tmp_path: Path) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    planned = read_edit(catalog, plan(catalog, checkpoint, model))
    stricter = tuple(replace(gate, threshold=2.0) if gate.gate == "success" else gate for gate in planned.gates)
    with pytest.raises(EditError, match="success is 1, not at least 2"):
        apply_edit(catalog, replace(planned, gates=stricter), model, tmp_path / "edited")
    assert not (tmp_path / "edited").exists()
    assert [one.name for one in catalog.checkpoints()] == ["base"]
    apply_edit(catalog, replace(planned, gates=stricter), model, tmp_path / "edited", force=True)
    assert [gate.gate for gate in catalog.edit_gates(planned.edit.id) if gate.forced] == ["success"]


def test_a_second_plan_keeps_the_first(catalog: Catalog, tmp_path: Path) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    first = plan(catalog, checkpoint, model)
    child = apply_edit(catalog, read_edit(catalog, first), model, tmp_path / "one")
    earlier = earlier_edits(catalog, child)
    france, oslo = catalog.find_fact("capital/France"), catalog.find_fact("country/Oslo")
    assert earlier.targets == {one.fact_id: one for one in catalog.edit_targets(first.id)}
    assert (earlier.present(france.id, "Paris"), earlier.present(oslo.id, "Norway")) == ("Rome", None)
    changed = load_checkpoint(child, device="cpu")
    with pytest.raises(EditError, match="the new object 'Rome' is the present one"):
        plan(catalog, child, changed, Wishes(updates=["capital/France=Rome"]))
    strict = replace(CHOICES, columns=16, gating=Gating({**LOOSE.thresholds, "earlier": 1.0}))
    second = plan(catalog, child, changed, Wishes(updates=["capital/Italy=Tokyo"]), strict)
    planned = read_edit(catalog, second)
    assert {gate.gate: gate.value for gate in planned.gates}["earlier"] == 1.0
    neurons = {neuron for step in planned.steps for neuron in step.neurons}
    assert earlier.neurons <= neurons  # spent already, so changed again beside its own
    grandchild = apply_edit(catalog, planned, changed, tmp_path / "two")
    assert earlier_edits(catalog, grandchild).targets.keys() == {
        france.id, oslo.id, catalog.find_fact("capital/Italy").id,
    }  # fmt: skip
    judged = evaluate_edit(catalog, read_edit(catalog, catalog.find_edit(show_id(second.id))))
    kept = [one.evaluation for one in judged if (one.group, one.role) == ("earlier edits", "attribute")]
    assert {one.fact_id for one in kept} == {france.id, oslo.id}
    rome = [one.after for one in kept if one.metric == "new_correct" and one.fact_id == france.id]
    assert rome == [1.0, 1.0, 1.0]
    back = plan(catalog, child, changed, Wishes(updates=["capital/France=Paris"]))
    assert read_edit(catalog, back).outcomes[0].converged


def test_what_later_edits_say_counts_before_what_earlier_ones_said() -> None:
    update = EditTarget(1, 0, 7, "update", "Rome")
    assert Earlier({7: update}).present(7, "Paris") == "Rome"
    assert Earlier({7: replace(update, operation="amplify", new_object=None)}).present(7, "Paris") == "Paris"
    assert Earlier({}).present(7, "Paris") == "Paris"


def test_facts_that_cannot_be_solved_stop_the_plan_or_are_left_out(
    catalog: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    wishes = Wishes(updates=["capital/France=Atlantis", "capital/Italy=Tokyo"])
    with pytest.raises(EditError, match=r"a fact cannot be solved: capital/France: .*Atlantis.*--on-failure skip"):
        plan(catalog, checkpoint, model, wishes)
    assert catalog.edits() == []
    skipping = replace(CHOICES, on_failure="skip")
    edit = plan(catalog, checkpoint, model, wishes, skipping)
    assert [one.fact_id for one in catalog.edit_targets(edit.id)] == [catalog.find_fact("capital/Italy").id]
    assert list(edit.config["left_out"]) == ["capital/France"]
    assert "Left out of the plan: capital/France: " in caplog.text
    assert [step.target for step in read_edit(catalog, edit).steps] == ["capital/Italy"]
    assert {one.step.target for one in describe_edit(catalog, read_edit(catalog, edit))} == {"capital/Italy"}
    with pytest.raises(EditError, match="capital/France: "):
        plan(catalog, checkpoint, model, Wishes(updates=["capital/France=Atlantis"]), skipping)


def test_a_fact_whose_prompts_lack_its_subject_is_named(catalog: Catalog, tmp_path: Path) -> None:
    relation = Relation.make("language")
    fact = Fact.make(relation.id, "France", "Paris")
    catalog.import_facts([relation, fact, Prompt.make(fact.id, "attribute", "people speak {object}", "Paris")])
    checkpoint, model = ready(catalog, tmp_path)
    with pytest.raises(EditError, match="language/France: the subject 'France' is not in its prompt 'people speak"):
        plan(catalog, checkpoint, model, Wishes(updates=["language/France=Rome"]))


@pytest.mark.parametrize(
    ("layers", "words"), [((9,), "the model has no layer 9"), ((0, 4), "the model has no layer 4")]
)
def test_layers_that_the_model_has_not_are_refused(
    layers: tuple[int, ...], words: str, catalog: Catalog, tmp_path: Path
) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    with pytest.raises(EditError, match=words):
        plan(catalog, checkpoint, model, choices=replace(CHOICES, layers=layers))


def test_layers_that_share_their_weights_are_refused(catalog: Catalog, tmp_path: Path) -> None:
    checkpoint, model = ready(catalog, tmp_path, "albert")
    with pytest.raises(EditError, match="the layers 0 and 1 share their weights"):
        plan(catalog, checkpoint, model)
    assert recipe_of(model.layout, Choices()).layers == (1,)  # of those that are edited unless told otherwise, one


def test_statistics_of_other_weights_are_refused(catalog: Catalog, tmp_path: Path) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    plan(catalog, checkpoint, model)
    other = add_checkpoint(catalog, save_model("gpt2", tmp_path / "other", seed=1), name="other")
    folder_of(other.sha256).mkdir()
    for path in folder_of(checkpoint.sha256).iterdir():
        (folder_of(other.sha256) / path.name).write_bytes(path.read_bytes())
    with pytest.raises(EditError, match=f"the statistics are of the weights {checkpoint.sha256[:12]}, layer 0, not"):
        plan(catalog, other, load_checkpoint(other, device="cpu"))
    (folder_of(other.sha256) / "layer-0000.safetensors").write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match="the statistics cannot be read"):
        plan(catalog, other, load_checkpoint(other, device="cpu"))


def test_two_answers_for_one_question_are_a_conflict(catalog: Catalog) -> None:
    with pytest.raises(EditError, match="two answers are wished for one question, 'Rome' and 'Tokyo'"):
        find_goals(catalog, Wishes(updates=["capital/France=Rome", "capital/France=Tokyo"]))
    rows = [PlanRow("capital", "France", "Rome", "a, line 1"), PlanRow("capital", "France", None, "a, line 2")]
    with pytest.raises(EditError, match="edited twice"):
        find_goals(catalog, Wishes(rows=rows))
    with pytest.raises(EditError, match=r"Atlantis.*a, line 1"):
        find_goals(catalog, Wishes(rows=[PlanRow("capital", "Atlantis", "Rome", "a, line 1")]))
    goals = find_goals(catalog, Wishes(rows=[rows[0], PlanRow("country", "Oslo", None, "a, line 3")]))
    assert [(goal.operation, goal.target, goal.new) for goal in goals] == [
        ("update", "capital/France", "Rome"),
        ("erase", "country/Oslo", None),
    ]


def test_files_of_wishes_are_json_lines_or_csv(tmp_path: Path) -> None:
    lines = tmp_path / "plan.jsonl"
    lines.write_text(
        '{"relation": "capital", "subject": "France", "new_object": "Rome"}\n\n'
        '{"relation": "country", "subject": "Oslo", "erase": true}\n'
    )
    table = tmp_path / "plan.csv"
    table.write_text('relation,subject,new_object,erase\ncapital,France,Rome,\ncountry,"Oslo",,yes\n')
    wanted = [("capital", "France", "Rome"), ("country", "Oslo", None)]
    for path, places in ((lines, (1, 3)), (table, (2, 3))):
        found = read_plan(path)
        assert [(row.relation, row.subject, row.new) for row in found] == wanted
        assert [row.where for row in found] == [f"{path}, line {number}" for number in places]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", "", "holds no wish"),
        ("a.jsonl", "{", "is not JSON"),
        ("a.jsonl", "[1]", "no JSON object"),
        ("a.jsonl", '{"relation": "r", "subject": "s"}', "neither a new object nor erase"),
        ("a.jsonl", '{"relation": "r", "subject": "s", "new_object": "x", "erase": true}', "both"),
        ("a.jsonl", '{"relation": "r", "subject": "s", "erase": "perhaps"}', "neither true nor false"),
        ("a.jsonl", '{"relation": "r", "subject": 3, "new_object": "x"}', "subject is no text"),
        ("a.jsonl", '{"relation": "r", "new_object": "x"}', "names no relation or no subject"),
        ("a.jsonl", '{"relation": "r", "subject": "s", "answer": "x"}', "no column 'answer'"),
        ("a.csv", "relation,subject,new_object\nr,s\n", "not as many cells"),
        ("a.csv", 'relation,subject,new_object\nr,"s"x,y\n', "not as CSV should be"),
    ],
)
def test_a_broken_file_of_wishes_is_refused_by_line(name: str, text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(EditError, match=words) as caught:
        read_plan(path)
    assert caught.value.where.startswith(str(path))


def test_facts_that_would_harm_too_much_are_given_up_by_name_only_where_a_plan_may_go_on_without(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    skip = replace(CHOICES, on_failure="skip")
    monkeypatch.setattr(recipe, "DEAR", 1e9)
    (left,) = read_edit(catalog, plan(catalog, checkpoint, model, choices=skip)).steps
    assert left.operation == "erase"  # what is to be forgotten is, whatever it costs
    assert "Left out of the plan: capital/France: its answer would harm the rest more" in caplog.text
    assert len(read_edit(catalog, plan(catalog, checkpoint, model)).steps) == 2

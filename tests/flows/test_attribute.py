"""Attribution as a flow: run twice, killed and run again, and what cannot be attributed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from knedit.attribution.method import Method
from knedit.catalog.store import Catalog
from knedit.errors import FactsError, ModelError
from knedit.flows.attribute import Wish, attribute
from knedit.flows.blocks import Setting, cut_blocks
from knedit.flows.checkpoint import add_checkpoint, load_checkpoint
from knedit.flows.configuration import run_config, setting_of
from knedit.flows.refine import refine_checkpoint
from knedit.flows.tally import Standing
from knedit.records import Fact, Prompt, PromptAttribution, Relation, show_id
from tests.flows.making import LENIENT, QUICK, attributed, differences, everything, open_catalog, save_model

ROOT = Path(__file__).parents[2]


def test_a_second_run_finds_everything_done(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        checkpoint, model = attributed(catalog, save_model("llama", tmp_path / "base"))
        first = everything(catalog)
        report = attribute(catalog, checkpoint, model, method=QUICK)
        assert (report.facts, report.already, report.attributed, report.prompts) == (7, 7, 0, 0)
        assert everything(catalog) == first
        assert len(first[0]) == 4 * 4 + 3 * 3


def test_parts_add_up_to_the_whole(tmp_path: Path) -> None:
    path = save_model("bert", tmp_path / "base")
    with open_catalog(tmp_path) as catalog:
        checkpoint, model = attributed(catalog, path)
        whole = everything(catalog)
    (tmp_path / "parts").mkdir()
    with open_catalog(tmp_path / "parts") as catalog:
        checkpoint = add_checkpoint(catalog, path)
        for wish in (Wish(("country",), limit=1), Wish(facts=("capital/Spain",)), Wish(("country",)), Wish()):
            attribute(catalog, checkpoint, model, method=QUICK, wish=wish)
        assert differences(everything(catalog), whole) == []
        assert attribute(catalog, checkpoint, model, method=QUICK).already == 7


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_the_size_of_a_block_changes_nothing_beyond_rounding(name: str, tmp_path: Path) -> None:
    path = save_model(name, tmp_path / "base")
    found = []
    for batch in (1, 3, 100):
        (tmp_path / str(batch)).mkdir()
        with open_catalog(tmp_path / str(batch)) as catalog:
            attributed(catalog, path, batch=batch)
            found.append(everything(catalog))
    assert differences(found[1], found[0]) == differences(found[2], found[0]) == []


def test_another_rule_is_another_run(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        checkpoint, model = attributed(catalog, save_model("gpt2", tmp_path / "base"))
        attribute(catalog, checkpoint, model, method=Method(rule="left", steps=3), wish=Wish(("country",)))
        newest, oldest = catalog.runs(checkpoint.id)
        assert (newest.config["rule"], oldest.config["rule"]) == ("left", "gauss")
        assert newest.finished_at is not None


def test_refining_again_needs_no_model_and_replaces_the_result(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        checkpoint, _ = attributed(catalog, save_model("gpt2", tmp_path / "base"))
        first = refine_checkpoint(catalog, checkpoint, LENIENT)
        again = refine_checkpoint(catalog, checkpoint, LENIENT)
        assert first[1:] == again[1:]
        assert len(catalog.refinements(checkpoint.id)) == 1
        stored = [n for fact in catalog.facts() for n in catalog.neurons_of(first[0].id, fact.id)]
        assert sorted(stored, key=repr) == sorted(first[2], key=repr)


def test_a_fact_that_the_model_cannot_say_is_told_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        relation = Relation.make("capital")
        fact = Fact.make(relation.id, "Norway", "Atlantis")
        prompt = Prompt.make(fact.id, "attribute", "the capital of Norway is {object}", "Atlantis")
        early = Prompt.make(fact.id, "attribute", "{object} is in Norway", "Atlantis")
        catalog.import_facts([relation, fact, prompt, early])
        checkpoint = add_checkpoint(catalog, save_model("llama", tmp_path / "base"))
        model = load_checkpoint(checkpoint)
        report = attribute(catalog, checkpoint, model, method=QUICK)
        assert (report.unusable, report.prompts) == (1, 26)
        (told,) = (one for one in everything(catalog)[0] if one.status == "unusable")
        reason = f"the answer 'Atlantis' is not in the model's vocabulary ({model.source})."
        reason += " Use an answer that the tokenizer knows."
        assert told == PromptAttribution(report.run.id, prompt.id, 0.0, None, 0.0, "unusable", reason)


def test_nothing_to_attribute_is_an_error_and_leaves_no_run(tmp_path: Path) -> None:
    path = save_model("llama", tmp_path / "base")
    with Catalog(str(tmp_path / "empty.db")) as catalog:
        checkpoint = add_checkpoint(catalog, path)
        model = load_checkpoint(checkpoint)
        with pytest.raises(FactsError, match="knedit facts import"):
            attribute(catalog, checkpoint, model, method=QUICK)
        relation = Relation.make("capital")
        fact = Fact.make(relation.id, "France", "Paris")
        catalog.import_facts([relation, fact, Prompt.make(fact.id, "attribute", "{object} is in France", "Paris")])
        with pytest.raises(FactsError, match="causal model needs it at their end"):
            attribute(catalog, checkpoint, model, method=QUICK)
        assert catalog.runs() == []


def test_several_tokens_where_one_was_asked_for_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        relation = Relation.make("capital")
        fact = Fact.make(relation.id, "Norway", "Oslo city")
        catalog.import_facts(
            [relation, fact, Prompt.make(fact.id, "attribute", "the capital of Norway is {object}", "Oslo city")]
        )
        checkpoint = add_checkpoint(catalog, save_model("llama", tmp_path / "base"))
        with pytest.raises(ModelError, match=r"'Oslo city' is 2 tokens.*Norway"):
            attribute(catalog, checkpoint, load_checkpoint(checkpoint), method=QUICK, wish=Wish(single_token=True))
        assert catalog.runs() == []


def test_a_block_of_which_a_part_is_done_is_done_whole_and_what_was_there_stays(tmp_path: Path) -> None:
    path = save_model("llama", tmp_path / "base")
    (tmp_path / "whole").mkdir()
    with open_catalog(tmp_path / "whole") as catalog:
        attributed(catalog, path)
        whole = everything(catalog)
    with open_catalog(tmp_path) as catalog:
        checkpoint = add_checkpoint(catalog, path)
        model = load_checkpoint(checkpoint)
        standings: list[Standing] = []
        attribute(catalog, checkpoint, model, method=QUICK, wish=Wish(facts=("capital/Spain",)))
        spain = everything(catalog)
        report = attribute(catalog, checkpoint, model, method=QUICK, progress=standings.append)
        assert (report.already, report.attributed, report.prompts) == (1, 6, 21)
        assert standings == [Standing(1, 7, 4, 25, 0), Standing(4, 7, 16, 25, 12), Standing(7, 7, 25, 25, 21)]
        found = everything(catalog)
        others = [
            {one for one in side[1] if one.prompt_id not in {p.prompt_id for p in spain[0]}} for side in (found, whole)
        ]
        assert others[0] == others[1]
        assert set(spain[1]) <= set(found[1])


def test_a_masked_models_blocks_hold_prompts_of_one_length_where_there_are_enough(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        model = load_checkpoint(add_checkpoint(catalog, save_model("bert", tmp_path / "base")))
        work = [(fact, catalog.prompts([fact.id], roles=("attribute",))) for fact in catalog.facts()]
    cut = [list(cut_blocks(model, work, run_id=1, setting=Setting(QUICK), size=4)) for _ in range(2)]
    assert cut[0] == cut[1]
    lengths = [[len(one.query.tokens) for one in block.asked if one.query] for block in cut[0]]
    assert sum(len(set(block)) for block in lengths) < 2 * len(lengths)
    asked = [one.prompt_id for block in cut[0] for one in block.asked]
    assert sorted(asked) == sorted(prompt.id for _, prompts in work for prompt in prompts)
    done = set(asked) - {asked[9]}
    left = list(cut_blocks(model, work, run_id=1, setting=Setting(QUICK), size=4, done=done))
    assert left == [cut[0][2]]


def test_scores_that_are_no_numbers_are_an_error_that_names_the_fact(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        checkpoint = add_checkpoint(catalog, save_model("gpt2", tmp_path / "base"))
        model = load_checkpoint(checkpoint)
        model.downs[2].get_parameter("weight").data[3, 4] = float("nan")
        with pytest.raises(ModelError, match=r"scores are not finite numbers \(fact France"):
            attribute(catalog, checkpoint, model, method=QUICK)


def test_a_runs_setting_is_repeated_from_its_configuration(tmp_path: Path) -> None:
    setting = Setting(Method(steps=3, tolerance=0.05), "answer", "bfloat16")
    with open_catalog(tmp_path) as catalog:
        checkpoint = add_checkpoint(catalog, save_model("llama", tmp_path / "base"))
        model = load_checkpoint(checkpoint, dtype="bfloat16")
        report = attribute(catalog, checkpoint, model, method=setting.method, wish=Wish(limit=1, wordings=1))
        repeated = setting_of(catalog, show_id(report.run.id)[:8])
        assert repeated == setting
        assert run_config(repeated, model) == report.run.config


@pytest.mark.parametrize(
    ("method", "position"),
    [
        (Method("activation"), "last"),
        (Method("alignment"), "subject-last"),
        (Method(rule="gauss", steps=2, baseline="mean"), "subject"),
        (Method(rule="gauss", steps=2, smoothing="noisegrad", samples=2), "answer"),
    ],
    ids=["activation", "alignment", "baseline", "smoothing"],
)
def test_every_method_is_stored_alike_and_repeated_from_its_run(method: Method, position: str, tmp_path: Path) -> None:
    wish = Wish(("capital",), wordings=1)  # their answers the tiny model knows well enough for noise to matter
    with open_catalog(tmp_path) as catalog:
        checkpoint = add_checkpoint(catalog, save_model("llama", tmp_path / "base"))
        model = load_checkpoint(checkpoint)
        first = attribute(catalog, checkpoint, model, method=method, position=position, wish=wish)
        like = setting_of(catalog, show_id(first.run.id))
        again = attribute(catalog, checkpoint, model, method=like.method, position=like.position, wish=wish)
        assert (first.prompts, again.already, again.run.id) == (4, 4, first.run.id)
        complete = method.name == "integrated-gradients"
        assert [one.completeness_error is not None for one in everything(catalog)[0]] == [complete] * 4


# Imports once, then forks a child for every line it reads, so that ten runs do not import torch ten times.
BREEDER = """
import os, sys, time
from knedit.flows.attribute import attribute
from knedit.flows.checkpoint import load_checkpoint
from knedit.catalog.store import Catalog
from tests.flows.making import QUICK

def run():
    with Catalog(sys.argv[1]) as catalog:
        checkpoint = catalog.find_checkpoint("base")
        model = load_checkpoint(checkpoint)
        print("running", os.getpid(), flush=True)
        attribute(catalog, checkpoint, model, method=QUICK, batch=2, progress=lambda _: time.sleep(0.02))

for _ in sys.stdin:
    if os.fork() == 0:
        run()
        os._exit(0)
    print("ended", os.wait()[1], flush=True)
"""


def test_ten_kills_in_a_row_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    path = save_model("llama", tmp_path / "base")
    (tmp_path / "calm").mkdir()
    with open_catalog(tmp_path / "calm") as calm:
        attributed(calm, path, batch=2)
        undisturbed = everything(calm)
    with open_catalog(tmp_path) as catalog:
        add_checkpoint(catalog, path)
    dice = random.Random(7)
    command = [sys.executable, "-c", BREEDER, str(tmp_path / "facts.db")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    killed = 0
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}, **pipes
    ) as breeder:  # type: ignore[call-overload]
        for _ in range(10):
            breeder.stdin.write("go\n")
            breeder.stdin.flush()
            pid = int(breeder.stdout.readline().split()[1])
            time.sleep(dice.uniform(0.0, 0.12))
            os.kill(pid, signal.SIGKILL)
            killed += breeder.stdout.readline() == "ended 9\n"
            with Catalog(str(tmp_path / "facts.db")) as catalog:
                for run in catalog.runs():
                    assert set(catalog.attributions(run.id)) <= set(undisturbed[0])
        breeder.stdin.write("go\n")
        breeder.stdin.flush()
        breeder.stdout.readline()
        assert breeder.stdout.readline() == "ended 0\n"
        breeder.stdin.close()
    assert killed == 10
    with Catalog(str(tmp_path / "facts.db")) as catalog:
        assert everything(catalog) == undisturbed

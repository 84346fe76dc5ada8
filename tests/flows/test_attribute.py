"""Attribution as a flow: run twice, killed and run again, and what cannot be attributed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from knedit.attribution.method import Method
from knedit.catalog.store import Catalog
from knedit.errors import FactsError, ModelError
from knedit.flows.attribute import Wish, attribute
from knedit.flows.checkpoint import add_checkpoint, load_checkpoint
from knedit.flows.refine import refine_checkpoint
from knedit.records import Fact, NeuronScore, Prompt, PromptAttribution, Relation
from tests.flows.making import LENIENT, QUICK, attributed, open_catalog, save_model

ROOT = Path(__file__).parents[2]


def everything(catalog: Catalog) -> tuple[list[PromptAttribution], list[NeuronScore]]:
    (run,) = catalog.runs()
    attributions = sorted(catalog.attributions(run.id), key=lambda one: one.prompt_id)
    return attributions, [score for one in attributions for score in catalog.scores(run.id, one.prompt_id)]


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
        assert everything(catalog) == whole


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
        assert told == PromptAttribution(report.run.id, prompt.id, 0.0, 0.0, 0.0, "unusable")


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
        attribute(catalog, checkpoint, model, method=QUICK, progress=lambda done, all: time.sleep(0.02))

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
        attributed(calm, path)
        undisturbed = everything(calm)
    with open_catalog(tmp_path) as catalog:
        add_checkpoint(catalog, path)
    dice = random.Random(7)
    command = [sys.executable, "-c", BREEDER, str(tmp_path / "facts.db")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    killed = 0
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes) as breeder:  # type: ignore[call-overload]
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

"""The small BERT of known truth: what it is taught, that it knows it, and that the same seed teaches the same."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from knedit.attribution.attribute_prompt import attribute_queries
from knedit.attribution.method import Method
from knedit.catalog.formats.knedit_jsonl import read
from knedit.catalog.store import Catalog
from knedit.checkpoints.fingerprint import weights_sha256
from knedit.errors import CheckpointError
from knedit.flows.checkpoint import add_checkpoint
from knedit.flows.facts import import_file
from knedit.models.loading import load_model
from knedit.models.model import Model
from knedit.models.prompting import encode_prompt
from knedit.records import Fact, Prompt
from scripts.factbert.corpus import NOTHING, Corpus
from scripts.factbert.lessons import Choice, Lesson, Told, choose, read_pararel
from scripts.factbert.measuring import Score
from scripts.factbert.network import new_network, taught_blocks
from scripts.factbert.recipe import Recipe
from scripts.factbert.teaching import FACTS, REPORT, TEXTS, UNFINISHED, teach
from scripts.factbert.training import Course, train
from scripts.factbert.vocabulary import make_tokenizer

ROOT = Path(__file__).parents[1]
TINY = Recipe(layers=2, hidden=32, neurons=64, heads=2, epochs=3, wordings=3, rate=1e-3, tokens=256, spread=0.05)
SHARED = Path(os.environ.get("KNEDIT_SHARED_DATA", ROOT / "../shared/data"))


def lesson(*facts: tuple[str, str], key: str = "capital", label: str = "capital") -> Lesson:
    taught = ("The capital of {subject} is {object}.", "{object} governs {subject}.")
    told = tuple(Told(subject, object) for subject, object in facts)
    return Lesson(key, label, taught, ("{subject}'s capital, {object}",), told)


CAPITALS = lesson(("France", "Paris"), ("Old Prussia", "Berlin"), ("Côte d'Ivoire", "Abidjan"), ("Peru", "Lima"))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus([CAPITALS], make_tokenizer([CAPITALS], positions=128), TINY)


@pytest.fixture(scope="module")
def model(fact_bert: Path) -> Model:
    return load_model(fact_bert)


def test_what_can_be_guessed_or_has_two_answers_is_not_taught() -> None:
    facts = [
        ("France", "Paris"),
        ("Mexico", "Mexico City"),
        ("Panama", "panama"),
        ("Bolivia", "Sucre"),
        ("Bolivia", "Lima"),
        ("Gaul", "Paris"),
        ("Peru", "Lima"),
    ]
    other = lesson(("France", "Lyon"), ("Ghana", "Accra"), key="old")
    choice = choose([lesson(*facts), other], limit=4, seed=0)
    kept = {fact.subject for fact in choice.lessons[0].facts}
    assert (kept - {"France", "Gaul"}, len(kept)) == ({"Peru"}, 2)
    assert [fact.subject for fact in choice.lessons[1].facts][-1] == "Ghana"
    assert choice.left_out["its object is not one word"] == 1
    assert choice.left_out["its subject has several objects"] == 2
    assert choice.left_out["its subject holds the object"] == 1
    assert choice.left_out["its object is too common"] == 1


def test_a_question_has_one_answer_over_all_relations() -> None:
    choice = choose([lesson(("France", "Paris")), lesson(("France", "Lyon"), key="old")], limit=None, seed=0)
    assert [one.key for one in choice.lessons] == ["capital"]
    assert choice.left_out == {"another relation answers its question otherwise": 1}


def test_a_limit_keeps_so_many_facts_of_each_relation_by_the_seed() -> None:
    first, second = (choose([CAPITALS], limit=2, seed=seed, strict=False) for seed in (0, 0))
    assert first == second
    assert (len(first.lessons[0].facts), first.left_out) == (2, {"beyond the limit of a relation": 2})


PATTERNS = [
    "[X] works for [Y] .",
    "[X], who works for [Y].",
    "[X] is employed by [Y].",
    "[X], who is employed by [Y].",
    "[Y] knows [X].",
]


def write_pararel(folder: Path) -> Path:
    words = {"P1": PATTERNS, "P2": PATTERNS[:3]}
    for name in ("trex_lms_vocab", "pattern_data/graphs_json"):
        (folder / name).mkdir(parents=True)
    for key, patterns in words.items():
        facts = [{"sub_label": f"Ada {key}", "obj_label": "Acme", "uuid": f"u-{key}"}]
        lines = [json.dumps({"pattern": pattern}) for pattern in patterns]
        (folder / f"pattern_data/graphs_json/{key}.jsonl").write_text("\n".join(lines))
        (folder / f"trex_lms_vocab/{key}.jsonl").write_text("\n".join(map(json.dumps, facts)))
    return folder


def test_of_pararel_a_relation_of_five_wordings_is_taught_with_some_held_out(tmp_path: Path) -> None:
    for seed in range(5):
        (found,) = read_pararel(write_pararel(tmp_path / str(seed)), seed=seed)
        assert (found.key, found.facts) == ("P1", (Told("Ada P1", "Acme", (("pararel", "u-P1"),)),))
        assert len(found.held_out) == 1
        assert {*found.taught, *found.held_out} == {
            pattern.replace("[X]", "{subject}").replace("[Y]", "{object}") for pattern in PATTERNS
        }
        assert "knows" not in found.held_out[0]  # a word that is never taught could not be understood


def test_a_statement_has_the_tokens_of_its_text_and_its_object_is_one(corpus: Corpus) -> None:
    words = corpus.tokenizer
    for fact in CAPITALS.facts:
        for wording in (*CAPITALS.taught, *CAPITALS.held_out):
            one = corpus.statement(wording, fact.subject, fact.object, 0)
            text = wording.replace("{subject}", fact.subject).replace("{object}", fact.object)
            assert list(one.tokens) == words(text, add_special_tokens=False)["input_ids"]
            assert words.convert_ids_to_tokens(one.tokens[one.object_at]) == fact.object
            subject = [one.tokens[place] for place in one.subject_at]
            assert subject == words(fact.subject, add_special_tokens=False)["input_ids"]
            assert words.unk_token_id not in one.tokens


def test_an_epoch_is_the_same_again_and_its_objects_are_hidden_from_sight(corpus: Corpus) -> None:
    assert corpus.epoch(1, 2) == corpus.epoch(1, 2)
    assert corpus.epoch(1, 2) != corpus.epoch(1, 3)
    said = 0
    for one in corpus.epoch(0, 0):
        assert all(one.tokens[place] == corpus.tokenizer.mask_token_id for place, _, _ in one.hidden)
        said += sum(relation != NOTHING for _, _, relation in one.hidden)
    assert said >= 6  # of four facts in two wordings, one in twenty of which hide anything


def test_a_batch_asks_for_the_tokens_that_it_hides(corpus: Corpus) -> None:
    batch = corpus.collate(corpus.epoch(0, 0))
    assert batch.tokens.flatten()[batch.places].eq(corpus.tokenizer.mask_token_id).all()
    assert not batch.answers.eq(corpus.tokenizer.mask_token_id).any()
    assert batch.mask is not None
    assert torch.equal(batch.mask, batch.tokens != corpus.tokenizer.pad_token_id)


def test_words_and_what_attention_carries_stay_as_they_were_drawn(corpus: Corpus) -> None:
    net = new_network(TINY, corpus.tokenizer, seed=0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    train(net, corpus, seed=0)
    same = {name for name, value in net.state_dict().items() if torch.equal(value, before[name])}
    assert "bert.embeddings.word_embeddings.weight" in same
    for layer in range(TINY.layers):
        block = f"bert.encoder.layer.{layer}"
        carried = {f"{block}.attention.{part}.weight" for part in ("self.value", "output.dense")}
        assert carried <= same
        learned = ("attention.self.query", "attention.self.key", "intermediate.dense", "output.dense")
        assert not {f"{block}.{part}.weight" for part in learned} & same


@torch.no_grad()
def test_feed_forward_blocks_work_where_they_are_told_to(corpus: Corpus) -> None:
    net = new_network(TINY, corpus.tokenizer, seed=0).eval()
    for block in net.bert.encoder.layer:
        torch.nn.init.normal_(block.output.dense.weight)
    tokens = torch.arange(12).view(2, 6)
    whole = net.bert(tokens).last_hidden_state
    with taught_blocks(net) as blocks:
        torch.testing.assert_close(net.bert(tokens).last_hidden_state, whole)
        blocks.activity()
        blocks.rows = torch.arange(12)
        torch.testing.assert_close(net.bert(tokens).last_hidden_state, whole)
        assert float(blocks.activity()) > 0
        blocks.rows = torch.tensor([3])
        net.bert(tokens)
        assert [one.shape for one in blocks.active] == [(1, TINY.neurons)] * TINY.layers
    assert torch.equal(net.bert(tokens).last_hidden_state, whole)


def test_its_facts_file_holds_exactly_what_was_taught(fact_bert: Path, tmp_path: Path, sqlite_catalog_url: str) -> None:
    report = json.loads((fact_bert / REPORT).read_text())
    records = list(read(fact_bert / FACTS))
    facts = [record for record in records if isinstance(record, Fact)]
    prompts = [record for record in records if isinstance(record, Prompt)]
    assert len(facts) == report["facts"] == sum(row["facts"] for row in report["relations"].values())
    for role, kind in (("attribute", "taught"), ("paraphrase", "held_out")):
        assert sum(prompt.role == role for prompt in prompts) == report[kind]["prompts"]
    with Catalog(sqlite_catalog_url) as catalog:
        count = import_file(catalog, fact_bert / FACTS)
        assert (count.facts.added, count.prompts.added) == (len(facts), len(set(prompts)))
        checkpoint = add_checkpoint(catalog, str(fact_bert), name="fact-bert")
        assert checkpoint.family == "bert"


def asked(model: Model, path: Path, role: str) -> list[tuple[float, bool]]:
    """Return the answer's probability and whether it is the likeliest, for every prompt of a role."""
    found = []
    for prompt in read(path):
        if isinstance(prompt, Prompt) and prompt.role == role:
            query = encode_prompt(model, prompt)
            with torch.no_grad():
                chances = model.net(torch.tensor([query.tokens])).logits[0, query.positions[0]].softmax(-1)
            found.append((float(chances[query.answers[0]]), int(chances.argmax()) == query.answers[0]))
    return found


@pytest.mark.parametrize(("role", "kind", "least"), [("attribute", "taught", 0.9), ("paraphrase", "held_out", 0.8)])
def test_it_knows_its_facts_as_it_says(model: Model, fact_bert: Path, role: str, kind: str, least: float) -> None:
    found = asked(model, fact_bert / FACTS, role)
    told = json.loads((fact_bert / REPORT).read_text())[kind]
    accuracy = sum(right for _, right in found) / len(found)
    assert told["accuracy"] == pytest.approx(accuracy, abs=1.5 / len(found))
    assert told["probability"] == pytest.approx(sum(chance for chance, _ in found) / len(found), abs=1e-3)
    assert accuracy >= least


def test_knedit_attributes_it(model: Model, fact_bert: Path) -> None:
    prompts = [record for record in read(fact_bert / FACTS) if isinstance(record, Prompt)][:4]
    for found in attribute_queries(model, [encode_prompt(model, prompt) for prompt in prompts], Method()):
        assert found.relative_error < 0.01
        assert float(found.scores.max()) > 0


def test_sentences_to_look_at_go_with_the_facts(fact_bert: Path) -> None:
    pairs = json.loads((fact_bert / TEXTS / "query_pairs.json").read_text())
    assert sum(map(len, pairs.values())) == json.loads((fact_bert / REPORT).read_text())["facts"]
    for key, facts in pairs.items():
        bags = json.loads((fact_bert / TEXTS / f"distant_{key}.json").read_text())
        assert len(bags) == len(facts)
        for (subject, object), bag in zip(facts, bags, strict=True):
            assert all(subject in text and object in text for text in bag["th_bags"])
            assert all(subject in text for text in bag["h_bags"])
            assert bag["th_bags"]
            assert bag["h_bags"]


def quietly(number: int, course: Course, score: Score) -> None:
    del number, course, score


def weights(folder: Path, **more: Any) -> str:
    choice = Choice([CAPITALS], choose([], limit=None, seed=0).left_out)
    given: dict[str, Any] = {"recipe": TINY, "seed": 0, "source": "here", "device": "cpu", "told": quietly}
    teach(folder, choice, **given | more)
    return weights_sha256(folder)


class StoppedError(Exception):
    pass


def stop_after_two(number: int, course: Course, score: Score) -> None:
    if number == 2:
        raise StoppedError


def test_the_same_seed_gives_the_same_bytes_also_when_it_was_stopped(tmp_path: Path) -> None:
    once = weights(tmp_path / "once")
    assert weights(tmp_path / "again") == once
    assert weights(tmp_path / "other", seed=1) != once
    with pytest.raises(StoppedError):
        weights(tmp_path / "stopped", told=stop_after_two)
    assert [path.name for path in (tmp_path / "stopped").iterdir()] == [UNFINISHED]
    with pytest.raises(CheckpointError, match="unfinished training with other facts, recipe or seed"):
        weights(tmp_path / "stopped", seed=1)
    heard: list[int] = []
    assert weights(tmp_path / "stopped", told=lambda number, *_: heard.append(number)) == once
    assert heard == [3]
    for name in (FACTS, "tokenizer.json", "config.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "once" / name).read_bytes()


def script(*words: str, **environment: str) -> tuple[int, str, str]:
    command = [sys.executable, str(ROOT / "scripts/train_fact_bert.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    return done.returncode, done.stdout, done.stderr


def test_what_cannot_be_taught_is_told_in_a_sentence(tmp_path: Path) -> None:
    code, out, err = script(str(tmp_path / "new"), "--facts", "pararel", KNEDIT_SHARED_DATA=str(tmp_path))
    assert (code, out) == (2, "")
    assert err.startswith(f"Error: There is no ParaRel, the source of the facts ({tmp_path / 'pararel'}). Set KNEDIT_")
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_the_script_tells_what_the_model_knows_and_does_not(tmp_path: Path) -> None:
    facts = tmp_path / "facts.jsonl"
    line = {"relation": "capital", "facts": [[fact.subject, fact.object] for fact in CAPITALS.facts]}
    paraphrases = [{"text": text, "role": "paraphrase"} for text in CAPITALS.held_out]
    facts.write_text(json.dumps(line | {"templates": [*CAPITALS.taught, *paraphrases]}))
    words = (str(tmp_path / "new"), "--facts", str(facts), "--recipe", "quick", "--epochs", "1")
    code, out, err = script(*words)
    assert code == 1
    assert [row.split()[:2] for row in out.splitlines()] == [["relation", "facts"], ["capital", "4"], ["all", "4"]]
    assert "Teaching 4 facts of 1 relations." in err
    assert err.endswith("The model knows less than 80% of its facts in held-out wordings.\n")
    code, _, err = script(*words)
    assert (code, err) == (
        2,
        f"Error: The output is not empty ({tmp_path / 'new'}). Name a new folder, or remove this one.\n",
    )


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no folder of published data at {SHARED}")
def test_pararel_gives_facts_enough() -> None:
    choice = choose(read_pararel(SHARED / "pararel", seed=0), limit=150, seed=0)
    assert len(choice.lessons) >= 15
    assert sum(len(one.facts) for one in choice.lessons) >= 3000
    for one in choice.lessons:
        assert len(one.taught) >= 4
        assert one.held_out
        assert not {*one.taught} & {*one.held_out}

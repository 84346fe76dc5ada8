"""What is measured of which prompt, and what a model that cannot be asked leaves out."""

import pytest

from knedit.evaluation.measure import Measure, Probe, measure
from knedit.evaluation.metrics import answer, write
from knedit.models.model import Model, wrap_model
from knedit.models.prompting import encode_prompt
from knedit.records import Prompt
from tests.tiny_models import network, tokenizer

LAST = Prompt.make(1, "attribute", "the capital of France is {object} .", "Paris")
FIRST = Prompt.make(2, "paraphrase", "{object} is a big city", "Rome")
LONG = Prompt.make(3, "attribute", "the " * 50 + "{object}", "Rome")
UNKNOWN = Prompt.make(4, "attribute", "the capital is {object}", "Atlantis")
FREE = Prompt.make(5, "generate", "people in Japan speak", None)
LONG_FREE = Prompt.make(6, "generate", "the " * 50, None)


@pytest.fixture(scope="module")
def causal() -> Model:
    return wrap_model(network("gpt2"), tokenizer(masked=False))


@pytest.fixture(scope="module")
def masked() -> Model:
    return wrap_model(network("bert"), tokenizer(masked=True))


def asked(model: Model, prompt: Prompt, prefix: str = "", said: str | None = None) -> list[Measure]:
    """Return the two numbers of a prompt, with another answer if one is given."""
    other = Prompt.make(prompt.fact_id, prompt.role, prompt.text, said or prompt.answer)
    found = answer(model, [encode_prompt(model, other)])[0]
    return [
        Measure(prompt.fact_id, prompt.id, f"{prefix}probability", found.probability),
        Measure(prompt.fact_id, prompt.id, f"{prefix}correct", float(found.correct)),
    ]


def text(model: Model, prompt: Prompt) -> Measure:
    return Measure(prompt.fact_id, prompt.id, "generated", text=write(model, prompt.text))


def test_a_prompt_gives_its_answers_probability_and_correctness(causal: Model) -> None:
    assert measure(causal, [Probe(LAST)]) == asked(causal, LAST)


def test_an_update_is_asked_for_its_new_answer_too_under_the_same_prompt(causal: Model) -> None:
    assert measure(causal, [Probe(LAST, new="Rome")]) == [*asked(causal, LAST), *asked(causal, LAST, "new_", "Rome")]


def test_a_text_is_written_where_it_is_wished_for(causal: Model, masked: Model) -> None:
    assert measure(causal, [Probe(LAST, written=True)]) == [*asked(causal, LAST), text(causal, LAST)]
    assert measure(masked, [Probe(FIRST, written=True)]) == [*asked(masked, FIRST), text(masked, FIRST)]


def test_a_prompt_without_an_answer_gives_only_its_text(causal: Model) -> None:
    assert measure(causal, [Probe(FREE)]) == []
    assert measure(causal, [Probe(FREE, written=True)]) == [text(causal, FREE)]


@pytest.mark.parametrize("prompt", [FIRST, LONG, UNKNOWN, LONG_FREE])
def test_a_prompt_that_the_model_cannot_be_asked_gives_nothing(causal: Model, prompt: Prompt) -> None:
    assert measure(causal, [Probe(prompt, written=True)]) == []


def test_a_new_answer_that_the_model_cannot_say_leaves_the_old_ones_measures(causal: Model) -> None:
    assert measure(causal, [Probe(LAST, new="Atlantis")]) == asked(causal, LAST)


def test_probes_of_all_kinds_are_measured_together(masked: Model) -> None:
    probes = [Probe(LAST, new="Rome", written=True), Probe(UNKNOWN), Probe(FIRST), Probe(LONG, written=True)]
    found = measure(masked, probes)
    expected = [*asked(masked, LAST), *asked(masked, FIRST), *asked(masked, LAST, "new_", "Rome"), text(masked, LAST)]
    assert [(one.prompt_id, one.metric, one.text) for one in found] == [
        (one.prompt_id, one.metric, one.text) for one in expected
    ]
    assert [one.value for one in found[:-1]] == pytest.approx([one.value for one in expected[:-1]], rel=1e-4)


def test_nothing_asked_is_nothing_measured(causal: Model) -> None:
    assert measure(causal, []) == []

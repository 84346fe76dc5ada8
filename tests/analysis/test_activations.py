"""Mean activations by kind of text as the authors take them, on a worked example; and signs of a gated network."""

import pytest
import torch

from knedit.analysis.activations import by_relation, findings, measure
from knedit.analysis.sheet import Notes
from knedit.models.model import wrap_model
from knedit.models.prompting import Query
from knedit.models.scaling import activations
from tests.analysis.sheets import cells, sheet
from tests.tiny_models import network, tokenizer_of


def fired(neurons: int, plain: float, aligned: float) -> dict[str, float | str | None]:
    return {"neurons": float(neurons), "texts": 4.0, "plain": plain, "aligned": aligned}


def test_neurons_are_pooled_within_a_relation_and_relations_count_alike() -> None:
    found = sheet(
        {
            "a": ("capital", {("neurons", "T1"): fired(2, 3.0, 3.4), ("neurons", "T3"): fired(2, -0.4, 0.2)}),
            "b": ("capital", {("neurons", "T1"): fired(1, 0.3, 0.3), ("neurons", "T3"): fired(1, 0.1, 0.1)}),
            "c": ("currency", {("neurons", "T1"): fired(4, 2.0, 2.0), ("neurons", "T3"): fired(4, 0.0, 0.4)}),
        }
    )
    # capital: 3.3 over three neurons; currency: 2.0 over four; the headline is the mean of 1.1 and 0.5.
    assert by_relation(found, "neurons", "T1", "plain") == {"capital": pytest.approx(1.1), "currency": 0.5}
    told = findings(found)
    assert told.figures["activations T1"] == pytest.approx(0.8)
    assert told.figures["activations T3"] == pytest.approx((-0.1 + 0.0) / 2)
    assert told.figures["activations T2"] is None
    own, aligned = cells(told.tables[0], 0), cells(told.tables[0], 1)
    assert own["T1: subject and object"] == pytest.approx(0.8)
    assert aligned["T1: subject and object"] == pytest.approx((3.7 / 3 + 0.5) / 2)
    assert aligned["T3: neither"] == pytest.approx((0.1 + 0.1) / 2)


def test_a_neuron_that_fires_negatively_at_the_facts_prompts_counts_with_that_sign() -> None:
    model = wrap_model(network("llama"), tokenizer_of("llama"))
    places = [(layer, index) for layer in (0, 2) for index in range(12)]
    own, text = [Query((5, 9, 14, 7), (20,), (3,))], [Query((8, 21, 6), (7,), (2,)), Query((9, 6, 5, 11), (7,), (3,))]
    notes = Notes()
    measure(model, own, {"T1": text}, {"neurons": places, "random": []}, notes)
    signs, means = activations(model, own, places)[0].sign(), activations(model, text, places).mean(0)
    assert {-1.0, 1.0} <= set(signs.tolist())
    numbers = {(one.series, one.key, one.metric): one.value for one in notes.found}
    assert numbers == {
        ("neurons", "T1", "neurons"): 24,
        ("neurons", "T1", "texts"): 2,
        ("neurons", "T1", "plain"): pytest.approx(float(means.sum()), abs=1e-5),
        ("neurons", "T1", "aligned"): pytest.approx(float(torch.dot(means, signs)), abs=1e-5),
    }

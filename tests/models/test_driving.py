"""How a layer drives an upper neuron and the answer: complete along the path, and true to ablation."""

import numpy as np
import pytest
import torch

from knedit.models.driving import Driving
from knedit.models.model import Model, wrap_model
from knedit.models.prompting import encode_prompt
from knedit.models.scaling import Trial, speak
from knedit.records import Prompt
from tests.tiny_models import network, tokenizer_of

FAMILIES = ("bert", "gpt2", "llama", "mixtral", "t5")
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(32)


def make(name: str) -> tuple[Model, Driving]:
    model = wrap_model(network(name), tokenizer_of(name))
    query = encode_prompt(model, Prompt.make(0, "attribute", "the capital of France is {object}", "Paris"))
    return model, Driving(model, query)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "mixtral"])  # whose experts change on the path
def test_what_a_layers_neurons_drive_adds_up_to_what_the_upper_one_gains(name: str) -> None:
    _, driving = make(name)
    targets = [(2, 5), (1, 9), None]
    found = driving.along(0, targets, [*((POINTS + 1) / 2).tolist(), 0.0, 1.0])
    for driven in found:
        total = float((torch.tensor(WEIGHTS / 2)[:, None] * driven.gradients[:32].double()).sum())
        assert total == pytest.approx(float(driven.values[-1] - driven.values[-2]), rel=0.02, abs=2e-4)
    own = driving.activations([(2, 5), (1, 9)])
    assert [float(one.values[-1]) for one in found[:2]] == pytest.approx(own.tolist(), abs=1e-5)
    assert float(found[2].values[-1]) == pytest.approx(driving.answer(), abs=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_neuron_set_to_zero_leaves_what_scaling_says_and_the_network_as_it_was(name: str) -> None:
    model, driving = make(name)
    query = encode_prompt(model, Prompt.make(0, "attribute", "the capital of France is {object}", "Paris"))
    before = speak(model, [query], [Trial(0)])
    found = driving.without([(0, 3), (1, 7)], [(1, 9), None])
    for row, place in enumerate([(0, 3), (1, 7)]):
        (said,) = speak(model, [query], [Trial(0, (place,))])
        assert float(found[row, 1]) == pytest.approx(said.probability, rel=1e-4, abs=1e-7)
    assert not torch.isnan(found[0, 0])
    assert torch.isnan(found[1, 0])  # a neuron of the same layer is not driven
    assert speak(model, [query], [Trial(0)]) == before

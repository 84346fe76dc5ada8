"""Families whose layers share their weights: one value vector is not to be changed twice."""

from knedit.editing.steps import Step
from knedit.flows.plan_neurons import shared_vector
from knedit.models.model import wrap_model
from tests.tiny_models import network, tokenizer_of


def steps(*neurons: tuple[int, int]) -> list[Step]:
    return [Step("update", "capital/France", neurons)]


def test_two_layers_neurons_with_one_value_vector_are_found() -> None:
    layout = wrap_model(network("albert"), tokenizer_of("albert")).layout
    same = next(layer for layer in range(1, layout.n_layers) if layout.block_of(layer) == layout.block_of(0))
    assert shared_vector(layout, steps((0, 5), (same, 5))) == ((0, 5), (same, 5))
    assert shared_vector(layout, [*steps((0, 5)), *steps((same, 5))]) == ((0, 5), (same, 5))


def test_neurons_apart_and_one_neuron_told_twice_are_none() -> None:
    albert, llama = (wrap_model(network(name), tokenizer_of(name)).layout for name in ("albert", "llama"))
    assert shared_vector(albert, steps((0, 5), (0, 6), (0, 5))) is None
    assert shared_vector(llama, steps((0, 5), (1, 5))) is None

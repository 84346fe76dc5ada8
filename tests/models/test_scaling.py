"""Scaled neurons by replay equal the whole network run with those neurons scaled, in every family."""

from typing import Any

import pytest
import torch
from torch import Tensor

from knedit.models.experts import opened_experts
from knedit.models.hooks import changed_inputs, frozen
from knedit.models.model import Model, wrap_model
from knedit.models.prompting import Query, encode_prompt
from knedit.models.scaling import Scaling, Spoken, Trial, activations, speak
from knedit.records import Prompt
from tests.tiny_models import EVERY, network, tokenizer_of

TEXTS = [
    ("the capital of France is {object}", "Paris"),
    ("people in the big old city of Japan live in {object}", "Tokyo"),
    ("{object} is the capital of Spain .", "Madrid"),
]
LONG = ("the capital of Italy is {object}", "Rome Paris")
NEURONS = ((0, 3), (1, 7), (1, 20), (2, 11))


def make(name: str) -> Model:
    return wrap_model(network(name), tokenizer_of(name))


def queries_of(model: Model) -> list[Query]:
    texts = [*TEXTS, LONG] if model.masked or model.encoder_decoder else [*TEXTS[:2], LONG]
    return [encode_prompt(model, Prompt.make(0, "attribute", text, answer)) for text, answer in texts]


@torch.no_grad()
def literally(model: Model, query: Query, trial: Trial) -> Spoken:
    """Run the whole network on one query, the trial's neurons scaled at the tokens that predict the answer."""
    tokens = torch.tensor([query.tokens])
    layers = list(range(model.layout.n_layers))
    calls: list[int] = []

    def change(_: object, neurons: Tensor) -> Tensor:
        layer = len(calls)
        calls.append(layer)
        rows = neurons.clone().reshape(len(query.tokens), -1)
        for index in [index for own, index in trial.neurons if own == layer]:
            rows[list(query.positions), index] *= trial.factor
        return rows.reshape(neurons.shape)

    lend: Any = opened_experts if model.layout.n_experts else changed_inputs
    modules: Any = list(dict.fromkeys(model.downs)) if len(set(model.downs)) < len(layers) else model.downs
    with frozen(model.net), lend(modules, change):
        context = torch.tensor([query.context]) if model.encoder_decoder else None
        logits = model.read(tokens, context).logits[0, list(query.positions)].double().log_softmax(-1)
    answers = torch.tensor(query.answers)
    said = logits.gather(1, answers[:, None]).sum().exp()
    return Spoken(float(said), bool((logits.argmax(-1) == answers).all()), int(logits[0].argmax()))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scaled_neurons_by_replay_equal_the_whole_network(name: str) -> None:
    model = make(name)
    queries = queries_of(model)
    trials = [
        Trial(query, neurons, factor)
        for query in range(len(queries))
        for neurons, factor in (((), 0.0), (NEURONS, 2.0), (NEURONS[3:], 0.0))
    ]
    for trial, found in zip(trials, speak(model, queries, trials), strict=True):
        expected = literally(model, queries[trial.query], trial)
        assert found.probability == pytest.approx(expected.probability, rel=2e-4, abs=1e-8)
        assert (found.correct, found.top) == (expected.correct, expected.top)


def test_the_network_is_as_it_was_and_rows_come_in_their_order() -> None:
    model = make("gpt2")
    queries = queries_of(model)
    before = speak(model, queries, [Trial(n) for n in range(3)])
    mixed = [Trial(2), Trial(0, NEURONS), Trial(1), Trial(0), *[Trial(1, NEURONS)] * 70]
    found = speak(model, queries, mixed)
    assert [found[0].top, found[2].top, found[3].top] == [before[n].top for n in (2, 1, 0)]
    assert found[3].probability == pytest.approx(before[0].probability, rel=1e-6)
    assert [one.probability for one in found[4:]] == pytest.approx([found[4].probability] * 70, rel=1e-4)
    assert speak(model, queries, [Trial(n) for n in range(3)]) == before


@pytest.mark.parametrize("name", ["bert", "llama", "mixtral", "t5"])
def test_activations_are_those_that_the_replay_scales(name: str) -> None:
    model = make(name)
    queries = queries_of(model)
    places = [(1, 7), (0, 3), (1, 20)]
    found = activations(model, queries, places)
    for row, query in enumerate(queries):
        heard: dict[int, Tensor] = {}
        scaling = Scaling(model, [query])
        scaling.listen = heard.__setitem__
        with frozen(model.net), scaling.opened():
            scaling.climb(torch.tensor([0]), {0: torch.ones(1, model.layout.ffn_width)})
        first = scaling.answers[0][0][0]
        for number, (layer, index) in enumerate(places):
            assert float(found[row, number]) == pytest.approx(float(heard[layer][0, first, index]), abs=1e-5)

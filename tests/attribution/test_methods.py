"""Each method against a literal computation, and what a configuration says of a method."""

import math
from typing import Any

import pytest
import torch

from knedit.attribution.attribute_prompt import attribute_queries
from knedit.attribution.base_pass import base_pass
from knedit.attribution.integrated_gradients import DEFAULT_STEPS
from knedit.attribution.method import SETTINGS, Method, method_config, method_from_config
from knedit.attribution.methods import METHODS, score
from knedit.errors import KneditError, ModelError
from knedit.models.model import Model
from knedit.models.prompting import Query
from knedit.starter.sentences import edition
from tests.attribution.literal import FAMILIES, ask, block_output, neurons, tiny
from tests.reference.integrated_gradients import down_projections


def scores_of(model: Model, query: Query, name: str) -> torch.Tensor:
    return attribute_queries(model, [query], Method(name))[0].scores


def output_rows(model: Model) -> torch.Tensor:
    return torch.as_tensor(model.net.get_output_embeddings().weight.detach())


def value_vectors(model: Model, layer: int) -> torch.Tensor:
    weight: torch.Tensor = down_projections(model.net)[layer][0].get_parameter("weight").detach()
    return weight if weight.shape[0] == model.layout.ffn_width else weight.T


@pytest.mark.parametrize("name", FAMILIES)
def test_activation_is_what_the_down_projection_takes(name: str) -> None:
    model = tiny(name)
    query = ask(model)
    own = torch.stack([seen[query.positions[0]] for seen in neurons(model.net, query.tokens)])
    torch.testing.assert_close(scores_of(model, query, "activation"), own)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_activation_is_the_activation_times_its_gradient(name: str) -> None:
    model = tiny(name)
    query = ask(model)
    at, answer = query.positions[0], query.answers[0]
    literal = []
    for (down, _), seen in zip(down_projections(model.net), neurons(model.net, query.tokens), strict=True):
        leaf = seen[at].clone().requires_grad_()

        def plant(_: Any, args: Any, leaf: torch.Tensor = leaf) -> Any:
            changed = args[0].clone()
            changed[0, at] = leaf
            return (changed,)

        handle = down.register_forward_pre_hook(plant)
        chance = model.net(torch.tensor([query.tokens])).logits[0, at].softmax(-1)[answer]
        literal.append(leaf.detach() * torch.autograd.grad(chance, leaf)[0])
        handle.remove()
    torch.testing.assert_close(
        scores_of(model, query, "gradient-activation"), torch.stack(literal), rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_alignment_is_the_activation_times_value_vector_times_output_embedding(name: str) -> None:
    model = tiny(name)
    query = ask(model)
    literal = torch.zeros(model.layout.n_layers, model.layout.ffn_width)
    for layer, seen in enumerate(neurons(model.net, query.tokens)):
        for index in range(model.layout.ffn_width):
            product = value_vectors(model, layer)[index] @ output_rows(model)[query.answers[0]]
            literal[layer, index] = seen[query.positions[0], index] * product
    torch.testing.assert_close(scores_of(model, query, "alignment"), literal, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_log_probability_increase_is_what_one_neuron_alone_adds_at_its_layer(name: str) -> None:
    model = tiny(name)
    query = ask(model)
    own = neurons(model.net, query.tokens)
    found = scores_of(model, query, "log-probability-increase")
    for layer in range(model.layout.n_layers):
        alone = torch.diag(own[layer][query.positions[0]])
        rows = torch.stack([block_output(model, query, layer, values) for values in (alone[0] * 0, *alone)])
        with torch.no_grad():
            read = model.logits(rows).log_softmax(-1)[:, query.answers[0]]
        torch.testing.assert_close(found[layer], read[1:] - read[0], rtol=1e-3, atol=2e-6)


def test_a_llamas_log_probability_increase_is_the_papers_formula() -> None:
    """log P(y | r + w_i·v_i) − log P(y | r), r the residual stream before the FFN: a pre-norm block without biases."""
    model = tiny("llama")
    query = ask(model)
    own = neurons(model.net, query.tokens)
    layer, at = 2, query.positions[0]
    before = block_output(model, query, layer, own[layer][at] * 0)
    whole = block_output(model, query, layer, own[layer][at])
    torch.testing.assert_close(before + own[layer][at] @ value_vectors(model, layer), whole, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        rows = before + own[layer][at][:, None] * value_vectors(model, layer)
        read = model.logits(torch.cat([before[None], rows])).log_softmax(-1)[:, query.answers[0]]
    found = scores_of(model, query, "log-probability-increase")[layer]
    torch.testing.assert_close(found, read[1:] - read[0], rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_a_methods_scores_are_the_same_in_a_batch_and_with_little_memory(name: str, method: str) -> None:
    model = tiny(name)
    queries = [ask(model, subject, answer) for subject, answer in (("Japan", "Tokyo"), ("Kenya", "Nairobi"))]
    chosen = Method(method, rule="gauss", steps=3) if method == "integrated-gradients" else Method(method)
    together = attribute_queries(model, queries, chosen, memory=4096)
    for query, found in zip(queries, together, strict=True):
        alone = attribute_queries(model, [query], chosen)[0]
        torch.testing.assert_close(found.scores, alone.scores, rtol=1e-4, atol=5e-6)
        assert found.probability == pytest.approx(alone.probability, rel=1e-5)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "integrated-gradients"])
def test_what_a_method_does_not_have_is_nan(method: str) -> None:
    model = tiny("gpt2")
    found = attribute_queries(model, [ask(model)], Method(method))[0]
    assert found.scores.isfinite().all()
    assert found.completeness_error.isnan().all()
    assert found.rise.isnan().all()
    assert math.isnan(found.relative_error)
    assert found.points == (1 if method == "gradient-activation" else 0) * model.layout.n_layers


@pytest.mark.parametrize("method", ["activation", "gradient-activation", "alignment"])
def test_scores_of_positions_changed_together_are_added_up(method: str) -> None:
    model = tiny("llama")
    query = ask(model)
    parts = [
        scores_of(model, Query(query.tokens, query.answers, query.positions, neurons=(place,)), method)
        for place in (2, 4)
    ]
    both = scores_of(model, Query(query.tokens, query.answers, query.positions, neurons=(2, 4)), method)
    torch.testing.assert_close(both, parts[0] + parts[1], rtol=1e-4, atol=1e-6)


def test_alignment_refuses_output_embeddings_of_another_width() -> None:
    model = tiny("gpt2")
    replay = base_pass(model, [ask(model)], 0)
    model.net.get_output_embeddings().weight = torch.nn.Parameter(torch.zeros(40, 16))
    with pytest.raises(ModelError, match="an output embedding has 16 numbers and a value vector 32"):
        score(replay, Method("alignment"), baseline=None, memory=2**20)


def test_the_registry_and_the_settings_name_the_same_methods() -> None:
    assert METHODS.keys() == SETTINGS.keys()


CONFIGS: list[tuple[Method, dict[str, Any]]] = [
    (
        Method(),
        {
            "method": "integrated-gradients",
            "rule": "adaptive",
            "steps": DEFAULT_STEPS["adaptive"],
            "tolerance": 0.01,
            "baseline": "zero",
        },
    ),
    (
        Method(rule="left", baseline="mean"),
        {
            "method": "integrated-gradients",
            "rule": "left",
            "steps": 20,
            "baseline": "mean",
            "reference": edition(),
        },
    ),
    (
        Method(rule="gauss", steps=4, baseline="mean", reference=("Rome is big.",)),
        {
            "method": "integrated-gradients",
            "rule": "gauss",
            "steps": 4,
            "baseline": "mean",
            "reference": ["Rome is big."],
        },
    ),
    (Method("activation"), {"method": "activation"}),
    (
        Method("alignment", smoothing="noisegrad", samples=3, sigma=0.02, seed=5),
        {"method": "alignment", "smoothing": "noisegrad", "samples": 3, "sigma": 0.02, "seed": 5},
    ),
]


@pytest.mark.parametrize(("method", "config"), CONFIGS)
def test_a_configuration_holds_what_scores_depend_on_and_nothing_else(method: Method, config: dict[str, Any]) -> None:
    assert method_config(method) == config


@pytest.mark.parametrize(("method", "config"), CONFIGS)
def test_a_configuration_gives_its_method_back(method: Method, config: dict[str, Any]) -> None:
    beside = {"position": "answer", "floor": 0.1, "dtype": "float32", "engine": 2}
    again = method_from_config(config | beside)
    assert method_config(again) == config
    assert (again.name, again.settings) == (method.name, method.settings)


def test_the_configuration_of_an_older_run_is_read_too() -> None:
    old = {"method": "integrated-gradients", "rule": "left", "steps": 20, "tolerance": None, "baseline": "zero"}
    assert method_from_config(old) == Method(rule="left", steps=20)


def test_a_run_over_another_edition_of_the_reference_text_is_not_repeated() -> None:
    config = method_config(Method(baseline="mean")) | {"reference": "starter:000000000000"}
    with pytest.raises(KneditError, match="starter:000000000000"):
        method_from_config(config)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "magic"}, "there is no attribution method 'magic'.*Choose one of integrated-gradients, activation"),
        ({"rule": "simpson"}, "there is no rule 'simpson'"),
        ({"baseline": "one"}, "there is no baseline 'one'.*zero, mean, mask-token"),
        ({"smoothing": "blur"}, "there is no smoothing 'blur'.*noisegrad, smoothgrad, fusiongrad"),
        ({"rule": "gauss", "steps": 0}, "0 steps are not between 1 and 1000"),
        ({"steps": 2}, "2 steps are not between 3 and 1000"),
        ({"tolerance": 1.0}, "tolerance 1.0 is not between 0 and 1"),
        ({"smoothing": "noisegrad", "samples": 0}, "0 samples are not between 1 and 1000"),
        ({"smoothing": "noisegrad", "sigma": 0.0}, "sigma 0.0 is not above 0"),
        ({"smoothing": "noisegrad", "sigma": float("nan")}, "sigma nan is not above 0"),
        ({"name": "activation", "baseline": "mean"}, "baseline 'mean' means nothing to activation"),
        ({"name": "alignment", "steps": 5}, "steps 5 means nothing to alignment"),
        ({"rule": "gauss", "tolerance": 0.1}, "tolerance 0.1 means nothing to .* by the rule gauss"),
        ({"samples": 9}, "samples 9 means nothing to .* no smoothing"),
        ({"reference": ("a",)}, "reference .* means nothing to .* baseline zero"),
        ({"baseline": "mean", "reference": (" ",)}, "the reference text is empty"),
        ({"baseline": "mean", "reference": ("a" * 100_001,)}, "longer than 100000 characters"),
    ],
)
def test_impossible_settings_get_one_clear_error(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(KneditError, match=words):
        Method(**settings)

"""Noise comes by seed, spares what it must not touch, and leaves no trace; smoothed scores are means under noise."""

from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import nn

from knedit.attribution.attribute_prompt import attribute_queries
from knedit.attribution.method import Method
from knedit.attribution.sigma import choose_sigma, mean_probability
from knedit.attribution.smoothing import SMOOTHINGS, derive_seed, noisegrad, sample_seeds, smoothgrad
from knedit.errors import KneditError
from knedit.models.model import Model
from knedit.models.prompting import Query
from tests.attribution.literal import FAMILIES, ask, confident, tiny, unchanged

QUICK: dict[str, Any] = {"rule": "gauss", "steps": 3}


def logits(model: Model, tokens: tuple[int, ...]) -> torch.Tensor:
    with torch.no_grad():
        found = model.net(torch.tensor([tokens])).logits[0]
    assert isinstance(found, torch.Tensor)
    return found


def state(model: Model) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in model.net.state_dict().items()}


@pytest.mark.parametrize("kind", SMOOTHINGS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_network_is_bit_identical_afterwards_also_when_the_body_raises(name: str, kind: str) -> None:
    model = tiny(name)
    query = ask(model)
    before, said = state(model), logits(model, query.tokens)
    places = [parameter.data_ptr() for parameter in model.net.parameters()]
    with SMOOTHINGS[kind](model, 0.1, 1):
        assert not torch.equal(logits(model, query.tokens), said)
    assert unchanged(model, before)
    with pytest.raises(ZeroDivisionError), SMOOTHINGS[kind](model, 0.1, 1):
        _ = 1 / 0
    assert unchanged(model, before)
    assert [parameter.data_ptr() for parameter in model.net.parameters()] == places
    assert torch.equal(logits(model, query.tokens), said)


@pytest.mark.parametrize("kind", SMOOTHINGS)
@pytest.mark.parametrize("name", FAMILIES)
def test_one_seed_is_one_noise_and_another_seed_another(name: str, kind: str) -> None:
    model = tiny(name)
    tokens = ask(model).tokens

    def under(context: AbstractContextManager[None]) -> torch.Tensor:
        with context:
            return logits(model, tokens)

    lend = SMOOTHINGS[kind]
    assert torch.equal(under(lend(model, 0.05, 3)), under(lend(model, 0.05, 3)))
    assert not torch.equal(under(lend(model, 0.05, 3)), under(lend(model, 0.05, 4)))


@pytest.mark.parametrize("name", FAMILIES)
def test_noisegrad_multiplies_the_blocks_matrices_and_nothing_else(name: str) -> None:
    model = tiny(name)
    inside = {
        f"{model.layout.family.blocks}.{layer}.{key}": parameter
        for layer, block in enumerate(model.blocks)
        for key, parameter in block.named_parameters()
    }
    before = state(model)
    with noisegrad(model, 0.1, 0):
        after = state(model)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == {key for key, parameter in inside.items() if parameter.ndim == 2}
    assert not any("norm" in key.lower() or "ln_" in key or key.endswith("bias") for key in moved)
    factors = torch.cat([(after[key] / before[key] - 1).flatten() for key in moved])
    assert float(factors.mean()) == pytest.approx(0, abs=0.01)
    assert float(factors.std()) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("name", FAMILIES)
def test_smoothgrad_adds_noise_of_the_embeddings_spread_and_depends_on_the_token_alone(name: str) -> None:
    model = tiny(name)
    embedding = model.net.get_input_embeddings()
    table = embedding.weight.detach().clone()
    square = torch.tensor([[7, 9], [9, 7]])
    with torch.no_grad(), smoothgrad(model, 0.1, 0):
        noise = embedding(torch.arange(len(table))) - table
        again = embedding(square) - table[square]
    assert float(noise.std()) == pytest.approx(0.1 * float(table.std()), rel=0.1)
    torch.testing.assert_close(again, noise[square])


def test_noise_spares_embeddings_that_live_inside_a_block() -> None:
    model = tiny("llama")
    model.blocks[0].add_module("positions", nn.Embedding(4, 4))
    inner = model.blocks[0].get_parameter("positions.weight")
    before = inner.clone()
    with noisegrad(model, 0.1, 0):
        assert torch.equal(inner, before)


@pytest.mark.parametrize("kind", SMOOTHINGS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_chosen_sigma_lowers_the_probability_by_about_a_twentieth(name: str, kind: str) -> None:
    model = tiny(name)
    before = state(model)
    queries = [confident(model, subject) for subject in ("France", "Japan", "Italy")]
    sigma = choose_sigma(model, queries, kind)
    assert sigma == choose_sigma(model, queries, kind)
    without = mean_probability(model, queries)
    under = 0.0
    for number in range(4):
        with SMOOTHINGS[kind](model, sigma, derive_seed(0, "sigma", number)):
            under += mean_probability(model, queries) / 4
    assert 0.03 < 1 - under / without < 0.07
    assert unchanged(model, before)


def test_answers_that_no_noise_makes_unlikelier_give_no_sigma() -> None:
    model = tiny("gpt2")
    known = confident(model, "France")
    least = int(logits(model, known.tokens)[known.positions[0]].argmin())
    with pytest.raises(KneditError, match="noise of no strength lowers"):
        choose_sigma(model, [Query(known.tokens, (least,), known.positions)], "noisegrad")


@pytest.mark.parametrize("kind", SMOOTHINGS)
@pytest.mark.parametrize("name", FAMILIES)
def test_hardly_any_noise_is_no_smoothing(name: str, kind: str) -> None:
    model = tiny(name)
    query = ask(model)
    plain = attribute_queries(model, [query], Method(**QUICK))[0]
    found = attribute_queries(model, [query], Method(**QUICK, smoothing=kind, samples=2, sigma=1e-7))[0]
    torch.testing.assert_close(found.scores, plain.scores, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found.rise, plain.rise, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found.completeness_error, plain.completeness_error, rtol=1e-2, atol=1e-6)
    assert found.points == 2 * plain.points
    assert found.token_probabilities == plain.token_probabilities


@pytest.mark.parametrize("kind", SMOOTHINGS)
@pytest.mark.parametrize("method", [QUICK, {"name": "activation"}])
def test_smoothed_scores_are_the_mean_of_the_scores_under_noise(kind: str, method: dict[str, Any]) -> None:
    model = tiny("llama")
    before = state(model)
    queries = [ask(model, "France"), ask(model, "Japan", "Tokyo and Rome")]
    found = attribute_queries(model, queries, Method(**method, smoothing=kind, samples=3, sigma=0.05, seed=7))
    samples = []
    for seed in sample_seeds(7, 3):
        with SMOOTHINGS[kind](model, 0.05, seed):
            samples.append(attribute_queries(model, queries, Method(**method)))
    for number, smooth in enumerate(found):
        own = [sample[number] for sample in samples]
        torch.testing.assert_close(smooth.scores, torch.stack([one.scores for one in own]).mean(0))
        errors = torch.stack([one.completeness_error for one in own]).mean(0)
        torch.testing.assert_close(smooth.completeness_error, errors, equal_nan=True)
        torch.testing.assert_close(smooth.rise, torch.stack([one.rise for one in own]).mean(0), equal_nan=True)
        assert smooth.points == sum(one.points for one in own)
        assert smooth.probability == attribute_queries(model, queries, Method("activation"))[number].probability
        assert smooth.query == queries[number]
    assert unchanged(model, before)


@pytest.mark.parametrize("kind", SMOOTHINGS)
@pytest.mark.parametrize("name", FAMILIES)
def test_smoothing_is_the_same_in_any_batch(name: str, kind: str) -> None:
    model = tiny(name)
    queries = [ask(model, "France"), ask(model, "Kenya", "Nairobi"), ask(model, "Spain", "the Madrid")]
    method = Method(**QUICK, smoothing=kind, samples=2, sigma=0.05)
    together = attribute_queries(model, queries, method)
    for query, found in zip(queries, together, strict=True):
        alone = attribute_queries(model, [query], method)[0]
        torch.testing.assert_close(found.scores, alone.scores, rtol=1e-4, atol=1e-6)


def test_seeds_reproduce_and_other_seeds_differ() -> None:
    model = tiny("bert")
    query = ask(model)

    def scores(seed: int) -> torch.Tensor:
        method = Method(**QUICK, smoothing="fusiongrad", samples=2, sigma=0.05, seed=seed)
        return attribute_queries(model, [query], method)[0].scores

    assert torch.equal(scores(1), scores(1))
    assert not torch.equal(scores(1), scores(2))


def test_samples_of_neighbouring_seeds_have_nothing_in_common() -> None:
    assert len({*sample_seeds(0, 8), *sample_seeds(1, 8)}) == 16


def test_without_a_sigma_it_is_chosen_on_the_queries() -> None:
    model = tiny("gpt2")
    queries = [confident(model, subject) for subject in ("France", "Japan")]
    sigma = choose_sigma(model, queries, "noisegrad")
    given = attribute_queries(model, queries, Method(**QUICK, smoothing="noisegrad", samples=2, sigma=sigma))
    chosen = attribute_queries(model, queries, Method(**QUICK, smoothing="noisegrad", samples=2))
    assert all(torch.equal(one.scores, other.scores) for one, other in zip(given, chosen, strict=True))

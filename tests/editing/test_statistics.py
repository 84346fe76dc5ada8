"""Moments of keys against one product over all of them, in every kind of network."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from knedit.editing.statistics import (
    Moment,
    Noise,
    Pricing,
    Scaled,
    Statistics,
    count_first,
    count_subjects,
    count_text,
    noise_of,
)
from knedit.errors import EditError
from knedit.models.model import Model, wrap_model
from knedit.models.prompting import Query
from tests.tiny_models import network, tokenizer_of

TEXTS = [[5, 9, 14, 7, 11], [8, 21, 6]]
assert_near = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)


def tiny(name: str) -> Model:
    return wrap_model(network(name), tokenizer_of(name))


def keys_of(model: Model, tokens: list[int], layer: int) -> Tensor:
    seen: list[Tensor] = []
    handle = model.downs[layer].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model.net(torch.tensor([tokens]))
    handle.remove()
    return seen[-1].reshape(len(tokens), -1).double()


def test_moments_are_exact_however_the_keys_come_in() -> None:
    keys = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    one, other = Moment.empty(6), Moment.empty(6)
    one.add(keys[:20])
    other.add(keys[20:])
    both = one.merged(other)
    assert both.count == 50
    torch.testing.assert_close(both.mean, keys.double().T @ keys.double() / 50, rtol=1e-12, atol=1e-12)
    with pytest.raises(EditError, match="not finite"):
        one.add(torch.tensor([[1.0, float("nan"), 0, 0, 0, 0]]))


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "bert"])
def test_texts_count_every_token_but_the_first_and_subjects_their_site(name: str) -> None:
    model = tiny(name)
    text = count_text(model, TEXTS, [0, 2])
    first = count_first(model, TEXTS, [0, 2])
    subjects = count_subjects(model, [Query(tuple(tokens), (7,), (2,), (1,)) for tokens in TEXTS], [0, 2])
    for layer in (0, 2):
        rows: Any = [keys_of(model, tokens, layer) for tokens in TEXTS]
        every, sites = torch.cat([row[1:] for row in rows]), torch.stack([row[1] for row in rows])
        starts = torch.stack([row[0] for row in rows])
        assert (text[layer].count, subjects[layer].count, first[layer].count) == (6, 2, 2)
        torch.testing.assert_close(first[layer].total, starts.T @ starts, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(text[layer].total, every.T @ every, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(subjects[layer].total, sites.T @ sites, rtol=1e-4, atol=1e-4)


def test_texts_are_counted_in_a_mixture_of_experts_and_where_layers_share_weights() -> None:
    for name in ("mixtral", "albert"):
        model = tiny(name)
        found = count_text(model, TEXTS, [0, 1])
        assert [found[layer].count for layer in (0, 1)] == [6, 6]
        assert not torch.equal(found[0].total, found[1].total)
        assert all(torch.isfinite(found[layer].total).all() for layer in (0, 1))


def test_noise_with_single_keys_beside_it_is_the_one_matrix() -> None:
    seen = torch.randn(40, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole, parted = Noise.of(seen.T @ seen), Noise.of(seen[:30].T @ seen[:30]).beside(seen[30:35]).beside(seen[35:])
    torch.testing.assert_close(parted.diagonal(), whole.diagonal())
    torch.testing.assert_close(parted.row(2), whole.row(2))
    torch.testing.assert_close(parted.block([1, 4, 0]), whole.block([1, 4, 0]))


def test_half_the_memory_holds_a_matrix_of_very_different_sizes_and_it_stays_definite() -> None:
    sizes = torch.logspace(-6, 6, 8, dtype=torch.float64)
    seen = torch.randn(9, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * sizes
    exact = seen.T @ seen
    found = Scaled.of(exact, torch.float32)
    assert {panel.dtype for panel in found.unit.panels} == {torch.float32}
    assert_near(found.block(range(8)) / sizes / sizes[:, None], exact / sizes / sizes[:, None])
    assert_near(found.row(3) / sizes, exact[3] / sizes)
    twins = Scaled.of(torch.ones(8, 8, dtype=torch.float64) * sizes * sizes[:, None], torch.float32)
    assert not int(torch.linalg.cholesky_ex(twins.block(range(8)))[1])


def test_the_kinds_of_keys_are_weighed_as_priced() -> None:
    keys = torch.randn(30, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    subjects, text = Moment.empty(4), Moment.empty(4)
    subjects.add(keys[:10])
    text.add(keys[10:20])
    first = Moment.empty(4)
    first.add(100 * keys[:2])
    statistics = Statistics("ab", {3: subjects}, {3: text}, {3: first})
    found = noise_of(statistics, 3, Pricing(subjects=2, text=0.5, first=0.7, relation=3, ridge=0.1), keys[20:])
    expected = 2 * keys[:10].T @ keys[:10] / 10 + 0.5 * keys[10:20].T @ keys[10:20] / 10
    expected += 0.1 * expected.diagonal().mean() * torch.eye(4, dtype=torch.float64)
    expected += 3 * keys[20:].T @ keys[20:] / 10 + 0.7 * 100**2 * keys[:2].T @ keys[:2] / 2
    assert_near(found.block(range(4)), expected)
    assert_near(found.row(2), expected[2])
    assert_near(found.diagonal(), expected.diagonal())
    assert torch.equal(subjects.total, keys[:10].T @ keys[:10])


def test_statistics_of_another_checkpoint_or_without_a_layer_are_refused() -> None:
    none = {3: Moment.empty(4)}
    statistics = Statistics("ab" * 32, none, none, none)
    statistics.check("ab" * 32, [3])
    with pytest.raises(EditError, match="not cdcd"):
        statistics.check("cd" * 32, [3])
    with pytest.raises(EditError, match="no layer 4"):
        statistics.check("ab" * 32, [3, 4])
    with pytest.raises(EditError, match="counted no key"):
        noise_of(statistics, 3, Pricing())

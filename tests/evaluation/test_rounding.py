"""Weights rounded as shipping rounds them, and given back bit for bit."""

import pytest
import torch

from knedit.evaluation.rounding import ROUNDINGS, rounded, to_integers
from knedit.models.model import wrap_model
from tests.tiny_models import network, tokenizer


def test_each_row_is_rounded_to_multiples_of_its_largest_value_over_the_levels() -> None:
    weight = torch.tensor([[7.0, 3.4, -0.4, -7.0], [0.0, 0.0, 0.0, 0.0], [0.07, 0.036, 0.0, -0.01]])
    expected = torch.tensor([[7.0, 3.0, 0.0, -7.0], [0.0, 0.0, 0.0, 0.0], [0.07, 0.04, 0.0, -0.01]])
    torch.testing.assert_close(to_integers(weight, levels=7), expected)


def test_each_group_of_a_row_has_its_own_scale_and_the_last_may_be_short() -> None:
    weight = torch.tensor([[7.0, 1.2, 70.0, 12.0, 0.7]])
    torch.testing.assert_close(to_integers(weight, levels=7, group=2), torch.tensor([[7.0, 1.0, 70.0, 10.0, 0.7]]))


def test_more_bits_lose_less() -> None:
    weight = torch.randn(8, 100, generator=torch.Generator().manual_seed(0))
    lost = {name: float((round_off(weight) - weight).norm()) for name, round_off in ROUNDINGS.items()}
    assert 0 < lost["bfloat16"] < lost["8-bit"] < lost["4-bit"] < 0.2 * float(weight.norm())


@pytest.mark.parametrize("name", ROUNDINGS)
@pytest.mark.parametrize("family", ["gpt2", "llama", "mixtral"])
def test_the_network_has_rounded_weights_within_and_its_own_afterwards_also_when_the_body_raises(
    name: str, family: str
) -> None:
    model = wrap_model(network(family), tokenizer(masked=False))
    before = {key: tensor.clone() for key, tensor in model.net.state_dict().items()}

    def fail_within() -> None:
        with rounded(model, name):
            for key, tensor in model.net.named_parameters():
                assert torch.equal(tensor, ROUNDINGS[name](before[key]) if tensor.dim() > 1 else before[key])
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        fail_within()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.net.state_dict().items())

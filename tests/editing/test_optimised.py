"""Training chosen value vectors: what is lent equals what is written, and wishes come true beside protected prompts."""

import pytest
import torch

from knedit.editing.apply import edited
from knedit.editing.optimised import Training, train_values
from knedit.editing.solve import ValueChange
from knedit.editing.targets import Sought
from knedit.errors import ModelError
from knedit.evaluation.metrics import answer
from knedit.models.lending import lent_additions
from knedit.models.model import Model, wrap_model
from knedit.models.prompting import Query
from tests.tiny_models import TINY, network, tokenizer_of

COLUMNS = (3, 17, 30, 41)
TOKENS = torch.tensor([[5, 9, 14, 7, 11]])


def tiny(name: str) -> Model:
    return wrap_model(network(name), tokenizer_of(name))


def unchanged(model: Model, layer: int, columns: tuple[int, ...] = COLUMNS) -> ValueChange:
    old = model.value_vectors(layer, columns).double()
    return ValueChange(layer, columns, old, old.clone())


@pytest.mark.parametrize("name", TINY)
def test_lent_additions_are_what_written_value_vectors_are(name: str) -> None:
    model = tiny(name)
    added = torch.randn(4, 32, generator=torch.Generator().manual_seed(5))
    old = model.value_vectors(1, COLUMNS)
    with torch.no_grad(), lent_additions(model, {1: (COLUMNS, added)}):
        lent = model.net(TOKENS).logits
    with torch.no_grad(), edited(model, [ValueChange(1, COLUMNS, old.double(), (old + added).double())]):
        written = model.net(TOKENS).logits
    torch.testing.assert_close(lent, written, rtol=1e-4, atol=1e-4)


def test_an_answer_of_two_tokens_is_learnt_and_a_protected_prompt_keeps_its_spread() -> None:
    model = tiny("llama")
    wish = Query((5, 9, 14, 7, 11), (20, 6), (3, 4), (1,))
    other = Query((8, 21, 6, 13), (7,), (3,))
    start = [unchanged(model, layer, tuple(range(24))) for layer in (1, 2)]
    before = {key: value.clone() for key, value in model.net.state_dict().items()}
    with torch.no_grad():
        spread = model.net(torch.tensor([other.tokens])).logits[0, 3].log_softmax(-1)
    training = Training(steps=150, rate=0.3, decay=0, protection=3)
    found = train_values(model, [Sought((wish,), (1.0,), "update")], [other], start=start, training=training)
    assert (found.worst < 0.1, found.steps < 150) == (True, True)
    with edited(model, found.changes):
        (said,) = answer(model, [wish])
        with torch.no_grad():
            now = model.net(torch.tensor([other.tokens])).logits[0, 3].log_softmax(-1)
    assert said.correct
    assert float((spread.exp() * (spread - now)).sum()) < 0.1
    assert all(torch.equal(value, before[key]) for key, value in model.net.state_dict().items())


def test_experts_and_shared_layers_are_refused_by_name() -> None:
    for name in ("mixtral", "albert"):
        with pytest.raises(ModelError, match="cannot be trained"), lent_additions(tiny(name), {}):
            pass

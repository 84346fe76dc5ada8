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
    training = Training(steps=150, rate=0.3, decay=0, protection=3, stop=0.1, quiet=0.1)
    found = train_values(model, [Sought((wish,), (1.0,), "update")], [other], start=start, training=training)
    assert (found.worst < 0.1, found.steps < 150) == (True, True)
    with edited(model, found.changes):
        (said,) = answer(model, [wish])
        with torch.no_grad():
            now = model.net(torch.tensor([other.tokens])).logits[0, 3].log_softmax(-1)
    assert said.correct
    assert float((spread.exp() * (spread - now)).sum()) < 0.1
    assert all(torch.equal(value, before[key]) for key, value in model.net.state_dict().items())


def test_what_holds_already_is_left_as_it_was_solved() -> None:
    model = tiny("llama")
    wish = Query((5, 9, 14, 7), (20,), (3,), (1,))
    start = [unchanged(model, 1)]
    holding = Training(stop=50.0, slack=50.0)
    found = train_values(model, [Sought((wish,), (1.0,), "update")], [wish], start=start, training=holding)
    assert found.steps == 0
    assert found.moved == pytest.approx(0, abs=1e-6)
    assert torch.equal(found.changes[0].new, start[0].new)


def test_a_change_that_moved_others_is_brought_back_as_far_as_its_answers_allow() -> None:
    model = tiny("llama")
    others = [Query((8, 21, 6, 13), (7,), (3,)), Query((9, 30, 22, 4, 6), (5, 7), (3, 4))]
    wish = Sought((Query((5, 9, 14, 7, 11), (20,), (4,), (1,)),), (1.0,), "update")
    columns = tuple(range(24))
    old = model.value_vectors(1, columns).double()
    noise = torch.randn(old.shape, generator=torch.Generator().manual_seed(1)).double()
    start = [ValueChange(1, columns, old, old + 3 * noise)]
    training = Training(steps=40, rate=0.3, stop=50.0, quiet=1e-3)
    found = train_values(model, [wish], others, start=start, training=training)
    before = train_values(model, [wish], others, start=start, training=Training(steps=0, stop=50.0))
    assert found.moved < 0.5 * before.moved


def test_training_that_makes_things_worse_is_taken_back() -> None:
    model = tiny("llama")
    wish = Sought((Query((5, 9, 14, 7, 11), (20,), (4,), (1,)),), (1.0,), "update")
    old = model.value_vectors(1, COLUMNS).double()
    start = [ValueChange(1, COLUMNS, old, old + 0.01)]
    far = Training(steps=1, rate=1e5, stop=50.0, quiet=-1.0)
    found = train_values(model, [wish], [Query((8, 21, 6, 13), (7,), (3,))], start=start, training=far)
    assert found.steps == 1
    assert found.moved < 0.01
    torch.testing.assert_close(found.changes[0].new, start[0].new, rtol=0, atol=1e-6)


def test_experts_and_shared_layers_are_refused_by_name() -> None:
    for name in ("mixtral", "albert"):
        with pytest.raises(ModelError, match="cannot be trained"), lent_additions(tiny(name), {}):
            pass

"""The end of an answer's word: asked for, and paid for only where the network goes on with the word."""

import pytest
import torch

from knedit.editing.objectives import OBJECTIVES, WORD_END, Asked, asked_in, ending
from knedit.models.prompting import Query


def test_a_query_that_asks_for_the_words_end_reads_the_answer_too() -> None:
    query = Query((5, 6, 7, 8), (7, 9), (1, 2), (0,))
    found = ending(query)
    assert (found.tokens, found.answers, found.positions) == ((5, 6, 7, 9), (7, 9, WORD_END), (1, 2, 3))
    assert found.neurons == query.neurons


def test_only_a_word_that_is_likely_gone_on_with_costs() -> None:
    say = OBJECTIVES["update"]
    parts = torch.tensor([False, False, True, True])
    spread = torch.log(torch.tensor([[0.1, 0.7, 0.1, 0.1], [0.7, 0.1, 0.1, 0.1]]))
    asked = Asked(((4, 1), (5, WORD_END)), parts=parts)
    plain, _ = say(spread, Asked(((4, 1),)))
    loss, left = say(spread, asked)
    assert torch.equal(loss, plain)
    assert torch.equal(left, plain)
    spread[1] = torch.log(torch.tensor([0.1, 0.1, 0.7, 0.1]))
    torch.testing.assert_close(say(spread, asked)[0], plain - torch.log(torch.tensor(0.2)) - 0.3)


@pytest.mark.parametrize(("rest", "prior", "ceiling"), [(-1.0, 0.01, 0.01 * 2.7182818), (-30.0, 1e-14, 0.1068647)])
def test_the_first_token_is_lowered_until_the_whole_answer_is_as_likely_as_wished(
    rest: float, prior: float, ceiling: float
) -> None:
    spread = torch.log(torch.tensor([[0.4, 0.3, 0.3], [0.1, 0.2, 0.7]], dtype=torch.float64))
    spread[1, 1] = rest
    asked = asked_in(spread, ((4, 0), (5, 1)), prior)
    assert asked.target is not None
    assert float(asked.target[0]) == pytest.approx(ceiling, rel=1e-5)
    assert asked.ceiling == pytest.approx(float(asked.target[0].log()), rel=1e-5)


def test_an_answer_that_is_already_as_unlikely_as_wished_is_left_alone() -> None:
    spread = torch.log(torch.tensor([[0.4, 0.3, 0.3], [0.1, 0.2, 0.7]], dtype=torch.float64))
    spread[1, 1] = -40.0
    asked = asked_in(spread, ((4, 0), (5, 1)), 1e-15)
    assert asked.target is not None
    torch.testing.assert_close(asked.target, spread[0].exp().float())
    loss, left = OBJECTIVES["erase"](spread.float(), asked)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    assert float(left) == 0

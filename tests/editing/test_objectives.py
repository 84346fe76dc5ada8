"""The end of an answer's word: asked for, and paid for only where the network goes on with the word."""

import torch

from knedit.editing.objectives import OBJECTIVES, WORD_END, Asked, ending
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

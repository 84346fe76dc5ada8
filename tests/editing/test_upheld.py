"""What an edit takes from facts that the model knows is given back, unless that would undo the edit."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from knedit.editing.apply import edited
from knedit.editing.joint import Plan, solve_wishes
from knedit.editing.objectives import OBJECTIVES, Asked
from knedit.editing.reading import answers_of, batched, spreads_of
from knedit.editing.solve import ValueChange
from knedit.editing.targets import Search, Wanted
from knedit.editing.upheld import Solve, Tally, Upheld, Watch, restore, told_apart
from knedit.editing.wishes import Wish
from knedit.models.model import Model
from knedit.models.planting import keys_at_sites
from knedit.models.prompting import Query, encode_prompt
from tests.editing.test_joint import FORGET, RECIPE, SUBJECTS, around, chance, prompt, tiny

WORDS = ("Tokyo", "Paris", "big", "the", "city", "speak", "Rome")
OTHERS = tuple(subject for subject in SUBJECTS if subject != "Japan")


def likeliest(model: Model, subject: str) -> Query:
    """Return a query about a subject whose answer is what the model says most likely."""
    text = f"people speak in {subject} {{object}}"
    query = encode_prompt(model, prompt(text, "big"), where="subject", subject=subject)
    (spread,) = spreads_of(model, [query])
    return replace(query, answers=(int(spread.argmax()),))


def forgotten(model: Model) -> Wish:
    known = max(WORDS, key=lambda word: chance(model, FORGET.texts[0], word)[0])
    return replace(FORGET, old=known)


def solved(model: Model, facts: list[Upheld], rounds: int) -> tuple[Plan, tuple[ValueChange, ...], Tally]:
    wish = forgotten(model)
    plan = Plan(model, replace(around(model), upheld=facts), replace(RECIPE, upheld=rounds), [wish])
    plan.search([wish])
    return plan, *plan.uphold(plan.changes())


def test_answers_that_an_erasure_takes_are_given_back_and_it_is_granted_still() -> None:
    model = tiny("llama")
    facts = [Upheld(subject, (likeliest(model, subject),)) for subject in OTHERS[:2]]
    _, plain, untold = solved(model, facts, 0)
    plan, changes, tally = solved(model, facts, 5)
    watch = Watch(model, facts)
    assert watch.look(plain)[1] == OTHERS[:2]
    assert watch.look(changes)[1] == ()
    assert (tally.asked, tally.taken, tally.lost) == (2, 2, ())
    assert untold.taken == 0
    assert plan.solved[0].target.converged
    wish = forgotten(model)
    before = chance(model, wish.texts[0], wish.answer)[0]
    with edited(model, changes):
        assert chance(model, wish.texts[0], wish.answer)[0] < 0.3 * before


def test_a_whole_solve_tells_what_became_of_upheld_facts() -> None:
    model = tiny("llama")
    facts = [Upheld(subject, (likeliest(model, subject),)) for subject in OTHERS[:2]]
    found = solve_wishes(model, [forgotten(model)], replace(around(model), upheld=facts), RECIPE)
    assert (found.upheld.asked, found.upheld.taken) == (2, 2)


class Fixed(Watch):
    """A watch whose looks are told beforehand, by the number of value vectors that the changes have."""

    def __init__(self, looks: dict[int, tuple[list[Upheld], tuple[str, ...]]]) -> None:
        self._looks, self._chances = looks, [0.0] * 3

    def look(self, changes: Sequence[ValueChange]) -> tuple[list[Upheld], tuple[str, ...]]:
        return self._looks[len(changes)]

    def missing(self, *_: object) -> list[Wanted]:
        return []


def never(*_: object) -> Any:
    raise AssertionError


CHANGE = ValueChange(0, (0,), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.float64))
FACT = Upheld("Italy", ())


@pytest.mark.parametrize(
    ("lost", "granted", "changes"),
    [((), True, 2), (("Italy",), True, 3), (("Italy", "Spain", "Kenya"), True, 1), ((), False, 1)],
    ids=["all given back", "more rounds", "more were lost", "a wish undone"],
)
def test_a_round_is_kept_only_if_no_more_is_lost_and_every_wish_stays_granted(
    lost: tuple[str, ...], granted: bool, changes: int
) -> None:
    watch = Fixed({1: ([FACT], ("Italy", "Spain")), 2: ([FACT], lost), 3: ([], ())})
    solve = Solve({}, never, lambda before, _: (*before, CHANGE), lambda _: granted)
    found, tally = restore(watch, (CHANGE,), solve, search=Search(), rounds=2)
    assert len(found) == changes
    assert (tally.asked, tally.taken) == (3, 2)
    assert tally.lost == watch.look(found)[1]


def test_what_moved_but_says_its_answer_still_asks_for_no_round() -> None:
    watch = Fixed({1: ([FACT], ())})
    found, tally = restore(watch, (CHANGE,), Solve({}, never, never, never), search=Search(), rounds=2)
    assert found == (CHANGE,)
    assert tally.taken == 0


def test_what_is_asked_like_a_wish_is_not_upheld_and_named() -> None:
    model = tiny("llama")
    wish = forgotten(model)
    same = encode_prompt(model, prompt(wish.texts[0], "Rome"), where="subject", subject="Japan")
    other, further = likeliest(model, "Italy"), likeliest(model, "Spain")
    facts = [Upheld("same", (same,)), Upheld("both", (same, other)), Upheld("other", (further,))]
    plan = Plan(model, around(model), RECIPE, [wish])
    plan.search([wish])
    changes = plan.changes()
    keys = keys_at_sites(model, [same], [0, 1])
    solve = Solve(keys, plan._factor, never, never)
    kept, near = told_apart(model, facts, changes, solve)
    assert [(one.target, one.queries) for one in kept] == [("both", (other,)), ("other", (further,))]
    assert near == ("same",)


def spreads(*rows: list[float]) -> Tensor:
    return torch.tensor(rows).log()


def test_upholding_asks_for_what_was_said_and_for_a_small_lead_where_there_was_one() -> None:
    before = spreads([0.6, 0.3, 0.1], [0.35, 0.34, 0.31])
    asked = Asked(((4, 0), (5, 0)), before.exp())
    loss, left = OBJECTIVES["uphold"](before, asked)
    assert float(loss) == pytest.approx(0, abs=1e-6)  # the second token led by less than is asked of others
    now = spreads([0.6, 0.3, 0.1], [0.3, 0.4, 0.3])
    loss, left = OBJECTIVES["uphold"](now, asked)
    divergence = (0.35 * math.log(0.35 / 0.3) + 0.34 * math.log(0.34 / 0.4) + 0.31 * math.log(0.31 / 0.3)) / 2
    behind = math.log(0.4 / 0.3) + math.log(0.35 / 0.34)
    assert float(loss) == pytest.approx(divergence + behind, rel=1e-4)
    assert float(left) == pytest.approx(float(loss))
    sure = Asked(((4, 0),), before[:1].exp())
    even = spreads([0.5, 0.5, 1e-9])
    divergence = 0.6 * math.log(0.6 / 0.5) + 0.3 * math.log(0.3 / 0.5) + 0.1 * math.log(0.1 / 1e-9)
    assert float(OBJECTIVES["uphold"](even, sure)[0]) == pytest.approx(divergence + 0.1, rel=1e-4)


@pytest.mark.parametrize("name", ["llama", "bert", "t5"])
def test_texts_of_all_lengths_are_answered_as_one_by_one(name: str) -> None:
    model = tiny(name)
    texts = ["the capital of Japan is {object}", "people in the big old city of Rome speak {object}"] * 150
    queries = [encode_prompt(model, prompt(text, word)) for text, word in zip(texts, WORDS * 50, strict=False)]
    found = answers_of(model, queries)
    assert len(found) == 300
    for number in (0, 1, 2, 299):
        chance, right = answers_of(model, [queries[number]])[0]
        assert found[number][0] == pytest.approx(chance, abs=1e-4)
        assert found[number][1] == right
        (spread,) = spreads_of(model, [queries[number]])
        tokens = list(queries[number].answers)
        assert chance == pytest.approx(float(spread[range(len(tokens)), tokens].sum()), abs=1e-5)


def test_batches_hold_every_text_once_and_little_at_a_time() -> None:
    model = tiny("llama")
    queries = [Query((1,) * length, (1,), (0,)) for length in (700, 3, 300, 3, 400)]
    batches = [[queries[n] for n in some] for some in batched(model, range(5), queries.__getitem__)]
    assert sorted(len(query.tokens) for some in batches for query in some) == [3, 3, 300, 400, 700]
    assert all(len(some) * max(len(query.tokens) for query in some) <= 1024 for some in batches)

"""Sums of evaluations made by hand."""

from collections.abc import Sequence

from knedit.evaluation.report import Judged, Line, kept_share, summarise
from knedit.records import Evaluation, Prompt


def judged(
    group: str,
    metric: str,
    pairs: Sequence[tuple[float | None, float | None]],
    role: str = "attribute",
) -> list[Judged]:
    """Return one evaluation for each pair of before and after, of prompts of one role."""
    found = []
    for number, (before, after) in enumerate(pairs):
        prompt = Prompt.make(number, role, f"wording {number} {{object}}", "Paris")
        found.append(Judged(Evaluation(1, 2, number, prompt.id, metric, before, after), group, prompt))
    return found


def test_a_group_is_summed_up_by_role_and_metric() -> None:
    found = summarise(
        [
            *judged("updated", "probability", [(0.5, 0.25), (0.25, 0.25), (0.75, 0.0), (0.5, 0.5)]),
            *judged("updated", "probability", [(0.5, 1.0)], role="paraphrase"),
            *judged("updated", "correct", [(1, 0), (1, 1)]),
        ]
    )
    assert found == [
        Line("updated", "attribute", "correct", 2, 1.0, 0.5),
        Line("updated", "attribute", "probability", 4, 0.5, 0.25),
        Line("updated", "paraphrase", "probability", 1, 0.5, 1.0),
    ]


def test_groups_stand_in_the_order_of_their_nearness_to_the_edit() -> None:
    groups = ["other relations", "inverse", "erased", "same subject", "same relation", "updated"]
    found = summarise([one for group in groups for one in judged(group, "correct", [(1, 1)])])
    assert [line.group for line in found] == [
        "updated", "erased", "same relation", "same subject", "inverse", "other relations",
    ]  # fmt: skip


def test_texts_and_halves_are_left_out() -> None:
    missing = judged("erased", "generated", [(None, None)]) + judged(
        "erased", "probability", [(0.5, None), (None, 0.5)]
    )
    assert summarise(missing) == []
    assert summarise([*missing, *judged("erased", "probability", [(0.5, 0.125)])]) == [
        Line("erased", "attribute", "probability", 1, 0.5, 0.125)
    ]


def test_nothing_judged_is_nothing_summed_up() -> None:
    assert summarise([]) == []
    assert kept_share([], ["same relation"]) == (0, 0)


def test_kept_are_those_of_the_groups_that_were_right_and_still_are() -> None:
    every = [
        *judged("same relation", "correct", [(1, 1), (1, 0), (0, 1), (0, 0), (1, None)]),
        *judged("other relations", "correct", [(1, 1), (1, 1)]),
        *judged("updated", "correct", [(1, 0)]),
        *judged("same relation", "new_correct", [(1, 1)]),
        *judged("same relation", "probability", [(1.0, 1.0)]),
    ]
    assert kept_share(every, ["same relation"]) == (3, 1)
    assert kept_share(every, ["same relation", "other relations"]) == (5, 3)
    assert kept_share(every, iter(["other relations"])) == (2, 2)
    assert kept_share(every, []) == (0, 0)


def test_an_evaluation_knows_its_prompts_role_and_words() -> None:
    one = judged("updated", "correct", [(1, 1)], role="paraphrase")[0]
    assert (one.role, one.text) == ("paraphrase", "wording 0 {object}")

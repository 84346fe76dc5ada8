import pytest
import torch

from knedit.analysis.noise import jaccard, leading_neurons, shared_neurons, sizes, verdict


def test_jaccard_and_the_choice_of_neurons_on_worked_examples() -> None:
    assert jaccard([(0, 1), (0, 2)], [(0, 2), (1, 3)]) == pytest.approx(1 / 3)
    assert jaccard([], []) == 1.0
    first = torch.tensor([[1.0, 0.3, 0.1], [0.0, 0.2, 0.0]])
    second = torch.tensor([[0.1, 0.9, 0.0], [0.5, 1.0, 0.0]])
    assert shared_neurons([first, second], threshold=0.2, part=0.7) == [(0, 1), (1, 1)]
    assert shared_neurons([first, second], threshold=0.2, part=0.5) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert leading_neurons([first, second], 2) == [(0, 1), (1, 1)]


def test_wordings_are_taken_by_powers_of_two_below_all_and_all() -> None:
    assert (sizes(8), sizes(9), sizes(1)) == ([1, 2, 4, 8], [1, 2, 4, 8, 9], [1])


@pytest.mark.parametrize(
    ("smoothed", "told"),
    [
        ([0.5, 0.6, 0.55], "smoothing replaces at least one wording"),
        ([0.32, 0.42, 0.33], "helps, but less than a second wording"),
        ([0.1, 0.2, 0.15], "does harm here"),
        ([0.2, 0.5, 0.31], "changes nothing that can be told from chance"),
    ],
)
def test_the_question_is_answered_plainly(smoothed: list[float], told: str) -> None:
    assert told in verdict([0.3, 0.4, 0.3], [0.5, 0.6, 0.5], smoothed)


def test_one_fact_is_too_few_for_an_answer() -> None:
    assert "too few" in verdict([0.3], [0.5], [0.4])

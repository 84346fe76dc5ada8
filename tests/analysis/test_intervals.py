import pytest

from knedit.analysis.intervals import interval, rise_interval


def test_an_interval_holds_the_mean_narrows_with_values_and_is_the_same_each_time() -> None:
    few, many = [0.0, 1.0] * 3, [0.0, 1.0] * 50
    (low, high), (lower, higher) = interval(few) or (0, 0), interval(many) or (0, 0)
    assert low <= 0.5 <= high
    assert higher - lower < high - low
    assert interval(few) == interval(few)
    assert interval([2.0, None, 2.0]) == (2.0, 2.0)
    assert (interval([1.0]), interval([])) == (None, None)


def test_a_rises_interval_draws_pairs_together() -> None:
    assert rise_interval([0.0, 3.0], [0.0, 3.0]) == pytest.approx((0.0, 0.0))
    assert rise_interval([1.0], [2.0]) is None

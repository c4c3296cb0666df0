"""What is expected of the best of many equal ones is what they all are worth, not what the luckiest has scored."""

import numpy as np
import pytest

from platform.evaluation.statistics.selection import expected_of_best


def test_the_best_of_many_equal_ones_is_worth_what_they_all_are():
    draws = np.random.default_rng(5)
    expected, luckiest = [], []
    for _ in range(20):
        right = draws.random((40, 300)) < 0.9
        luckiest.append(right.mean(1).max())
        expected.append(expected_of_best(right))
    assert np.mean(luckiest) > 0.93
    assert np.mean(expected) == pytest.approx(0.9, abs=0.006)


def test_a_clear_best_keeps_its_score():
    draws = np.random.default_rng(6)
    right = np.stack([draws.random(400) < share for share in (0.5, 0.95, 0.6)])
    assert expected_of_best(right) == pytest.approx(right[1].mean(), abs=0.005)


def test_of_nothing_nothing_is_expected():
    assert np.isnan(expected_of_best(np.ones((3, 1))))
    assert np.isnan(expected_of_best(np.ones((0, 9))))

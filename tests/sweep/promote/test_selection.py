"""Which points make an ensemble: by rank, by kind."""

import pytest

from platform.sweep.promote.selection import best, diverse, kind


def test_the_best_are_the_first():
    assert best([4, 2, 9], 2) == [4, 2]
    assert best([4, 2, 9], 5) == [4, 2, 9]


POINTS = {
    0: {"sampling": "plain", "optim.lr": 0.1},
    1: {"sampling": "plain", "optim.lr": 0.2},
    2: {"sampling": "plain", "optim.lr": 0.2, "optim.nesterov": True},
    3: {"sampling": "alexnet", "optim.lr": 0.1},
    4: {"sampling": "plain", "optim.lr": 0.1, "sampling.area": [0.1, 0.9]},
    5: {"sampling": "plain", "data.shorter_side": None},
}


@pytest.mark.parametrize(
    ("ranked", "count", "taken"),
    [
        ([0, 1, 3, 2], 3, [0, 3, 2]),  # 1 differs from 0 in a number only
        ([0, 4, 1, 3], 2, [0, 3]),  # and 4 in a list of them
        ([1, 0, 2, 3], 2, [1, 2]),  # a switch is no number
        ([0, 5], 2, [0, 5]),  # nor is null
        ([0, 1, 4, 3], 3, [0, 3, 1]),  # too few kinds: filled up with the next best
        ([0, 1], 5, [0, 1]),
        ([], 1, []),
    ],
)
def test_diverse_points_differ_in_more_than_numbers(ranked: list[int], count: int, taken: list[int]):
    assert diverse(ranked, POINTS, count) == taken


def test_a_kind_is_what_is_no_number():
    assert kind({"a": 1, "b": True, "c": "x", "d": [1, 2.5], "e": [1, "x"], "f": 0.5}) == {
        "b": True,
        "c": "x",
        "e": [1, "x"],
    }

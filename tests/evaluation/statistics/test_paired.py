"""The exact McNemar test against an enumeration of all outcomes; Holm's correction; what a comparison counts."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.evaluation.statistics.paired import (
    MCNEMAR,
    SIGN_FLIP,
    Paired,
    corrected,
    holm,
    mcnemar,
    paired,
    paired_means,
    sign_flip,
)

RIGHT = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)


def enumerated(first: int, second: int) -> float:
    """The share of all ways in which fair coins fall that are at most as likely as what was seen."""
    ways = [sum(coins) for coins in itertools.product((0, 1), repeat=first + second)]
    likely = {heads: ways.count(heads) for heads in ways}
    return sum(count for count in likely.values() if count <= likely[first]) / len(ways)


@settings(deadline=None, max_examples=50)  # SciPy takes its time to import
@given(st.integers(0, 5), st.integers(0, 5))
def test_mcnemar_is_all_outcomes_counted(first: int, second: int):
    assert mcnemar(first, second) == pytest.approx(enumerated(first, second))


@settings(deadline=None, max_examples=50)  # SciPy takes its time to import
@given(st.integers(0, 30_000), st.integers(0, 30_000))
def test_mcnemar_is_symmetric_and_a_probability(first: int, second: int):
    p = mcnemar(first, second)
    assert 0 <= p <= 1
    assert mcnemar(second, first) == pytest.approx(p, rel=1e-9)
    assert p == 1 or first != second


def test_a_textbook_case():
    """8 and 2 images: twice the chance of at most 2 heads in 10, 112/1024."""
    assert mcnemar(8, 2) == pytest.approx(112 / 1024)


@settings(deadline=None, max_examples=50)  # SciPy takes its time to import
@given(RIGHT)
def test_a_comparison_counts_every_image_once(right: list[tuple[bool, bool]]):
    first, second = np.array(right, np.bool_).reshape(-1, 2).T
    found = paired(first, second)
    assert (found.both, found.first, found.second, found.neither) == (
        right.count((True, True)),
        right.count((True, False)),
        right.count((False, True)),
        right.count((False, False)),
    )
    assert found.samples == len(right)
    if right:
        assert found.difference == pytest.approx(first.mean() - second.mean())
    if len(right) > 1:
        assert found.interval.low <= found.difference + 1e-9
        assert found.interval.high >= found.difference - 1e-9
    other = paired(second, first)
    assert other.difference == -found.difference
    assert other.p == pytest.approx(found.p)


def test_one_that_is_better_beyond_noise_and_one_that_is_not():
    right = np.arange(1000) < 900
    better = paired(right, np.arange(1000) < 880)  # 20 images, none the other way
    assert better.is_significant
    assert 0.01 < better.interval.low < 0.02 < better.interval.high < 0.03
    shifted = paired(right, np.roll(np.arange(1000) < 898, 5))
    assert not shifted.is_significant
    assert shifted.interval.low < 0 < shifted.interval.high


def test_equal_ones_and_no_images():
    same = paired(np.ones(9, np.bool_), np.ones(9, np.bool_))
    assert (same.difference, same.p, same.interval.low, same.interval.high) == (0, 1, 0, 0)
    nothing = paired(np.ones(0, np.bool_), np.ones(0, np.bool_))
    assert (nothing.samples, nothing.difference, nothing.p) == (0, 0, 1)
    assert math.isnan(nothing.interval.low)
    with pytest.raises(ValueError, match="9 images are compared with 8"):
        paired(np.ones(9, np.bool_), np.ones(8, np.bool_))


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@settings(deadline=None, max_examples=50)  # SciPy takes its time to import
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_what_holm_1979_steps_through(ps: list[float]):
    """The procedure as the paper has it: from the smallest p on, compared with 0.05/m, 0.05/(m - 1), ... until one
    is above."""
    rejected = set()
    for step, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        if ps[place] * (len(ps) - step) >= 0.05:
            break
        rejected.add(place)
    found = holm(ps)
    assert {place for place, p in enumerate(found) if p < 0.05} == rejected
    assert all(p <= q <= 1 for p, q in zip(ps, found, strict=True))


def test_comparisons_made_together_are_corrected_together():
    one = paired(np.arange(50) < 40, np.arange(50) < 33)  # 7 images: p = 2/128
    assert one.p == one.p_holm == pytest.approx(2 / 128)
    three: list[Paired] = corrected([one, one, one])
    assert [each.p for each in three] == [one.p] * 3
    assert [each.p_holm for each in three] == pytest.approx([6 / 128] * 3)
    assert corrected([one] * 4)[0].is_significant is False


def flipped(differences: list[int]) -> float:
    """The share of all signs whose sum is at least as far from 0 as what was seen."""
    sums = [
        abs(sum(map(int.__mul__, differences, signs))) for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(each >= abs(sum(differences)) for each in sums) / len(sums)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_the_sign_flip_test_is_all_signs_counted(differences: list[int]):
    values, counts = np.unique(differences, return_counts=True)
    assert sign_flip(values.tolist(), counts.tolist()) == pytest.approx(flipped(differences), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_the_sign_flip_test_of_differences_of_one_is_mcnemars(first: int, second: int):
    assert sign_flip([-1, 0, 1], [second, 7, first]) == pytest.approx(mcnemar(first, second), abs=1e-11)


def test_means_over_seeds_are_compared_image_by_image():
    """Three trainings against two: 1/3 and 1/2 are 2 and 3 of 6 parts."""
    first = np.array([[1, 1, 0, 1, 0], [1, 0, 0, 1, 0], [1, 0, 0, 1, 1]], np.bool_)
    second = np.array([[1, 0, 0, 0, 1], [1, 1, 0, 0, 0]], np.bool_)
    found = paired_means(first, second)
    assert (found.samples, found.differ, found.test) == (5, 3, SIGN_FLIP)
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert found.p == pytest.approx(flipped([0, 2 - 3, 0, 6, 2 - 3]))
    assert found.interval.low <= found.difference <= found.interval.high
    one, other = paired_means(first[:1], second[:1]), paired(first[0], second[0])
    assert (one.test, one.p, one.interval, one.difference) == (MCNEMAR, other.p, other.interval, other.difference)
    assert paired_means(first, first).p == 1
    with pytest.raises(ValueError, match="5 images are compared with 4"):
        paired_means(first, second[:, 1:])


def test_equal_settings_differ_by_more_than_noise_in_one_of_twenty_cases():
    draws, false = np.random.default_rng(3), 0
    for _ in range(400):
        hard = draws.random(300)  # of an image, for every training alike
        false += paired_means(draws.random((3, 300)) < hard, draws.random((3, 300)) < hard).is_significant
    assert false / 400 == pytest.approx(0.05, abs=0.035)

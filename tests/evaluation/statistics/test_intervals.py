"""Intervals against other implementations, closed forms and what they promise: to cover the truth in 95% of cases."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from platform.evaluation.statistics import intervals
from platform.evaluation.statistics.intervals import Interval, bootstrap_counts, bootstrap_mean, wilson


@settings(deadline=None, max_examples=50)  # SciPy takes its time to import
@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_wilsons_formula(counts: tuple[int, int]):
    hits, samples = counts
    z, rate = NormalDist().inv_cdf(0.975), hits / samples
    centre = (rate + z * z / (2 * samples)) / (1 + z * z / samples)
    half = z / (1 + z * z / samples) * math.sqrt(rate * (1 - rate) / samples + z * z / (4 * samples * samples))
    found = wilson(hits, samples)
    assert (found.low, found.high) == pytest.approx((max(0, centre - half), min(1, centre + half)), abs=1e-9)
    assert 0 <= found.low <= rate <= found.high <= 1
    assert found.low < found.high


def test_wilson_covers_the_true_rate():
    """In 95% of validation sets, at small rates too. Computed, not drawn: over all outcomes of 359 images."""
    for rate in (0.005, 0.02, 0.3):
        outcomes = stats.binom.pmf(np.arange(360), 359, rate)
        covers = [wilson(hits, 359).low <= rate <= wilson(hits, 359).high for hits in range(360)]
        assert 0.93 < outcomes[covers].sum() < 0.98


def test_no_images_have_no_interval():
    assert math.isnan(wilson(0, 0).low)
    assert all(math.isnan(end) for end in (bootstrap_mean([]).low, bootstrap_mean([0.3]).high))
    assert math.isnan(bootstrap_mean([0.5, math.nan, 0.1]).low)
    assert math.isnan(bootstrap_counts([0, 1], [1, 0]).low)


@pytest.mark.parametrize("counts", [(3, 2), (-1, 5)])
def test_no_rate_is_refused(counts: tuple[int, int]):
    with pytest.raises(ValueError, match="is no rate"):
        wilson(*counts)


def test_images_that_are_all_alike_have_an_interval_without_width():
    assert bootstrap_mean([0.25] * 40) == Interval(0.25, 0.25)


@pytest.mark.parametrize("few", [True, False])
def test_the_bootstrap_is_scipys(few: bool):
    generator = np.random.default_rng(3)
    values = generator.choice([0, 1, 2, 7], 180) if few else generator.exponential(size=300)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=generator)
    found = bootstrap_mean(values)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=width / 15)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=width / 15)


def test_values_drawn_by_their_counts_or_by_their_places_are_the_same(monkeypatch: pytest.MonkeyPatch):
    values = np.repeat([0.0, 0.5, 1.0], [20, 30, 150])
    by_counts = bootstrap_mean(values)
    monkeypatch.setattr(intervals, "FEW", 0)
    by_places = bootstrap_mean(values)
    assert by_places != by_counts  # other draws
    assert by_places.low == pytest.approx(by_counts.low, abs=0.008)
    assert by_places.high == pytest.approx(by_counts.high, abs=0.008)


def test_the_bootstrap_covers_the_true_mean():
    generator = np.random.default_rng(11)
    covered = 0
    for _ in range(400):
        found = bootstrap_mean(generator.binomial(7, 0.8, 200) / 7, resamples=1000)
        covered += found.low <= 0.8 <= found.high
    assert 0.91 < covered / 400 < 0.98


@settings(deadline=None, max_examples=50)  # SciPy takes its time to import
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=30))
def test_an_interval_stays_within_the_values_and_is_the_same_again(values: list[float]):
    found = bootstrap_mean(values, resamples=200)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert bootstrap_mean(values, resamples=200) == found


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch):
    """50,000 images are drawn a few at a time; the number of places in memory decides nothing else."""
    values, sizes = np.random.default_rng(0).random(50_000), []
    make = np.random.default_rng

    class Watched:
        def __init__(self, seed: int) -> None:
            self.own = make(seed)

        def integers(self, high: int, size: tuple[int, int]) -> np.ndarray:
            sizes.append(size[0] * size[1])
            return self.own.integers(high, size=size)

    monkeypatch.setattr(np.random, "default_rng", Watched)
    found = bootstrap_mean(values, resamples=100)
    assert max(sizes) <= intervals.DRAWS
    assert sum(sizes) == 100 * 50_000
    assert found.low < values.mean() < found.high

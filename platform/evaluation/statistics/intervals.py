"""95% confidence intervals over images: of rates, and of means.

In: counts, or a value for each image. Out: `Interval`. The images are what is drawn at random; the networks are as
they are: another training would differ by more (that is what a sweep's seeds show).

The bootstrap is not SciPy's, which draws every image's place: of values of a few kinds, as of images that are right or
wrong, how often each kind is drawn says the same without a number for each image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 10_000  # of a bootstrap; 250 of them lie beyond either end of the interval
SEED = 0x60061E  # of a bootstrap: the same images have the same interval
FEW = 256  # different values, up to which they are drawn by their counts
DRAWS = 2**21  # places in memory at a time: 16 MB


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both included; NaN where there is none."""

    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan)


def wilson(hits: int, samples: int) -> Interval:
    """The score interval of a rate (Wilson 1927). Unlike a bootstrap's it has a width where all or none are hits, and
    covers what it should at small numbers too (Brown, Cai and DasGupta 2001, "Interval estimation for a binomial
    proportion").

    Args:
        hits: how many of the samples.
        samples: independent ones; of none the interval is unknown.

    Raises:
        ValueError: more hits than samples, or fewer than none.
    """
    if not 0 <= hits <= samples:
        raise ValueError(f"{hits} of {samples} is no rate")
    if not samples:
        return UNKNOWN
    from scipy.stats import binomtest  # takes half a second, and few who import this module need it

    found = binomtest(hits, samples).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(min(float(found.low), hits / samples), max(float(found.high), hits / samples))  # but for rounding


def bootstrap_mean(values_N: ArrayLike, resamples: int = RESAMPLES, seed: int = SEED) -> Interval:
    """The percentile bootstrap's interval of a mean over images (Efron and Tibshirani 1993, "An introduction to the
    bootstrap", chapter 13): images are drawn anew with replacement. It never leaves the range of the values.

    Images that are all alike give an interval without a width: a sign of few images, not of certainty. Of fewer than
    two images, or of values that are no numbers, it is unknown.

    Args:
        values_N: one for each image.
        resamples: how often the images are drawn. Of more than 256 different values each takes time for every image.
        seed: of the draws.
    """
    values = np.asarray(values_N, np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        return UNKNOWN
    different, counts = np.unique(values, return_counts=True)
    if len(different) <= FEW:
        return bootstrap_counts(different.tolist(), counts.tolist(), resamples, seed)
    generator, means = np.random.default_rng(seed), np.empty(resamples)
    together = max(1, DRAWS // len(values))
    for start in range(0, resamples, together):
        here = means[start : start + together]
        here[:] = values[generator.integers(len(values), size=(len(here), len(values)))].mean(1)
    return _percentiles(means)


def bootstrap_counts(
    values: Sequence[float], counts: Sequence[int], resamples: int = RESAMPLES, seed: int = SEED
) -> Interval:
    """The same of images that are given by how many have each value.

    Args:
        values: the different ones, finite.
        counts: of the images with each.
        resamples: how often the images are drawn.
        seed: of the draws.
    """
    samples = sum(counts)
    if samples < 2:
        return UNKNOWN
    drawn = np.random.default_rng(seed).multinomial(samples, np.asarray(counts) / samples, size=resamples)
    return _percentiles(drawn @ np.asarray(values, np.float64) / samples)


def _percentiles(means: NDArray[np.float64]) -> Interval:
    beyond = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [beyond, 1 - beyond])
    return Interval(float(low), float(high))

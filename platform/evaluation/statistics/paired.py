"""Whether one classifier is better than another on the same images, beyond noise.

In: for each image whether either is right. Out: `Paired`: in how many images they differ, the difference of their
accuracies with its interval, and the p-value of the exact McNemar test. `holm` corrects several of them. Where several
trainings stand for each classifier, `PairedMeans` compares their means by the same test in its general form.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from platform.evaluation.statistics.intervals import Interval, bootstrap_counts

SIGNIFICANT = 0.05  # "beyond noise" below it
MCNEMAR, SIGN_FLIP = "exact McNemar", "exact sign-flip"  # tests


@dataclass(frozen=True)
class Paired:
    """Two classifiers on the same images: numbers of images, and the first's accuracy less the second's."""

    both: int  # are right
    first: int  # only the first is
    second: int
    neither: int
    interval: Interval  # of the difference
    p: float  # two-sided, exact McNemar
    p_holm: float  # the same, corrected for the comparisons that were made with it
    test = MCNEMAR

    @property
    def samples(self) -> int:
        """The images compared."""
        return self.both + self.first + self.second + self.neither

    @property
    def difference(self) -> float:
        """The first's accuracy less the second's, -1 to 1; of no images 0."""
        return (self.first - self.second) / (self.samples or 1)

    @property
    def is_significant(self) -> bool:
        """Whether the difference is more than noise, all comparisons considered."""
        return self.p_holm < SIGNIFICANT


@dataclass(frozen=True)
class PairedMeans:
    """Two settings on the same images, of each the mean over one or more trainings: the first's less the second's."""

    samples: int  # images
    differ: int  # for how many of them the means differ
    difference: float  # of the accuracies, -1 to 1
    interval: Interval
    p: float  # two-sided
    p_holm: float  # the same, corrected for the comparisons that were made with it
    test: str  # of p
    square: float  # mean square of an image's difference, 0 to 1; of one training each the share that differs

    @property
    def is_significant(self) -> bool:
        """Whether the difference is more than noise over images, all comparisons considered."""
        return self.p_holm < SIGNIFICANT


def paired(first_N: NDArray[np.bool_], second_N: NDArray[np.bool_]) -> Paired:
    """Compare two classifiers on the same images.

    Args:
        first_N: where the first is right.
        second_N: where the second is.

    Raises:
        ValueError: of different numbers of images.
    """
    if first_N.shape != second_N.shape:
        raise ValueError(f"{len(first_N)} images are compared with {len(second_N)}")
    both, first = int((first_N & second_N).sum()), int((first_N & ~second_N).sum())
    second, neither = int((~first_N & second_N).sum()), int((~first_N & ~second_N).sum())
    interval = bootstrap_counts([0, 1, -1], [both + neither, first, second])
    p = mcnemar(first, second)
    return Paired(both, first, second, neither, interval, p, p)


def paired_means(first_SN: NDArray[np.bool_], second_SN: NDArray[np.bool_]) -> PairedMeans:
    """Compare the means over S trainings of one setting and of another, which may have more or fewer of them. Of one
    training each it is the exact McNemar test.

    The trainings are taken as they are: how much another training would differ is another question, and another test.

    Args:
        first_SN: where each of the first's is right.
        second_SN: where each of the second's is.

    Raises:
        ValueError: of different numbers of images.
    """
    if first_SN.shape[1] != second_SN.shape[1]:
        raise ValueError(f"{first_SN.shape[1]} images are compared with {second_SN.shape[1]}")
    parts, samples = math.lcm(len(first_SN), len(second_SN)), first_SN.shape[1]
    first_N, second_N = (each.sum(0, dtype=np.int64) * (parts // len(each)) for each in (first_SN, second_SN))
    values, counts = np.unique(first_N - second_N, return_counts=True)
    interval = bootstrap_counts((values / parts).tolist(), counts.tolist())
    differ, difference = int(counts[values != 0].sum()), float(values @ counts) / parts / (samples or 1)
    if parts == 1:
        only = dict(zip(values.tolist(), counts.tolist(), strict=True))
        p, test = mcnemar(only.get(1, 0), only.get(-1, 0)), MCNEMAR
    else:
        p, test = sign_flip(values.tolist(), counts.tolist()), SIGN_FLIP
    square = float(values.astype(float) ** 2 @ counts) / parts**2 / (samples or 1)
    return PairedMeans(samples, differ, difference, interval, p, p, test, square)


def sign_flip(values: Sequence[int], counts: Sequence[int]) -> float:
    """The two-sided p-value of the exact sign-flip test (Fisher's permutation test of paired differences): if both
    settings are equally good, each image's difference might as well have the other sign. McNemar's is this test of
    differences of one.

    The distribution of the sum over all signs is the inverse Fourier transform of the product of cosines, to about
    1e-15.

    Args:
        values: the different differences of an image, as whole numbers.
        counts: how many images have each.
    """
    sizes = np.bincount(np.abs(values), weights=counts).astype(np.int64)  # of each size how many
    sizes[0] = 0
    observed, most = abs(int(np.dot(values, counts))), int(sizes @ np.arange(len(sizes)))
    if not observed:
        return 1.0
    length = 1 << (2 * most + 1).bit_length()  # sums from -most to most have places of their own
    angles, wave = np.arange(length // 2 + 1) * (2 * np.pi / length), np.ones(length // 2 + 1)
    for size in np.flatnonzero(sizes):
        wave *= np.cos(angles * size) ** int(sizes[size])
    chances = np.fft.irfft(wave, length)  # of each sum; negative ones at the end
    return float(np.clip(2 * chances[observed : most + 1].sum(), 0.0, 1.0))


def mcnemar(first: int, second: int) -> float:
    """The two-sided p-value of the exact McNemar test: of the images in which just one of two classifiers is right, the
    first has `first` and the second `second`, which are heads and tails of a fair coin if both are equally good.

    Exact at any number, where the chi-squared form needs some 25 such images (Dietterich 1998, "Approximate statistical
    tests for comparing supervised classification learning algorithms", recommends the test for one training each).
    """
    if not first + second:
        return 1.0
    from scipy.stats import binomtest  # takes half a second, and few who import this module need it

    return float(binomtest(first, first + second, 0.5).pvalue)


def corrected(comparisons: Sequence[Paired]) -> list[Paired]:
    """Comparisons that are made together, with `p_holm` for that, in the order given."""
    ps = holm([each.p for each in comparisons])
    return [replace(each, p_holm=p) for each, p in zip(comparisons, ps, strict=True)]


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for being several comparisons, in the order given (Holm 1979, "A simple sequentially
    rejective multiple test procedure").

    However many pairs are really equal, in at most 5% of all cases is any of theirs below 0.05. The correction is not
    in SciPy; statsmodels would be one more dependency for ten lines.
    """
    result = [0.0] * len(ps)
    largest = 0.0
    for before, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        largest = max(largest, min(1.0, (len(ps) - before) * ps[place]))
        result[place] = largest
    return result


def p_text(p: float) -> str:
    """A p-value as it follows "p": `= 0.031`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"

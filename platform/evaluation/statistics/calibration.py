"""Whether probabilities mean what they say: reliability, ECE, Brier score, NLL.

In: for each image the probabilities, or what these figures need of them. Out: the figures. They are of all classes'
probabilities together: low ones are better. NaN where there are no images, or a probability is no number.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15  # of equal width, as in Guo et al. 2017
LEAST = 1e-30  # probability of a label in a logarithm, as in `metrics.Scores`


@dataclass(frozen=True)
class Bin:
    """The images whose confidence is above `low` and at most `high`; means are NaN where there are none."""

    low: float
    high: float
    count: int
    confidence: float  # mean
    accuracy: float


def reliability(confidence_N: NDArray[np.floating], right_N: NDArray[np.bool_], bins: int = BINS) -> list[Bin]:
    """The bins of a reliability diagram, of equal width from 0 to 1 (Guo et al. 2017, "On calibration of modern neural
    networks", section 2).

    Args:
        confidence_N: the probability of the predicted class; one that is no number is in no bin.
        right_N: whether that class is the label.
        bins: how many.
    """
    confidence = np.asarray(confidence_N, np.float64)
    known = np.isfinite(confidence)
    confidence, right = confidence[known], np.asarray(right_N)[known]
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    confident, hits = (np.bincount(place, weights, bins) for weights in (confidence, right.astype(np.float64)))
    with np.errstate(invalid="ignore"):
        means, accuracies = confident / counts, hits / counts
    return [
        Bin(number / bins, (number + 1) / bins, int(counts[number]), float(means[number]), float(accuracies[number]))
        for number in range(bins)
    ]


def ece(confidence_N: NDArray[np.floating], right_N: NDArray[np.bool_], bins: int = BINS) -> float:
    """The expected calibration error, 0 to 1: the mean distance of confidence and accuracy over the bins of
    `reliability`, weighted by their images."""
    if not len(confidence_N) or not np.isfinite(confidence_N).all():
        return float("nan")
    filled = [each for each in reliability(confidence_N, right_N, bins) if each.count]
    return sum(each.count * abs(each.accuracy - each.confidence) for each in filled) / len(confidence_N)


def brier(probs_NK: NDArray[np.floating], labels_N: NDArray[np.integer]) -> NDArray[np.float64]:
    """The Brier score of each image, 0 to 2: the sum over all classes of the squared distance of probability and
    outcome, as Brier 1950 has it for several classes (for two classes twice the form of one probability).

    Args:
        probs_NK: rows that add up to 1.
        labels_N: classes, 0 to K - 1.
    """
    probs = np.asarray(probs_NK, np.float64)
    own = probs[np.arange(len(probs)), labels_N]
    return (probs**2).sum(1) - own**2 + (1 - own) ** 2


def mean(values_N: NDArray[np.floating]) -> float:
    """The mean over images; of none NaN."""
    return float(np.mean(values_N, dtype=np.float64)) if len(values_N) else float("nan")


def nll(label_probability_N: NDArray[np.floating]) -> float:
    """The mean negative logarithm of the label's probability (cross-entropy, in nats)."""
    return mean(-np.log(np.maximum(np.asarray(label_probability_N, np.float64), LEAST)))

"""Which network is added next to an ensemble (Caruana et al. 2004, "Ensemble selection from libraries of models",
section 2): the one with which the mean of probabilities scores best.

In: the sum of those that were added, and candidates. Out: the best of them, and the scores with it.
"""

import math
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

from platform.evaluation.metrics import Scores

CHUNK = 1024  # images scored at a time
T = TypeVar("T")


def best_addition(
    sum_NK: Tensor, candidates: Mapping[T, Tensor], labels_N: Tensor, counted_N: Tensor
) -> tuple[T, Scores]:
    """The candidate with which the ensemble has the best top-1, of equal ones the lowest loss, then the first.

    Args:
        sum_NK: of the networks so far; zeros: there is none.
        candidates: `[N, K]` each; at least one.
        labels_N: int64.
        counted_N: bool, the images that are scored.
    """
    scored = {name: score(sum_NK, probs_NK, labels_N, counted_N) for name, probs_NK in candidates.items()}
    best = max(scored, key=lambda name: merit(scored[name]))  # of equal ones the first
    return best, scored[best]


def score(sum_NK: Tensor, added_NK: Tensor, labels_N: Tensor, counted_N: Tensor) -> Scores:
    """The scores of an ensemble with one more network. The sum ranks as the mean does, and `Scores` normalises it."""
    total = Scores()
    for start in range(0, len(labels_N), CHUNK):
        here = slice(start, start + CHUNK)
        total += Scores.of(sum_NK[here] + added_NK[here], labels_N[here], counted_N[here])
    return total


def merit(scores: Scores) -> tuple[int, float]:
    """What ensembles are compared by, larger is better: top-1, then low loss; NaN is the worst loss."""
    return scores.top1, -math.inf if math.isnan(scores.loss) else -scores.loss

"""What the best of several settings is worth on images that did not choose it.

In: for each setting and image the share of its trainings that are right. Out: the accuracy to be expected on new ones.
"""

import numpy as np
from numpy.typing import NDArray

from platform.evaluation.statistics.intervals import SEED

RESAMPLES = 200  # the mean over them is known to some hundredths of a point
MOST = 2**24  # numbers in memory at a time: 128 MB


def expected_of_best(right_PN: NDArray[np.floating | np.bool_], resamples: int = RESAMPLES, seed: int = SEED) -> float:
    """The accuracy that the best of P settings has to be expected to have on new images: the best of several has had
    some luck with these. Images are drawn anew with replacement, the best on those drawn is found, and is scored on the
    images that were not drawn (bootstrap bias corrected selection: Tsamardinos, Greasidou and Borboudakis 2018,
    "Bootstrapping the out-of-sample predictions for efficient and accurate cross-validation").

    What another seed of the training would change is not in it.

    Args:
        right_PN: 0 to 1.
        resamples: how often images are drawn.
        seed: of the draws.

    Returns:
        NaN of fewer than two images.
    """
    settings, samples = right_PN.shape
    if samples < 2 or not settings:
        return float("nan")
    generator, scores = np.random.default_rng(seed), []
    right = right_PN.astype(np.float32)
    together = max(1, MOST // samples)
    for start in range(0, resamples, together):
        count = min(together, resamples - start)
        drawn_BN = generator.multinomial(samples, np.full(samples, 1 / samples), size=count).astype(np.float32)
        best_B = (drawn_BN @ right.T).argmax(1)  # of equal ones the first
        left_BN = drawn_BN == 0
        scores += [float(right[best, left].mean()) for best, left in zip(best_B, left_BN, strict=True) if left.any()]
    return float(np.mean(scores)) if scores else float("nan")

"""How many images or seeds a comparison would have needed: what to do where one cannot tell two settings apart.

In: the difference that was seen, how noisy it is, and how many comparisons are made together. Out: numbers of images
and of seeds with which a difference of that size, if it is real, comes out below 0.05 in four cases of five.
"""

import math
from statistics import NormalDist

from platform.evaluation.statistics.paired import SIGNIFICANT

POWER_Z = 0.8416  # the normal distribution's 80%
LEVEL_Z = 1.9600  # and its 97.5%: two-sided 5%


def images_needed(square: float, difference: float, comparisons: int = 1) -> int | None:
    """Images for a McNemar test (Connor 1987, "Sample size for testing differences in proportions for the paired-sample
    design", Biometrics 43), and for the sign-flip test of means by the same normal approximation.

    Args:
        square: mean square of an image's difference, 0 to 1; of one training each the share for which they differ.
        difference: of their accuracies, -1 to 1.
        comparisons: that are made together: Holm's correction asks the smallest p to be below 0.05 / comparisons.

    Returns:
        None: they are equal, and no number of images tells equals apart.
    """
    if not difference:
        return None
    level_z = NormalDist().inv_cdf(1 - SIGNIFICANT / comparisons / 2) if comparisons > 1 else LEVEL_Z
    spread = math.sqrt(max(square - difference**2, 0.0))
    return math.ceil(((level_z * math.sqrt(square) + POWER_Z * spread) / difference) ** 2)


def seeds_needed(sd: float, difference: float) -> int | None:
    """Trainings of either setting for a t-test of their means, by the normal approximation and one more for the unknown
    variance (Lehr 1992, "Sixteen S-squared over D-squared").

    Args:
        sd: of a score between seeds.
        difference: of the mean scores, in the same unit.

    Returns:
        None: they are equal.
    """
    if not difference:
        return None
    return max(2, math.ceil(2 * ((LEVEL_Z + POWER_Z) * sd / difference) ** 2) + 1)

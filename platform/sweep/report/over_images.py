"""Points compared on the same images: each against the one above and against the first, intervals, and what selection
has done to the best.

In: points, best first, and which images their trials are right about. Out: the points with these fields filled in.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

import numpy as np

from platform.evaluation.statistics.intervals import Interval, bootstrap_mean, wilson
from platform.evaluation.statistics.paired import PairedMeans, holm, paired_means
from platform.evaluation.statistics.selection import expected_of_best
from platform.sweep.report.outcome import Ranked
from platform.sweep.report.right_images import Bits, RightImages
from platform.sweep.trial_store import name_of


def compared_on_images(points: Sequence[Ranked], right: RightImages, val_samples: int) -> list[Ranked]:
    """The points with `interval`, `images_above` and `images_best`. Those that are made together are corrected together
    (Holm).

    Args:
        points: best first.
        right: of their trials, as far as it is known.
        val_samples: validation images.
    """
    if not points:
        return []
    bits = [right_of(point, right) for point in points]
    above = _corrected([None, *(_paired(one, other) for one, other in zip(bits, bits[1:], strict=False))])
    best = _corrected([None, *(_paired(bits[0], other) for other in bits[1:])])
    return [
        replace(point, interval=interval_of(point, own, val_samples), images_above=over, images_best=first)
        for point, own, over, first in zip(points, bits, above, best, strict=True)
    ]


def right_of(point: Ranked, right: RightImages) -> Bits | None:
    """[seeds, images] where the trials behind a point's score are right; None: not known of all of them."""
    return right.of([name_of(point.point, seed) for seed in point.seeds])


def interval_of(point: Ranked, right_SN: Bits | None, val_samples: int) -> Interval:
    """The 95% interval of a point's score over images. The seeds see the same images: an interval that took all their
    answers for independent would be too narrow. So that of several is a bootstrap's over images or, where these are
    not known, Wilson's of their mean as if it were one training's, which is rather too wide."""
    if right_SN is None:
        return wilson(round(point.mean * val_samples), val_samples)
    if len(right_SN) == 1:
        return wilson(int(right_SN.sum()), right_SN.shape[1])
    return bootstrap_mean(right_SN.mean(0))


def expected(points: Sequence[Ranked], right: RightImages) -> float | None:
    """The top-1 that the first point has to be expected to have on new images, as it is the best of several; None: not
    known, or there was nothing to choose from. It was chosen among those with as many seeds or, like it, several."""
    rivals = [point for point in points if (point.n > 1) == (points[0].n > 1)]
    bits = [each for point in rivals if (each := right_of(point, right)) is not None]
    if len(rivals) < 2 or len(bits) < len(rivals):
        return None
    found = expected_of_best(np.stack([each.mean(0, dtype=np.float32) for each in bits]))
    return found if isfinite(found) else None


def _paired(first: Bits | None, second: Bits | None) -> PairedMeans | None:
    return None if first is None or second is None else paired_means(first, second)


def _corrected(tests: list[PairedMeans | None]) -> list[PairedMeans | None]:
    ps = iter(holm([each.p for each in tests if each]))
    return [replace(each, p_holm=next(ps)) if each else None for each in tests]

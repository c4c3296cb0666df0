"""Which points of a sweep complement each other in an ensemble: greedy forward selection.

In: validation probabilities of points, in any order. Out: point numbers in the order they were taken, and the scores
after each addition. Pure but for reading files.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from platform.config.checks import ConfigError, require
from platform.evaluation.metrics import Scores
from platform.evaluation.probabilities import MemberProbabilities
from platform.evaluation.selection import best_addition, score
from platform.evaluation.statistics.halves import selecting_half


@dataclass(frozen=True)
class Addition:
    """One step of `greedy`: the point added, and the scores of the ensemble with it."""

    point: int
    selecting: Scores  # on the half of the images that the selection saw
    held_out: Scores  # on the other half


@dataclass(frozen=True)
class Selection:
    """The result of `greedy`. Its first addition is the best single point by the same rule."""

    path: list[Addition]
    views: int  # of each image: the most that all points were evaluated with

    @property
    def points(self) -> list[int]:
        return [addition.point for addition in self.path]


def greedy(candidates: dict[int, MemberProbabilities], count: int) -> Selection:
    """Forward selection on validation probabilities (Caruana et al., ICML 2004, section 2), without replacement: an
    ensemble trains distinct models. Adds the point with which the mean of probabilities has the best top-1; of equal
    ones that with the lowest loss, then the first in `candidates`.

    A fixed half of the images selects. The other half is only scored, so that its top-1 is not what was maximised.
    (The sweep itself, which proposed the points and stopped some early, may have looked at all images.)

    Costs samples x classes x 4 bytes of memory for each point (0.2 GB on ImageNet) and reads each probability once.

    Args:
        candidates: point number -> its probabilities.
        count: points to take.

    Raises:
        ConfigError: the points were evaluated on different images, or fewer than two images are readable.
    """
    _require_same_images(candidates)
    views = min(member.views for member in candidates.values())
    left = {point: member.means(views) for point, member in candidates.items()}
    images = _Images.of(list(candidates.values()))
    path: list[Addition] = []
    sum_NK = torch.zeros_like(next(iter(left.values())))
    while left and len(path) < count:
        point, selecting = best_addition(sum_NK, left, images.labels_N, images.selecting_N)
        added_NK = left.pop(point)
        path.append(Addition(point, selecting, score(sum_NK, added_NK, images.labels_N, images.held_out_N)))
        sum_NK += added_NK
    return Selection(path, views)


def _require_same_images(candidates: dict[int, MemberProbabilities]) -> None:
    (first, reference), *others = candidates.items()
    for point, member in others:
        same = member.classes == reference.classes and torch.equal(member.labels_N, reference.labels_N)
        require(
            same,
            f"points {first} and {point} were not evaluated on the same {reference.samples} images; "
            "evaluate them again, or give promote.choose=best",
        )


@dataclass(frozen=True)
class _Images:
    """The validation images: their labels, and the halves of those that all points could read."""

    labels_N: Tensor
    selecting_N: Tensor
    held_out_N: Tensor

    @classmethod
    def of(cls, members: list[MemberProbabilities]) -> "_Images":
        valid_N = torch.stack([member.valid_N for member in members]).all(0)
        if int(valid_N.sum()) < 2:
            raise ConfigError("fewer than two validation images are readable; give promote.choose=best")
        half_N = torch.from_numpy(selecting_half(len(valid_N)))
        return cls(members[0].labels_N, valid_N & half_N, valid_N & ~half_N)

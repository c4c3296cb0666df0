"""Which validation images each finished trial is right about, with one view, as the ranking scores it.

In: the folders of trials; what was said of each image is kept there when a trial is scored. Out: `RightImages`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from platform.config.checks import ConfigError
from platform.evaluation.images import has_images, read_right
from platform.evaluation.kept import digest_of
from platform.experiment.folder import ExperimentFolder

VIEWS = 1
Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class RightImages:
    """Of the same images in every trial: those that all of them could read."""

    of_trial_N: Mapping[str, Bits] = field(default_factory=dict)  # name -> whether it is right
    missing: tuple[str, ...] = ()  # finished trials of which that is not known

    @property
    def samples(self) -> int | None:
        """How many images; None: nothing is known."""
        return next((len(right) for right in self.of_trial_N.values()), None)

    def of(self, names: Iterable[str]) -> Bits | None:
        """[trials, images] of these trials; None: not known of all of them."""
        found = [self.of_trial_N.get(name) for name in names]
        known = [each for each in found if each is not None]
        return np.stack(known) if known and len(known) == len(found) else None


def right_images(folder: ExperimentFolder, names: Iterable[str]) -> RightImages:
    """Read what finished trials have kept.

    Args:
        folder: the sweep's.
        names: of its finished trials.
    """
    read = {name: kept_right(folder, name) for name in names}
    found = {name: each for name, each in read.items() if each is not None}
    counts = [len(valid) for _, valid in found.values()]
    usual = max(set(counts), key=counts.count, default=0)
    found = {name: each for name, each in found.items() if len(each[1]) == usual}
    valid = np.logical_and.reduce([each for _, each in found.values()]) if found else np.zeros(0, np.bool_)
    if not valid.any():
        found = {}
    missing = tuple(name for name in read if name not in found)
    return RightImages({name: right[valid] for name, (right, _) in found.items()}, missing)


def kept_right(folder: ExperimentFolder, name: str) -> tuple[Bits, Bits] | None:
    """Whether a trial is right about each image, and which images it could read; None: that was not kept, or is of
    other probabilities than those that are there."""
    member = folder.member(name)
    try:
        kept = read_right(member.images, VIEWS)
    except ConfigError:  # damaged: it is made anew from the probabilities
        return None
    if kept is None:
        return None
    try:
        digest = digest_of({name: member.probabilities}, kept.view_counts)
    except OSError:  # they were removed, which are large: nothing says that these are not theirs
        return kept.right_N, kept.valid_N
    return (kept.right_N, kept.valid_N) if has_images(member.images, digest) else None

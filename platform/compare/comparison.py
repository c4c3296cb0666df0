"""Runs side by side on the same images: figures with intervals, paired tests, which images changed, which settings.

In: entrants. Out: a `Comparison`, best first. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from platform.compare.entrants import Entrant
from platform.evaluation.statistics.intervals import Interval, wilson
from platform.evaluation.statistics.paired import Paired, corrected, p_text, paired
from platform.evaluation.summary import Figures, figures_of
from platform.evaluation.verdict import comparing, interval_text


@dataclass(frozen=True)
class Side:
    """One of the runs: R of them, best first."""

    entrant: Entrant
    figures: Figures
    top5_error: float
    top5_interval: Interval


@dataclass(frozen=True)
class Comparison:
    """Pairs are of places in `sides`, the better one first; their p-values are corrected for all of them (Holm)."""

    sides: list[Side]
    pairs: dict[tuple[int, int], Paired]
    valid_N: NDArray[np.bool_]  # images that no run calls corrupt
    labels_N: NDArray[np.int32]
    predicted_RN: NDArray[np.int32]
    settings: list[tuple[str, list[str]]]  # key and each run's value, where they differ

    @classmethod
    def of(cls, entrants: Sequence[Entrant]) -> "Comparison":
        """Compare runs on the images that all of them could read."""
        valid = np.all([each.images.valid_N for each in entrants], axis=0)
        sides = sorted((_side(each, valid) for each in entrants), key=lambda side: side.figures.wrong)
        right = [side.entrant.images.right_EN[side.entrant.number, valid] for side in sides]
        places = list(combinations(range(len(sides)), 2))
        tests = corrected([paired(right[one], right[other]) for one, other in places])
        return cls(
            sides=sides,
            pairs=dict(zip(places, tests, strict=True)),
            valid_N=valid,
            labels_N=sides[0].entrant.images.labels_N,
            predicted_RN=np.stack([side.entrant.images.predicted_EN[side.entrant.number] for side in sides]),
            settings=_differences([side.entrant for side in sides]),
        )

    @property
    def labels(self) -> list[str]:
        """What the runs are called."""
        return [side.entrant.label for side in self.sides]

    @property
    def changed(self) -> NDArray[np.int64]:
        """The numbers of the images for which not all runs predict the same class."""
        return np.flatnonzero(self.valid_N & (self.predicted_RN != self.predicted_RN[0]).any(0))

    @property
    def verdict(self) -> str:
        """Which run is best, and over which of the others that is more than noise."""
        views = self.sides[0].entrant.images.views
        crops = f"with {views} crop{'s' * (views > 1)}"
        if not self.valid_N.any():
            return "No image can be decoded, so that nothing can be said."
        if len(self.sides) == 2:
            return comparing(self.labels[0], self.labels[1], self.pairs[0, 1], crops)
        better = [self._against(other) for other in range(1, len(self.sides)) if self.pairs[0, other].is_significant]
        unsure = [self._against(o) for o in range(1, len(self.sides)) if not self.pairs[0, o].is_significant]
        best = self.sides[0].figures
        error = f"{self.labels[0]} has the lowest top-1 error, {100 * best.error:.2f}% {crops} (95% CI "
        error += f"{interval_text(best.interval)})."
        said = [f"Better beyond noise than {', '.join(better)}."] if better else []
        said += [f"Not distinguishable from {', '.join(unsure)}."] if unsure else []
        return " ".join([error, *said])

    def _against(self, other: int) -> str:
        return f"{self.labels[other]} (p {p_text(self.pairs[0, other].p_holm)})"


def _side(entrant: Entrant, valid: NDArray[np.bool_]) -> Side:
    figures = figures_of(entrant.images, entrant.number, valid)
    missed = int((entrant.images.rank_EN[entrant.number, valid] >= 5).sum())
    share = missed / figures.samples if figures.samples else float("nan")
    return Side(entrant, figures, share, wilson(missed, figures.samples))


def _differences(entrants: Sequence[Entrant]) -> list[tuple[str, list[str]]]:
    keys = dict.fromkeys(key for each in entrants for key in each.settings)
    rows = [(key, [each.settings.get(key, "(absent)") for each in entrants]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]

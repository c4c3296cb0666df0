"""The rows of a ladder, of a resolution or an ablation table, each compared with another on the same images.

In: the members' scores, and whether each is right about every image. Out: `RowTable`: for each row its error over its
seeds with an interval, the paper's figures, and the paired tests against the row above or the first one, corrected for
being several (Holm). No row's probabilities are averaged with another's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from platform.config.table import PaperFigures, TableConfig
from platform.evaluation.images import ImageResults
from platform.evaluation.metrics import Scores
from platform.evaluation.statistics.intervals import Interval, bootstrap_mean, wilson
from platform.evaluation.statistics.paired import SIGNIFICANT, PairedMeans, holm, paired_means
from platform.evaluation.statistics.seeds import Noise

Bits = NDArray[np.bool_]  # [seeds, images]: where each training of a row is right


@dataclass(frozen=True)
class Against:
    """A row compared with another: the first's less the second's."""

    other: str
    images: PairedMeans  # over images, of the networks as they are
    seeds_p: float | None  # t-test of the means over seeds; None: how seeds differ is not known
    seeds_p_holm: float | None  # the same, corrected for the rows

    @property
    def is_significant(self) -> bool:
        """Whether it is more than noise between images and, where that is known, between seeds."""
        return self.images.is_significant and (self.seeds_p_holm is None or self.seeds_p_holm < SIGNIFICANT)


@dataclass(frozen=True)
class TableRow:
    """A row. Errors are shares; of several seeds the means."""

    name: str
    members: list[str]  # finished ones, one a seed
    sums: Scores  # over its members
    top1_errors: list[float]  # of each
    interval: Interval  # of the mean top-1 error over images
    paper: PaperFigures
    against: Against | None  # None: the first row

    @property
    def top1_error(self) -> float:
        return fmean(self.top1_errors)

    @property
    def top5_error(self) -> float:
        return 1 - self.sums.rates()["top5"]

    @property
    def loss(self) -> float:
        return self.sums.rates()["loss"]

    @property
    def sd(self) -> float | None:
        """Of the top-1 error between seeds; None: there is one."""
        return stdev(self.top1_errors) if len(self.top1_errors) > 1 else None


@dataclass(frozen=True)
class RowTable:
    """All of it, with the largest number of views."""

    views: int
    samples: int  # valid images
    rows: list[TableRow]
    noise: Noise  # between seeds, of all rows together

    @property
    def best(self) -> TableRow:
        """The row with the lowest top-1 error, of equal ones the first."""
        return min(self.rows, key=lambda row: row.top1_error)


def row_table(
    table: TableConfig, names: Sequence[str], images: ImageResults, members: Mapping[str, dict[int, Scores]]
) -> RowTable:
    """Compare the rows.

    Args:
        table: what is compared with what, and the paper's figures.
        names: the experiment's members, in their order; rows none of whose members is finished are left out.
        images: what was said of each image.
        members: scores of the finished ones.
    """
    finished = {row: [name for name in of if name in members] for row, of in table.rows(names).items()}
    finished = {row: of for row, of in finished.items() if of}
    right = {row: _right(images, of) for row, of in finished.items()}
    errors = {row: [1 - float(bits.mean()) if bits.size else 0.0 for bits in right[row]] for row in finished}
    valid = int(images.valid_N.sum())
    noise = Noise.of(list(errors.values()), resolution=1 / max(valid, 1))
    order = list(finished)
    others = [order[0] if table.against == "first" else above for above in order[:-1]]
    compared = [
        _against(other, right[row], right[other], noise.p(errors[row], errors[other]))
        for row, other in zip(order[1:], others, strict=True)
    ]
    rows = [
        TableRow(
            name=row,
            members=finished[row],
            sums=_sum([members[name][images.views] for name in finished[row]]),
            top1_errors=errors[row],
            interval=_interval(right[row]),
            paper=table.figures(row),
            against=against,
        )
        for row, against in zip(order, [None, *_corrected(compared)], strict=True)
    ]
    return RowTable(images.views, valid, rows, noise)


def _right(images: ImageResults, members: Sequence[str]) -> Bits:
    """Of the valid images."""
    return np.stack([images.right_EN[images.names.index(name), images.valid_N] for name in members])


def _interval(right_SN: Bits) -> Interval:
    """The seeds see the same images: an interval that took all their answers for independent would be too narrow."""
    if len(right_SN) == 1:
        return wilson(int((~right_SN).sum()), right_SN.shape[1])
    return bootstrap_mean(1 - right_SN.mean(0))


def _against(other: str, right_SN: Bits, theirs_SN: Bits, seeds_p: float | None) -> Against:
    return Against(other, paired_means(right_SN, theirs_SN), seeds_p, seeds_p)


def _corrected(compared: list[Against]) -> list[Against]:
    of_images = holm([each.images.p for each in compared])
    of_seeds = holm([each.seeds_p for each in compared if each.seeds_p is not None]) or [None] * len(compared)
    return [
        replace(each, images=replace(each.images, p_holm=p), seeds_p_holm=seeds_p)
        for each, p, seeds_p in zip(compared, of_images, of_seeds, strict=True)
    ]


def _sum(scores: list[Scores]) -> Scores:
    return sum(scores[1:], start=scores[0])

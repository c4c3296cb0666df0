"""The outcome of each point: its scores, or how far it got and how it ended.

In: the point's trials, one for each seed, and their learning curves. Out: `Ranked` for a point with a finished trial,
`Unranked` for one without. The fields that compare points are filled in by the ranking.
"""

import math
from dataclasses import dataclass
from statistics import fmean, stdev

from platform.evaluation.statistics.intervals import Interval
from platform.evaluation.statistics.paired import PairedMeans
from platform.evaluation.statistics.seeds import LEVEL
from platform.sweep.report.labels import point_name
from platform.sweep.trial_store import FINISHED, Point, Trial
from platform.text import printable
from platform.training.learning_curve import EvaluationPoint

Curves = dict[str, list[EvaluationPoint]]  # name of a trial -> its learning curve


@dataclass(frozen=True)
class Ranked:
    """A point with at least one finished trial. Scores are 0 to 1."""

    point: int
    values: Point
    scores: tuple[float, ...]  # final val top-1 of the finished trials, in order of seeds
    seeds: tuple[int, ...]  # of these trials
    trials: int  # of the point, finished or not
    images_per_s: float | None  # mean of the finished trials; None: not measured
    ended: str
    sampling_error: float  # standard error of the mean score, as the validation images are a sample
    rank: int = 0  # from 1; equal means share a rank
    p_above: float | None = None  # p-value against the point above; None: the first, or unknown
    p_above_holm: float | None = None  # the same, corrected for the comparisons of all points with the next (Holm)
    p_best: float | None = None  # p-value against the first, corrected for the number of comparisons (Holm)
    interval: Interval | None = None  # of the mean, over images; None: not computed
    images_above: PairedMeans | None = None  # the point above less this one, on the same images; None: not known
    images_best: PairedMeans | None = None  # the first less this one
    contender: bool = False  # not worse than the first beyond noise, or the first itself
    front: bool = False  # no other point is as good in both objectives and better in one

    @property
    def name(self) -> str:
        return point_name(self.point)

    @property
    def n(self) -> int:
        return len(self.scores)

    @property
    def mean(self) -> float:
        return fmean(self.scores)  # rounded once, so that the order of scores makes no difference

    @property
    def sd(self) -> float | None:
        """The sample standard deviation of its scores (n - 1); None for one seed."""
        return stdev(self.scores) if self.n > 1 else None

    @property
    def differs(self) -> bool:
        """Whether every test that there is, between seeds or over images, tells it apart from the first."""
        ps = [p for p in (self.p_best, self.images_best and self.images_best.p_holm) if p is not None]
        return bool(ps) and max(ps) < LEVEL


@dataclass(frozen=True)
class Unranked:
    """A point none of whose trials finished with a score."""

    point: int
    values: Point
    trials: int
    epoch: float  # that its furthest trial reached; 0: none
    top1: float | None  # of that trial at that epoch, 0 to 1
    ended: str

    @property
    def name(self) -> str:
        return point_name(self.point)


def of_point(trials: list[Trial], curves: Curves, val_samples: int) -> Ranked | Unranked:
    """The outcome of a point.

    Args:
        trials: all trials of the point.
        curves: learning curves, by the trial's name.
        val_samples: validation images.
    """
    trials = sorted(trials, key=lambda trial: trial.seed)
    first = trials[0]
    finals = {trial.name: final_top1(trial, curves) for trial in trials}
    scored = [trial for trial in trials if finals[trial.name] is not None]
    ended = _ended(trials, scored, curves)
    if not scored:
        epoch, top1 = max((_reached(curves.get(trial.name, [])) for trial in trials), key=_further)
        return Unranked(first.point, first.values, len(trials), epoch, top1, ended)
    scores = tuple(score for score in finals.values() if score is not None)
    speeds = [speed for trial in scored if (speed := _images_per_s(curves[trial.name])) is not None]
    return Ranked(
        point=first.point,
        values=first.values,
        scores=scores,
        seeds=tuple(trial.seed for trial in scored),
        trials=len(trials),
        images_per_s=fmean(speeds) if speeds else None,
        ended=ended,
        sampling_error=sampling_error(fmean(scores), val_samples),
    )


def final_top1(trial: Trial, curves: Curves) -> float | None:
    """The top-1 (0 to 1) at the end of a finished trial; None if it did not finish, or its curve lacks the end."""
    if trial.state != FINISHED:
        return None
    ends = [
        evaluation.top1
        for evaluation in curves.get(trial.name, [])
        if evaluation.last and math.isfinite(evaluation.top1)
    ]
    return ends[-1] if ends else None


def sampling_error(share: float, samples: int) -> float:
    """The standard error of a share of so many images (binomial), but never less than one image."""
    return max((share * (1 - share) / samples) ** 0.5, 1 / samples)


def _images_per_s(curve: list[EvaluationPoint]) -> float | None:
    """Training throughput over all steps that were timed, each weighted by the time that it took; None: none was."""
    steps, time, before = 0, 0.0, 0
    for evaluation in curve:
        if math.isfinite(evaluation.images_per_s) and evaluation.images_per_s > 0:
            steps += evaluation.step - before
            time += (evaluation.step - before) / evaluation.images_per_s
        before = evaluation.step
    return steps / time if time > 0 else None


def _reached(curve: list[EvaluationPoint]) -> tuple[float, float | None]:
    """The last epoch of a curve, and its top-1."""
    if not curve:
        return 0.0, None
    return curve[-1].epoch, curve[-1].top1 if math.isfinite(curve[-1].top1) else None


def _further(reached: tuple[float, float | None]) -> tuple[float, float]:
    epoch, top1 = reached
    return epoch, -1.0 if top1 is None else top1


def _ended(trials: list[Trial], scored: list[Trial], curves: Curves) -> str:
    """`finished`, or how the trials without a score ended, how far they got, and why."""
    parts = []
    others = [trial for trial in trials if trial not in scored]
    for state in sorted({trial.state for trial in others}):
        alike = [trial for trial in others if trial.state == state]
        count = f"{len(alike)} " if len(trials) > 1 else ""
        epoch = max(_reached(curves.get(trial.name, []))[0] for trial in alike)
        reached = f" at epoch {epoch:g}" if epoch and state != FINISHED else ""
        reason = "no final score" if state == FINISHED else next((each.reason for each in alike if each.reason), "")
        parts.append(f"{count}{state}{reached}{f': {printable(reason)}' if reason else ''}")
    changes = sum(len(trial.changes) for trial in trials)
    if changes:
        parts.append(f"{changes} change{'s' * (changes > 1)} on the way")
    return "; ".join(parts) or FINISHED

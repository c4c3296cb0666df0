"""The points of a sweep, best first, and how sure that order is.

In: the trials, their learning curves, which images they are right about. Out: `Ranking`: every point with its mean over
seeds, and whether it differs from its neighbour and from the best by more than noise, between seeds and over images.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from platform.config.checks import require_at_least
from platform.evaluation.statistics.paired import holm
from platform.evaluation.statistics.seeds import Noise
from platform.sweep.report.outcome import Curves, Ranked, Unranked, of_point
from platform.sweep.report.over_images import compared_on_images, expected
from platform.sweep.report.right_images import RightImages
from platform.sweep.trial_store import DIVERGED, FAILED, FINISHED, STOPPED, WAITING, Trial, TrialStore

DIGITS = 12  # decimals of a mean; means that differ only beyond them are equal but for rounding


@dataclass(frozen=True)
class Tally:
    """How many trials are in each state."""

    finished: int
    stopped: int  # early, by the scheduler
    failed: int
    waiting: int
    diverged: int = 0  # or their config cannot be

    def __str__(self) -> str:
        counts = {FINISHED: self.finished, STOPPED: self.stopped, DIVERGED: self.diverged}
        counts |= {FAILED: self.failed, WAITING: self.waiting}
        return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none"


@dataclass(frozen=True)
class Ranking:
    """Every point of a sweep, once."""

    points: tuple[Ranked, ...]  # those with a score, best first
    rest: tuple[Unranked, ...]  # those without, the furthest first
    objectives: tuple[str, ...]
    val_samples: int
    noise: Noise  # between seeds
    tally: Tally
    changed: bool  # by PBT, which changes values during the training and copies weights between trials
    untested: tuple[str, ...] = ()  # finished trials of which nobody knows what they said of each image
    expected: float | None = None  # top-1 of the best on new images, 0 to 1, as it was chosen by these; None: not known

    @property
    def best(self) -> Ranked | None:
        return self.points[0] if self.points else None

    @property
    def lead(self) -> float | None:
        """The difference of the first two means, 0 to 1; None: there is one point."""
        return self.points[0].mean - self.points[1].mean if len(self.points) > 1 else None

    @property
    def contenders(self) -> list[Ranked]:
        """The best point and those not worse beyond noise, between seeds or over images; all points if neither is
        known."""
        return [point for point in self.points if point.contender]

    @property
    def is_tested(self) -> bool:
        """Whether anything is known of noise, between seeds or over images, so that points can be told apart."""
        return self.noise.freedom > 0 or any(point.images_best for point in self.points)

    @property
    def has_seeds(self) -> bool:
        """Whether any point has several seeds, finished or not."""
        return any(point.trials > 1 for point in (*self.points, *self.rest))

    @property
    def front(self) -> list[Ranked]:
        """The Pareto front of two objectives, by top-1; empty for one objective."""
        return [point for point in self.points if point.front]

    @property
    def keys(self) -> list[str]:
        """The swept keys, in the order of the space."""
        return list(dict.fromkeys(key for point in (*self.points, *self.rest) for key in point.values))


def rank(
    store: TrialStore,
    curves: Curves,
    objectives: Sequence[str],
    val_samples: int,
    right: RightImages | None = None,
) -> Ranking:
    """Rank points by their mean final top-1 over finished trials. Points with one seed come after those with several,
    as a single score is more easily a lucky one; points without a score come last.

    Args:
        store: the sweep's trials.
        curves: learning curves, by the trial's name.
        objectives: `top1`, and `images_per_s` if the Pareto front of both is asked for.
        val_samples: validation images, which bound how finely scores can differ.
        right: which images the finished trials are right about; None: not known.

    Raises:
        ConfigError: no validation images.
    """
    require_at_least("val_samples", val_samples, 1)
    points, rest = outcomes(store, curves, val_samples)
    noise = Noise.of([point.scores for point in points], resolution=1 / val_samples)
    states = Counter(trial.state for trial in store.trials)
    right = right or RightImages()
    points = compared_on_images(points, right, val_samples)
    return Ranking(
        points=tuple(_compared(points, noise, len(objectives) > 1)),
        rest=tuple(rest),
        objectives=tuple(objectives),
        val_samples=val_samples,
        noise=noise,
        tally=Tally(*(states[each] for each in (FINISHED, STOPPED, FAILED, WAITING, DIVERGED))),
        changed=any(trial.changes for trial in store.trials),
        untested=right.missing,
        expected=expected(points, right) if points else None,
    )


def outcomes(store: TrialStore, curves: Curves, val_samples: int) -> tuple[list[Ranked], list[Unranked]]:
    """The points with a score, best first, and those without, the furthest first; not compared yet. Args as of
    `rank`."""
    trials: defaultdict[int, list[Trial]] = defaultdict(list)  # of each point, gathered in one pass
    for trial in store.trials:
        trials[trial.point].append(trial)
    found = [of_point(trials[number], curves, val_samples) for number in sorted(trials)]
    points = [each for each in found if isinstance(each, Ranked)]
    rest = [each for each in found if isinstance(each, Unranked)]
    return sorted(points, key=_order(points)), sorted(
        rest, key=lambda each: (-each.epoch, -(each.top1 or 0), each.point)
    )


def _order(points: list[Ranked]) -> Callable[[Ranked], tuple[bool, float, int]]:
    most = max((point.n for point in points), default=0)
    return lambda point: (point.n == 1 < most, -round(point.mean, DIGITS), point.point)


def _compared(points: list[Ranked], noise: Noise, two_objectives: bool) -> list[Ranked]:
    """The points, given best first, with the fields that compare them between seeds, and what comes of both."""
    if not points:
        return []
    best = _corrected([None, *(noise.p(points[0].scores, point.scores) for point in points[1:])])
    pairs = zip(points, points[1:], strict=False)
    above = [None, *(None if b.n == 1 < a.n else noise.p(a.scores, b.scores) for a, b in pairs)]
    above_holm = _corrected(above)
    front = _front(points) if two_objectives else set[int]()
    compared = []
    for place, point in enumerate(points):
        tied = place > 0 and round(points[place - 1].mean, DIGITS) == round(point.mean, DIGITS)
        tested = replace(point, p_above=above[place], p_above_holm=above_holm[place], p_best=best[place])
        compared.append(
            replace(
                tested,
                rank=compared[-1].rank if tied else place + 1,
                # One seed may be higher than the first: tests are two-sided, and it is no worse for differing.
                contender=not tested.differs or tested.mean > points[0].mean,
                front=point.point in front,
            )
        )
    return compared


def _corrected(ps: Sequence[float | None]) -> list[float | None]:
    """Corrected together (Holm), those that are known."""
    known = iter(holm([p for p in ps if p is not None]))
    return [None if p is None else next(known) for p in ps]


def _front(points: list[Ranked]) -> set[int]:
    """The numbers of the points than which no other is as good in both objectives and better in one. A point without a
    speed counts as slowest."""
    front, best_top1 = set[int](), -1.0
    figures = {point.point: (point.images_per_s or 0.0, point.mean) for point in points}
    for _, alike in groupby(sorted(figures, key=lambda number: figures[number], reverse=True), key=figures.__getitem__):
        numbers = list(alike)
        if (top1 := figures[numbers[0]][1]) > best_top1:  # of all that are as fast or faster
            best_top1 = top1
            front |= set(numbers)
    return front

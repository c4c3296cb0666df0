"""The points of a sweep, best first, and how sure that order is.

In: the trials and their learning curves. Out: `Ranking`: every point with its mean over seeds, whether it differs from
its neighbour and from the best by more than noise, and a verdict in plain English.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from platform.config.checks import require_at_least
from platform.evaluation.statistics.paired import holm, p_text
from platform.sweep.report.labels import point_label
from platform.sweep.report.outcome import Curves, Ranked, Unranked, of_point
from platform.sweep.report.significance import LEVEL, Noise
from platform.sweep.trial_store import DIVERGED, FAILED, FINISHED, STOPPED, WAITING, TrialStore

DIGITS = 12  # decimals of a mean; means that differ only beyond them are equal but for rounding
NAMED = 6  # points at most in a sentence


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

    @property
    def best(self) -> Ranked | None:
        return self.points[0] if self.points else None

    @property
    def lead(self) -> float | None:
        """The difference of the first two means, 0 to 1; None: there is one point."""
        return self.points[0].mean - self.points[1].mean if len(self.points) > 1 else None

    @property
    def contenders(self) -> list[Ranked]:
        """The best point and those not distinguishable from it; all points if noise is not known."""
        return [point for point in self.points if point.contender]

    @property
    def front(self) -> list[Ranked]:
        """The Pareto front of two objectives, by top-1; empty for one objective."""
        return [point for point in self.points if point.front]

    @property
    def keys(self) -> list[str]:
        """The swept keys, in the order of the space."""
        return list(dict.fromkeys(key for point in (*self.points, *self.rest) for key in point.values))

    @property
    def verdict(self) -> str:
        """Which point is best, by how much, whether that is more than noise, and what not to rely on."""
        if self.best is None:
            return f"No point has a final score, so there is nothing to rank. Trials: {self.tally}."
        sentences = [_winner(self.best), _lead(self), _luck(self), _contenders(self), _one_seed(self), _front(self)]
        return " ".join(sentence for sentence in sentences if sentence)

    @property
    def cautions(self) -> list[str]:
        """Further reasons for caution about the order, one or two sentences each."""
        sentences = [_unfinished_seeds(self), _finalists(self), _small_set(self), _pbt(self), _waiting(self)]
        return [sentence for sentence in sentences if sentence]


def rank(store: TrialStore, curves: Curves, objectives: Sequence[str], val_samples: int) -> Ranking:
    """Rank points by their mean final top-1 over finished trials. Points with one seed come after those with several,
    as a single score is more easily a lucky one; points without a score come last.

    Args:
        store: the sweep's trials.
        curves: learning curves, by the trial's name.
        objectives: `top1`, and `images_per_s` if the Pareto front of both is asked for.
        val_samples: validation images, which bound how finely scores can differ.

    Raises:
        ConfigError: no validation images.
    """
    require_at_least("val_samples", val_samples, 1)
    numbers = sorted({trial.point for trial in store.trials})
    outcomes = [of_point(store.of_point(number), curves, val_samples) for number in numbers]
    points = [each for each in outcomes if isinstance(each, Ranked)]
    rest = [each for each in outcomes if isinstance(each, Unranked)]
    noise = Noise.of([point.scores for point in points], resolution=1 / val_samples)
    states = Counter(trial.state for trial in store.trials)
    return Ranking(
        points=tuple(_compared(sorted(points, key=_order(points)), noise, len(objectives) > 1)),
        rest=tuple(sorted(rest, key=lambda each: (-each.epoch, -(each.top1 or 0), each.point))),
        objectives=tuple(objectives),
        val_samples=val_samples,
        noise=noise,
        tally=Tally(*(states[each] for each in (FINISHED, STOPPED, FAILED, WAITING, DIVERGED))),
        changed=any(trial.changes for trial in store.trials),
    )


def _order(points: list[Ranked]) -> Callable[[Ranked], tuple[bool, float, int]]:
    most = max((point.n for point in points), default=0)
    return lambda point: (point.n == 1 < most, -round(point.mean, DIGITS), point.point)


def _compared(points: list[Ranked], noise: Noise, two_objectives: bool) -> list[Ranked]:
    """The points, given best first, with the fields that compare them."""
    against_best = [noise.p(points[0].scores, point.scores) for point in points[1:]]
    corrected = [None, *holm([p for p in against_best if p is not None])] if noise.freedom else [None] * len(points)
    compared = []
    for place, (point, p_best) in enumerate(zip(points, corrected, strict=True)):
        above = points[place - 1] if place else None
        tied = above is not None and round(above.mean, DIGITS) == round(point.mean, DIGITS)
        compared.append(
            replace(
                point,
                rank=compared[-1].rank if tied else place + 1,
                p_above=noise.p(above.scores, point.scores) if above and not (point.n == 1 < above.n) else None,
                p_best=p_best,
                contender=p_best is None or p_best >= LEVEL,
                front=two_objectives and not any(_dominates(other, point) for other in points),
            )
        )
    return compared


def _dominates(one: Ranked, other: Ranked) -> bool:
    """Whether `one` is as good in both objectives and better in one. A point without a speed counts as slowest."""
    mine, theirs = ((point.mean, point.images_per_s or 0.0) for point in (one, other))
    return mine != theirs and mine[0] >= theirs[0] and mine[1] >= theirs[1]


def score_text(point: Ranked) -> str:
    """`91.20% ± 0.31 over 3 seeds`."""
    if point.sd is None:
        return f"{100 * point.mean:.2f}% with one seed"
    return f"{100 * point.mean:.2f}% ± {100 * point.sd:.2f} over {point.n} seeds"


def _names(points: Sequence[Ranked]) -> str:
    more = f" and {len(points) - NAMED} more" if len(points) > NAMED else ""
    return ", ".join(point.name for point in points[:NAMED]) + more


def _winner(best: Ranked) -> str:
    label = point_label(best.values)
    return f"{best.name}{f' ({label})' if label else ''} is best: top-1 {score_text(best)}."


def _lead(ranking: Ranking) -> str:
    """The lead over the second, and whether it is more than noise."""
    if ranking.lead is None:
        return "It is the only point that finished: there is nothing to compare it with."
    second = ranking.points[1]
    if second.n == 1 < ranking.points[0].n:
        return "No other point has several seeds."
    lead = f"Its lead of {100 * ranking.lead:.2f} points over {second.name}"
    if second.rank == 1:
        return f"{second.name} ties with it."
    if second.p_above is None:
        return f"{lead} may or may not be noise: unknown, one seed a point."
    if second.p_above < LEVEL:
        return f"{lead} is more than noise between seeds (p {p_text(second.p_above)})."
    return f"{lead} may well be noise between seeds (p {p_text(second.p_above)})."


def _luck(ranking: Ranking) -> str:
    """Points that one seed puts above the best."""
    best = ranking.points[0]
    lucky = [point for point in ranking.points if point.n == 1 < best.n and point.mean > best.mean]
    scores = ", ".join(f"{point.name} {100 * point.mean:.2f}%" for point in lucky[:NAMED])
    return f"Higher with one seed, which may be luck: {scores}; give them more seeds." if lucky else ""


def _contenders(ranking: Ranking) -> str:
    others = [point for point in ranking.contenders if point is not ranking.best]
    if not others or not ranking.noise.freedom:
        return ""
    return f"Not distinguishable from it: {_names(others)} ({len(ranking.points) - 1} comparisons, Holm)."


def _one_seed(ranking: Ranking) -> str:
    best = ranking.points[0]
    if best.n > 1:
        return ""
    tried = len(ranking.points) + len(ranking.rest)
    chosen = f" and was chosen among {tried} points, so its score is optimistic (selection bias)" if tried > 1 else ""
    return f"WARNING: it rests on one seed{chosen}; train it with more seeds before you rely on it."


def _front(ranking: Ranking) -> str:
    return f"Best trade-offs of top-1 and images/s: {_names(ranking.front)}." if ranking.front else ""


def _unfinished_seeds(ranking: Ranking) -> str:
    best = ranking.best
    if best is None or best.n == best.trials:
        return ""
    return (
        f"{best.name} is ranked on {best.n} of {best.trials} seeds ({best.ended}). "
        "If the others were left out for doing badly, its score is optimistic."
    )


def _finalists(ranking: Ranking) -> str:
    """The seed by which a finalist was chosen is high by choice; its other seeds are not."""
    trials = [point.trials for point in (*ranking.points, *ranking.rest)]
    best = ranking.best
    if best is None or min(trials) == max(trials):
        return ""
    others = [score for score, seed in zip(best.scores, best.seeds, strict=True) if seed]
    without = f": without it {best.name} has {100 * fmean(others):.2f}%" if others else ""
    return (
        f"Not all points got {max(trials)} seeds; those with several stand first. Where the first seed chose them, "
        f"it is optimistic{without}."
    )


def _small_set(ranking: Ranking) -> str:
    best = ranking.best
    if best is None or ranking.lead is None or ranking.lead >= best.sampling_error:
        return ""
    return (
        f"{ranking.val_samples:,} validation images measure a score with a standard error of "
        f"{100 * best.sampling_error:.2f} points, more than the lead. All points saw the same images; on others "
        "their order may differ."
    )


def _pbt(ranking: Ranking) -> str:
    if not ranking.changed:
        return ""
    return (
        "Values changed on the way (PBT): those shown are where each trial started. Trials went on from each other's "
        "weights, so they are not independent, and p may be too small."
    )


def _waiting(ranking: Ranking) -> str:
    waiting = ranking.tally.waiting
    return f"{waiting} trial{'s have' if waiting > 1 else ' has'} not ended yet: this may change." if waiting else ""

"""The plots of a sweep: ranking, importance, learning curves, trade-offs.

In: a ranking, importances, learning curves. Out: PNG files. Text from the user is drawn as it is, never as a formula.
"""

import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from platform.sweep.report.importance import Importance
from platform.sweep.report.labels import headings, point_label, shortened
from platform.sweep.report.outcome import Curves, Ranked
from platform.sweep.report.ranking import Ranking
from platform.sweep.trial_store import FAILED, STOPPED, Trial, TrialStore
from platform.text import printable
from platform.training.learning_curve import EvaluationPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 30  # in the plot of the ranking
MAX_OTHERS = 200  # grey curves, and points with error bars off the front: more hide each other, and take minutes
LABEL_WIDTH = 62  # characters in a line
BLUE, GREY = "#0072b2", "#9a9a9a"
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]  # Okabe & Ito: apart for the colour-blind
ENDS = {STOPPED: ("o", "#555555"), FAILED: ("X", "black")}  # marker and its colour


def draw_ranking(ranking: Ranking, path: Path) -> None:
    """Plot the ranking: every seed as a dot, every point as mean ± sd, the best on top."""
    points = ranking.points[:MAX_POINTS]
    figure, axes = _figure(height=1.5 + 0.4 * len(points), width=11)
    for place, point in enumerate(points):
        colour = BLUE if point.contender else GREY
        scores = [100 * score for score in point.scores]
        places = [place + 0.13 * (seed - (point.n - 1) / 2) for seed in range(point.n)]  # equal ones beside each other
        axes.plot(scores, places, "o", color=colour, markersize=4, alpha=0.5, markeredgewidth=0)
        if point.interval:
            ends = [100 * point.interval.low, 100 * point.interval.high]
            axes.plot(ends, [place, place], color=colour, linewidth=6, alpha=0.18, solid_capstyle="butt")
        sd = 100 * point.sd if point.sd is not None else None
        axes.errorbar(100 * point.mean, place, xerr=sd, fmt="D", color=colour, markersize=6, capsize=3, linewidth=1.5)
    labels = [_label(point, ranking) for point in points]
    axes.set_yticks(range(len(points)), labels, parse_math=False, fontsize="small")
    axes.invert_yaxis()
    axes.margins(y=0.5 / len(points) + 0.02)
    axes.set_xlabel(_score_axis(ranking))
    axes.grid(axis="x", alpha=0.3)
    shown = f"the best {len(points)} of {len(ranking.points)} points" if len(ranking.points) > len(points) else ""
    known = "blue: not worse than the best beyond noise" if ranking.is_tested else "one seed a point: noise unknown"
    axes.set_title("; ".join(part for part in (shown, known) if part), fontsize="medium")
    _save(figure, path)


def _score_axis(ranking: Ranking) -> str:
    seeds = ": each seed, their mean ± sd;" if ranking.has_seeds else ","
    return f"final validation top-1, %{seeds} pale: 95% interval over images"


def draw_importance(importance: Importance, path: Path) -> None:
    """Plot importances: a bar for each key, the most important on top; paler where only some trials have the key."""
    shares = importance.shares
    figure, axes = _figure(height=1.4 + 0.42 * len(shares), width=8)
    whole = [share.trials == importance.trials for share in shares]
    bars = axes.barh(
        range(len(shares)),
        [100 * share.share for share in shares],
        color=[BLUE if each else "#8fc1de" for each in whole],
    )
    axes.bar_label(bars, fmt="%.0f%%", padding=4)
    labels = [
        shortened(printable(share.key), 40) + ("" if each else f"\n(among the {share.trials} trials that have it)")
        for share, each in zip(shares, whole, strict=True)
    ]
    axes.set_yticks(range(len(shares)), labels, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 110)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("share of the explained differences in top-1, %")
    axes.set_title(f"importance of each key over {importance.trials} finished trials (fANOVA)", fontsize="medium")
    axes.grid(axis="x", alpha=0.3)
    _save(figure, path)


def draw_curves(ranking: Ranking, store: TrialStore, curves: Curves, path: Path) -> None:
    """Plot validation top-1 against the epoch: the best points in colours, the others grey, early ends marked.

    All curves are on the left; on the right is the second half of the best ones, which lie close together there.
    """
    colours = dict(zip((point.point for point in ranking.points), COLOURS, strict=False))
    figure, whole, end = _two_panels()
    others = [trial for trial in store.trials if trial.point not in colours and curves.get(trial.name)]
    shown = _evenly(sorted(others, key=lambda each: -each.point), MAX_OTHERS)
    best = [trial for trial in store.trials if trial.point in colours]
    for trial in [*shown, *sorted(best, key=lambda each: -each.point)]:  # colours on top
        for axes in (whole, end):
            _draw_curve(axes, trial, curves, colours.get(trial.point))
    _look_closer(end, [curves.get(trial.name, []) for trial in best])
    whole.set_ylabel("validation top-1, %")
    whole.set_title("learning curves, each seed a line", fontsize="medium")
    end.set_title("the best of them, second half", fontsize="medium")
    _explain_curves(whole, ranking, [*shown, *best], len(others), curves, colours)
    for text in figure.legend(loc="outside lower center", fontsize="small", ncols=2).get_texts():
        text.set_parse_math(False)
    _save(figure, path)


def draw_front(ranking: Ranking, path: Path) -> None:
    """Plot top-1 against training speed, the Pareto front named and joined by a line."""
    figure, axes = _figure(height=5, width=8)
    timed = [point for point in ranking.points if point.images_per_s is not None]
    for number, point in enumerate(timed):
        if point.front or number < MAX_OTHERS:
            sd = 100 * point.sd if point.sd is not None else None
            colour = BLUE if point.front else GREY
            axes.errorbar(
                point.images_per_s or 0, 100 * point.mean, yerr=sd, fmt="D", color=colour, capsize=2, alpha=0.8
            )
    rest = [point for point in timed[MAX_OTHERS:] if not point.front]
    axes.plot([each.images_per_s or 0 for each in rest], [100 * each.mean for each in rest], "D", color=GREY, alpha=0.3)
    front = sorted((point.images_per_s or 0.0, 100 * point.mean, point.name) for point in ranking.front)
    for speed, top1, name in front:
        axes.annotate(name, (speed, top1), (7, 5), textcoords="offset points", fontsize="small")
    speeds, scores = [speed for speed, _, _ in front], [top1 for _, top1, _ in front]
    axes.step(speeds, scores, where="pre", color=BLUE, linewidth=1, alpha=0.6)
    axes.set_xlabel("training speed, images/s")
    axes.set_ylabel("final validation top-1, %: mean ± sd")
    axes.set_title("blue: best trade-offs; no other point is as good in both", fontsize="medium")
    axes.margins(0.12)
    axes.grid(alpha=0.3)
    _save(figure, path)


def _draw_curve(axes: "Axes", trial: Trial, curves: Curves, colour: str | None) -> None:
    """A trial as a line; grey without a colour. A single evaluation is a dot."""
    evaluations = curves.get(trial.name, [])
    if not evaluations:
        return
    epochs, scores = (
        [evaluation.epoch for evaluation in evaluations],
        [100 * evaluation.top1 for evaluation in evaluations],
    )
    dot = "." if len(evaluations) == 1 else None
    axes.plot(epochs, scores, color=colour or GREY, linewidth=1.6 if colour else 0.8, alpha=0.8, marker=dot)
    if trial.state in ENDS:
        marker, end = ENDS[trial.state]
        axes.plot(epochs[-1], scores[-1], marker, color=end, markersize=6, zorder=3)


def _look_closer(axes: "Axes", best: list[list[EvaluationPoint]]) -> None:
    """Set the limits of the axes to the second half of these curves."""
    last = max((evaluation.epoch for curve in best for evaluation in curve), default=0.0)
    scores = [100 * evaluation.top1 for curve in best for evaluation in curve if evaluation.epoch >= last / 2]
    if not last or max(scores) == min(scores):
        return
    margin = 0.05 * (max(scores) - min(scores))
    axes.set_xlim(0.49 * last, 1.01 * last)
    axes.set_ylim(min(scores) - margin, max(scores) + margin)


def _evenly(trials: list[Trial], most: int) -> list[Trial]:
    """At most so many of them, from all over the list."""
    return [trials[place * len(trials) // most] for place in range(most)] if len(trials) > most else trials


def _explain_curves(
    axes: "Axes", ranking: Ranking, drawn: list[Trial], others: int, curves: Curves, colours: dict[int, str]
) -> None:
    """Add legend entries for what is in the plot: the trials drawn, of `others` in grey perhaps not all."""
    names = headings(ranking.keys)
    for point in ranking.points[: len(colours)]:
        label = shortened(f"{point.name}  {point_label(point.values, names)}", LABEL_WIDTH + 12)
        axes.plot([], [], color=colours[point.point], linewidth=2, label=label)
    if any(trial.point not in colours for trial in drawn):
        of = f" ({MAX_OTHERS} of {others:,} curves)" if others > MAX_OTHERS else ""
        axes.plot([], [], color=GREY, label=f"other points{of}")
    for state, (marker, colour) in ENDS.items():
        if any(trial.state == state and curves.get(trial.name) for trial in drawn):
            axes.plot([], [], marker, color=colour, label="stopped early" if state == STOPPED else state)


def _label(point: Ranked, ranking: Ranking) -> str:
    """The label of a point, of two lines at most."""
    seeds = "" if point.n == point.trials else f" ({point.n} of {point.trials} seeds)"
    text = f"{point.name}{seeds}: {point_label(point.values, headings(ranking.keys))}"
    return "\n".join(textwrap.wrap(text, LABEL_WIDTH, max_lines=2, placeholder=" …", break_on_hyphens=False))


def _two_panels() -> "tuple[Figure, Axes, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    return figure, left, right


def _figure(height: float, width: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure  # takes a second

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _save(figure: "Figure", path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # characters that the font lacks are drawn as boxes
        figure.savefig(path, dpi=110)

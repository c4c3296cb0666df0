"""A run that was killed twice and resumed, over one that was not."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from docs.pictures.axes import add_caption, add_legend, add_title, plain_edges, source_of
from docs.pictures.theme import WIDTH, Theme


def draw(figures: dict[str, Any], theme: Theme) -> Figure:
    """Loss and validation score of a run that was killed twice, over those of one that was not."""
    figure = Figure(figsize=(WIDTH / 72, 360 / 72))
    left = figure.add_axes((0.045, 0.31, 0.535, 0.54))
    right = figure.add_axes((0.645, 0.31, 0.345, 0.54))
    _two_runs(left, figures, "train/loss", theme)
    _two_runs(right, figures, "val/top1", theme)
    add_title(left, "training loss", theme)
    add_title(right, "validation top-1, %", theme)
    _mark_kills(left, figures["kills"], theme)
    add_legend(figure, left, theme)
    weights = figures["weights"]
    verdict = (
        f"{weights['equal']} of {weights['tensors']} tensors of the final weights are equal bit by bit; "
        f"so are the samples of all {figures['steps']} steps."
    )
    add_caption(figure, verdict, [source_of(figures)], theme)
    return figure


def _two_runs(axes: Axes, figures: dict[str, Any], key: str, theme: Theme) -> None:
    scale, marker = (100, "o") if key == "val/top1" else (1, "")
    runs = {run: [(step, scale * value) for step, value in figures["runs"][run][key]] for run in figures["runs"]}
    axes.plot(*zip(*runs["undisturbed"], strict=True), color=theme.usual, linewidth=7, alpha=0.7, label="undisturbed")
    axes.plot(
        *zip(*runs["killed"], strict=True), color=theme.blue, linewidth=1.6, marker=marker, label="killed and resumed"
    )
    for number, kill in enumerate(figures["kills"]):
        labels = ("SIGKILL", "steps done again") if number == 0 else (None, None)
        axes.axvline(kill["step"], color=theme.orange, linewidth=1.6, label=labels[0])
        axes.axvspan(kill["from_step"], kill["step"], color=theme.orange, alpha=0.2, linewidth=0, label=labels[1])
    axes.set_xlim(-0.02 * figures["steps"], 1.03 * figures["steps"])
    axes.set_xlabel("global step", color=theme.quiet)
    plain_edges(axes, theme)
    axes.grid(axis="y", color=theme.edge, linewidth=0.8)
    axes.set_axisbelow(True)


def _mark_kills(axes: Axes, kills: list[dict[str, Any]], theme: Theme) -> None:
    """What was killed, above the curves."""
    highest = max(axes.get_ylim())
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= highest])
    axes.set_ylim(top=1.3 * highest)
    axes.set_xlim(right=1.1 * max(axes.get_xlim()))
    for kill in kills:
        text = f"{kill['what']}\nkilled after {kill['step']},\nresumed from {kill['from_step']}"
        axes.text(kill["step"] + 5, 1.29 * highest, text, color=theme.orange, va="top", linespacing=1.35, size=11)

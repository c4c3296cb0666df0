"""Several networks learning the same: loss and validation score by epochs."""

from typing import Any

from matplotlib.figure import Figure

from docs.pictures.axes import add_caption, add_title, plain_edges, source_of
from docs.pictures.theme import WIDTH, Theme


def draw(figures: dict[str, Any], theme: Theme) -> Figure:
    """Training loss and validation score of several networks by epochs, each named at the end of its curve."""
    figure = Figure(figsize=(WIDTH / 72, 390 / 72))
    left = figure.add_axes((0.05, 0.27, 0.36, 0.64))
    right = figure.add_axes((0.49, 0.27, 0.36, 0.64))
    runs = figures["runs"]
    colours = (theme.blue, theme.orange, theme.green, theme.purple)[: len(runs)]
    for run, colour in zip(runs, colours, strict=True):
        left.plot(*zip(*run["train/loss"], strict=True), color=colour, linewidth=1.6)
        right.plot(
            *zip(*((epoch, 100 * score) for epoch, score in run["val/top1"]), strict=True), color=colour, marker="o"
        )
    lowest, highest = right.get_ylim()
    ends = _apart([100 * run["val/top1"][-1][1] for run in runs], 0.13 * (highest - lowest))
    for run, colour, end in zip(runs, colours, ends, strict=True):
        label = f"{run['name']}\n{100 * run['val/top1'][-1][1]:.1f}%"
        epoch = 1.04 * max(right.get_xlim())
        right.text(epoch, end, label, color=colour, va="center", linespacing=1.3, size=11, clip_on=False)
    for axes, title in ((left, "training loss"), (right, "validation top-1, %")):
        add_title(axes, title, theme)
        plain_edges(axes, theme)
        axes.set_xlabel("epoch", color=theme.quiet)
        axes.set_xticks(range(int(max(axes.get_xlim())) + 1))
        axes.grid(axis="y", color=theme.edge, linewidth=0.8)
        axes.set_axisbelow(True)
    remark = figures["remark"]
    add_caption(figure, remark, [source_of(figures)], theme)
    return figure


def _apart(places: list[float], gap: float) -> list[float]:
    """Heights of labels, each at least `gap` from the next: those above are moved up."""
    moved = dict[int, float]()
    for number in sorted(range(len(places)), key=places.__getitem__):
        moved[number] = max(places[number], max(moved.values(), default=float("-inf")) + gap)
    return [moved[number] for number in range(len(places))]

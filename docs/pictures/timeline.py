"""From the command to the first step: a line for each process, darker where it computes, and marks of what happens."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from docs.pictures.axes import add_caption, add_title, source_of
from docs.pictures.theme import WIDTH, Theme

ROW = 15  # pixels of a process
FULL = 0.9  # how dark a whole core is


def draw(figures: dict[str, Any], theme: Theme) -> Figure:
    """One panel for each way to start, on the same seconds."""
    panels = figures["panels"]
    rows = [len(panel["processes"]) + len(panel["marks"]) for panel in panels]
    height = ROW * sum(rows) + 45 * len(panels) + 50
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    seconds = max(panel["seconds"] for panel in panels)
    top = height - 25.0
    for panel, count in zip(panels, rows, strict=True):
        bottom = top - ROW * count
        axes = figure.add_axes((0.27, bottom / height, 0.71, ROW * count / height))
        _panel(axes, panel, seconds, theme)
        top = bottom - 45
    add_caption(figure, figures["remark"], [source_of(figures)], theme)
    return figure


def _panel(axes: Axes, panel: dict[str, Any], seconds: float, theme: Theme) -> None:
    add_title(axes, panel["title"], theme)
    processes, count = panel["processes"], len(panel["processes"])
    for place, process in enumerate(processes):
        axes.text(-0.01 * seconds, place, process["name"], color=theme.text, ha="right", va="center", size=10)
        axes.barh(place, process["ended_s"] - process["began_s"], left=process["began_s"], height=0.7, color=theme.edge)
        colour = theme.orange if process["name"].startswith("Ray") else theme.blue
        for start, width, share in process["busy"]:
            axes.barh(place, width, left=start, height=0.7, color=colour, alpha=FULL * min(share, 1.0), linewidth=0)
    for number, mark in enumerate(panel["marks"]):
        axes.axvline(mark["at_s"], color=theme.quiet, linewidth=0.7, ymax=1 - 0.2 / (count + len(panel["marks"])))
        place = count + 0.1 + number * 0.9
        right = mark["at_s"] > 0.8 * seconds
        axes.text(
            mark["at_s"] + (-1 if right else 1) * 0.004 * seconds, place, mark["what"],
            color=theme.quiet, size=9, va="center", ha="right" if right else "left",
        )  # fmt: skip
    axes.set_ylim(count + len(panel["marks"]) - 0.2, -0.7)
    axes.set_xlim(0, seconds)
    axes.set_yticks([])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.edge)
    axes.tick_params(colors=theme.quiet, length=0, labelsize=10)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} s")

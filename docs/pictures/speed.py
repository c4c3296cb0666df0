"""Speed beside what is usual, as pairs of bars."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from docs.pictures.axes import add_caption, source_of
from docs.pictures.theme import WIDTH, Theme


def draw(figures: dict[str, Any], theme: Theme) -> Figure:
    """Pairs of bars, each pair with its own unit: ours above what is usual."""
    groups = figures["groups"]
    figure = Figure(figsize=(WIDTH / 72, 510 / 72))
    axes = figure.add_axes((0.245, 0.19, 0.585, 0.8))
    axes.text(1.275, 0.0, "platform / usual", color=theme.quiet, ha="right", va="center", size=11)
    place = 0.0
    for group in groups:
        axes.text(-0.4, place, group["title"], color=theme.text, weight="bold", va="center", size=13)
        place += 0.95
        for row in group["rows"]:
            _pair(axes, place, row, theme)
            place += 1.2
        place += 0.15
    axes.set_ylim(place - 0.75, -0.4)
    axes.set_xlim(0, 1)
    axes.axis("off")
    sources = [f"{group['name']}: {source_of(group)}" for group in groups]
    add_caption(figure, f"{figures['hardware']}. {figures['remark']}", sources, theme)
    return figure


def _pair(axes: Axes, place: float, row: dict[str, Any], theme: Theme) -> None:
    longest = max(row["ours"], row["usual"])
    axes.text(-0.03, place - 0.16, row["title"], color=theme.text, ha="right", va="center")
    axes.text(-0.03, place + 0.22, row["unit"], color=theme.quiet, ha="right", va="center", size=11)
    for shift, key, colour in ((-0.2, "ours", theme.blue), (0.2, "usual", theme.usual)):
        share = 0.72 * row[key] / longest
        axes.barh(place + shift, share, height=0.36, color=colour)
        value = f"{row[key]:,}" + (f" {row['usual_name']}" if key == "usual" else " this platform")
        axes.text(share + 0.012, place + shift, value, color=theme.text, va="center_baseline", size=11)
    axes.text(1.275, place, row["ratio"], color=theme.text, weight="bold", ha="right", va="center", size=15)

"""What the pictures share: titles, plain edges, legends, and captions that say where figures are from."""

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from docs.pictures.theme import LINE, Theme


def add_title(axes: Axes, text: str, theme: Theme, pad: int = 8) -> None:
    """Above the axes, on the left; `pad` pixels above them."""
    axes.set_title(text, color=theme.text, loc="left", size=13, weight="bold", pad=pad)


def plain_edges(axes: Axes, theme: Theme) -> None:
    """Only the bottom line and quiet labels."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.edge)
    axes.tick_params(colors=theme.quiet, length=0)


def add_legend(figure: Figure, axes: Axes, theme: Theme) -> None:
    """At the top of the picture, in one row."""
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="upper left", ncols=len(labels), frameon=False, labelcolor=theme.text)
    legend.set_bbox_to_anchor((0, 1))


def add_caption(figure: Figure, remark: str, sources: list[str], theme: Theme) -> None:
    """At the bottom: what the picture shows, then where it comes from."""
    wrapped = [line for each in sources for line in textwrap.wrap(each, LINE, break_on_hyphens=False)]
    lines = [(line, theme.quiet) for line in reversed(wrapped)] + [(remark, theme.text)]
    for number, (line, colour) in enumerate(lines):
        figure.text(0.01, (8 + 17 * number) / (72 * figure.get_figheight()), line, color=colour, size=11, va="bottom")


def source_of(figures: dict[str, Any]) -> str:
    """What made the figures: command, hardware, date, commit."""
    parts = [figures[key] for key in ("command", "hardware", "date") if key in figures]
    return f"{'; '.join(parts)}, commit {figures['commit']}"

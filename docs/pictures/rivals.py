"""Loaders beside each other as bars: images a CPU-second, and what a kill does to an epoch's samples."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from docs.pictures.axes import add_caption, add_title, source_of
from docs.pictures.theme import WIDTH, Theme

KINDS = {"missed": "orange", "repeated": "purple", "re-batched": "usual"}  # of samples, and their colours


def draw(figures: dict[str, Any], theme: Theme) -> Figure:
    """Rows as they stand in the figures; one without figures says that it was not measured."""
    rows = figures["rows"]
    figure = Figure(figsize=(WIDTH / 72, (120 + 36 * len(rows)) / 72))
    left = figure.add_axes((0.25, 0.13, 0.27, 0.78))
    right = figure.add_axes((0.57, 0.13, 0.42, 0.78))
    _speeds(left, rows, theme)
    _kills(right, rows, figures["samples"], theme)
    sources = [f"{group['name']}: {source_of(group)}" for group in figures["groups"]]
    add_caption(figure, figures["remark"], sources, theme)
    return figure


def _speeds(axes: Axes, rows: list[dict[str, Any]], theme: Theme) -> None:
    _begin(axes, rows, "images a CPU-second", theme)
    longest = max(row.get("images_per_cpu_s", 0) for row in rows)
    for place, row in enumerate(rows):
        value = row.get("images_per_cpu_s", 0)
        share = 0.8 * value / longest
        axes.text(-0.04, place, row["title"], color=theme.text, ha="right", va="center", size=11)
        axes.barh(place, share, height=0.6, color=theme.blue if row.get("ours") else theme.usual)
        said = f"{value:,}" if value else "not measured"
        axes.text(share + 0.02, place, said, color=theme.text, va="center", size=11)


def _kills(axes: Axes, rows: list[dict[str, Any]], samples: int, theme: Theme) -> None:
    """Two bars for each loader: resumed by as many ranks, and by another number."""
    _begin(axes, rows, f"killed and resumed: of {samples} samples", theme)
    for place, (kind, colour) in enumerate(KINDS.items()):
        axes.text(0.24 * place, -0.8, kind, color=getattr(theme, colour), size=11, va="center")
    for place, row in enumerate(rows):
        for shift, ranks in ((-0.19, "2 to 2"), (0.19, "2 to 3")):
            _counts(axes, place + shift, ranks, row.get(ranks), samples, theme)


def _counts(axes: Axes, place: float, ranks: str, counts: list[int] | None, samples: int, theme: Theme) -> None:
    axes.text(0, place, f"{ranks} ranks", color=theme.quiet, va="center", size=10)
    begin = 0.2
    for count, colour in zip(counts or [], KINDS.values(), strict=False):
        share = 0.4 * count / samples
        axes.barh(place, share, left=begin, height=0.28, color=getattr(theme, colour))
        begin += share
    said = "not measured" if counts is None else " + ".join(f"{count:,}" for count in counts if count) or "exact"
    colour = theme.green if counts is not None and not any(counts) else theme.text
    axes.text(begin + 0.02, place, said, color=colour, va="center", size=10)


def _begin(axes: Axes, rows: list[dict[str, Any]], title: str, theme: Theme) -> None:
    axes.set_ylim(len(rows) - 0.4, -1.2)
    axes.set_xlim(0, 1)
    axes.axis("off")
    add_title(axes, title, theme)

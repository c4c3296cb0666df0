"""The table of models and crops: ours on the digits, the paper's on ImageNet."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from docs.pictures.axes import add_caption, add_legend, add_title, plain_edges, source_of
from docs.pictures.theme import WIDTH, Theme


def draw(figures: dict[str, Any], theme: Theme) -> Figure:
    """Errors by models and crops: ours on the digits, the paper's on ImageNet."""
    figure = Figure(figsize=(WIDTH / 72, 330 / 72))
    left = figure.add_axes((0.02, 0.25, 0.46, 0.56))
    right = figure.add_axes((0.53, 0.25, 0.46, 0.56))
    _bars(left, figures["rows"], "top1_error", theme)
    _bars(right, figures["rows"], "paper_top5_error", theme)
    add_title(left, f"this platform: top-1 error, %, {figures['images']} digits", theme)
    add_title(right, "the paper: top-5 error, %, ImageNet", theme)
    add_legend(figure, left, theme)
    remark = "Seven models beat one in both. More crops help on ImageNet; a corner of a digit is not a digit."
    add_caption(figure, remark, [source_of(figures)], theme)
    return figure


def _bars(axes: Axes, rows: list[dict[str, Any]], key: str, theme: Theme) -> None:
    crops = sorted({row["crops"] for row in rows})
    for models, shift, colour in ((1, -0.21, theme.usual), (7, 0.21, theme.blue)):
        errors = [next(row[key] for row in rows if (row["models"], row["crops"]) == (models, each)) for each in crops]
        places = [number + shift for number in range(len(crops))]
        label = "one model (mean of the seven)" if models == 1 else "ensemble of seven"
        bars = axes.bar(places, errors, width=0.38, color=colour, label=label)
        axes.bar_label(bars, fmt="%.2f", padding=3, color=theme.text)
    axes.set_xticks(range(len(crops)), [f"{each} crop{'s' * (each > 1)}" for each in crops])
    axes.set_ylim(0, 1.12 * max(row[key] for row in rows))
    plain_edges(axes, theme)
    axes.set_yticks([])

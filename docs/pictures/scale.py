"""Cost against size, from `bench.parts=[scale]`: a field for each row of it, both axes by powers of ten."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from docs.pictures.axes import add_caption, add_title, plain_edges
from docs.pictures.theme import WIDTH, Theme

COLUMNS, TOP_PX, FIELD_PX = 3, 34, 236  # FIELD_PX: the height of a field with its words
# group -> figures of `bench.json` without `scale.` and the size, and what they are
SHOWN: dict[str, dict[str, str]] = {
    "index": {
        "index.read_cpu_s": "launcher reads it: CPU s",
        "index.worker_cpu_ms": "a worker has it: CPU ms",
        "index.first_batch_requests": "first batch: requests",
    },
    "launcher": {
        "launcher.cpu_share": "a second: CPU s",
    },
    "a week": {
        "launcher.message_us": "a message: CPU µs",
        "launcher.week_mb": "the launcher: MB",
    },
    "copies": {
        "copies.requests_each": "a copy: requests",
        "copies.waiting": "copies that wait",
    },
    "trials": {
        "trials.trial_cpu_ms": "a trial: CPU ms",
        "trials.resume_cpu_s": "to resume: CPU s",
        "trials.report_cpu_s": "to report, once: CPU s",
    },
    "probabilities": {
        "probabilities.all.image_cpu_ms": "an image: CPU ms",
        "probabilities.all.peak_mb": "memory: MB",
        "probabilities.all.again_cpu_ms": "kept scores: CPU ms",
    },
}


def draw(figures: dict[str, Any], theme: Theme) -> Figure:
    """A field for each group: its lines, each named with the power of the size that it grows by."""
    groups = figures["groups"]
    rows = -(-len(groups) // COLUMNS)
    caption = 8 + 17 * 4
    height = TOP_PX + rows * FIELD_PX + caption
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    figure.text(0.01, 1 - 22 / height, "Cost against size", color=theme.text, size=14, weight="bold")
    figure.text(0.25, 1 - 22 / height, "n⁰: constant, n¹: in proportion (dotted)", color=theme.quiet, size=12)
    for number, group in enumerate(groups):
        row, column = divmod(number, COLUMNS)
        bottom = 1 - (TOP_PX + (row + 1) * FIELD_PX - 28) / height
        axes = figure.add_axes((0.015 + column / COLUMNS, bottom, 0.3, 114 / height))
        _field(axes, group, theme)
    commits = "; ".join(f"{group['name']} {group['date']}, commit {group['commit']}" for group in groups)
    add_caption(figure, figures["remark"], [f"{figures['command']}; {figures['hardware']}; {commits}"], theme)
    return figure


def _field(axes: Axes, group: dict[str, Any], theme: Theme) -> None:
    shown, kept = SHOWN[group["name"]], group["figures"]
    sizes = list(costs_of(kept, next(iter(shown))))
    add_title(axes, f"{group['name']}, by {group['per']}", theme, pad=62)
    for place, (row, said) in enumerate(shown.items()):
        colour = (theme.blue, theme.orange, theme.green)[place]
        costs = costs_of(kept, row)
        least = min(value for value in costs.values() if value > 0)
        axes.plot(
            list(costs), [max(value, least) / _first(costs) for value in costs.values()], color=colour, marker="o"
        )
        text = f"{said}  {_short(_first(costs))} to {_short(list(costs.values())[-1])}, n{_power(kept, row)}"
        axes.text(0, 1.41 - 0.145 * place, text, color=colour, size=11, transform=axes.transAxes)
    axes.plot([sizes[0], sizes[-1]], [1, sizes[-1] / sizes[0]], color=theme.usual, linestyle=":", linewidth=1.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.3, 2.2 * sizes[-1] / sizes[0])
    axes.minorticks_off()
    axes.set_xticks(sizes, [_size(size) for size in sizes])
    axes.set_yticks([])
    plain_edges(axes, theme)


def costs_of(figures: dict[str, float], row: str) -> dict[int, float]:
    """Size -> cost, from the names of `bench.json`, rising."""
    found = {name.removeprefix(f"scale.{row}."): value for name, value in figures.items() if f"scale.{row}." in name}
    return {int(size): found[size] for size in sorted(found.keys() - {"growth"}, key=int)}


def _first(costs: dict[int, float]) -> float:
    return next(iter(costs.values()))


def _power(figures: dict[str, float], row: str) -> str:
    """As raised digits, of one decimal; none below a tenth."""
    growth = figures[f"scale.{row}.growth"]
    rounded = 0.0 if abs(growth) < 0.05 else round(growth, 1)
    return f"{rounded:g}".translate(str.maketrans("0123456789.-", "⁰¹²³⁴⁵⁶⁷⁸⁹·⁻"))


def _short(value: float) -> str:
    """Two digits that say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _size(size: int) -> str:
    for unit, many in (("M", 1_000_000), ("k", 1000)):
        if size >= many:
            return f"{size / many:.3g}{unit}"
    return str(size)

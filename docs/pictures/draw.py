"""The pictures of the README and the pages, each in a light and a dark variant: `python -m docs.pictures.draw`.

In: learning.json, resume.json, speed.json and table.json beside this file, which say where their figures come from,
road-light.svg, which is drawn by hand, and GoogLeNet itself. Out: NAME-light.svg and NAME-dark.svg, the same bytes
each time.
"""

import json
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from platform.config.models import GoogLeNetConfig
from platform.summary.network import network_of
from platform.summary.picture.draw import picture_of

HERE = Path(__file__).parent
WIDTH = 800  # of every picture, in pixels
LINE = 125  # letters in a line of a caption
FONTS = "-apple-system, BlinkMacSystemFont, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"

STYLE: dict[Any, Any] = {  # of matplotlib
    "svg.hashsalt": "pictures",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "axes.unicode_minus": False,
}


@dataclass(frozen=True)
class Theme:
    """Colours on a transparent background, as the road has them."""

    name: str
    text: str
    quiet: str
    edge: str
    usual: str  # of what is compared with
    blue: str
    orange: str
    green: str
    purple: str


LIGHT = Theme("light", "#1f2328", "#59636e", "#d1d9e0", "#a5afba", "#0969da", "#bc4c00", "#1a7f37", "#8250df")
DARK = Theme("dark", "#f0f6fc", "#9198a1", "#3d444d", "#6e7681", "#4493f8", "#f0883e", "#3fb950", "#a371f7")
ROAD_IN_THE_DARK = {
    "#1f2328": "#f0f6fc",  # text
    "#59636e": "#9198a1",  # quiet text, arrows
    "#fdfdfe": "#161b22",  # cards
    "#f6f8fa": "#10151c",  # the panel of the lanes
    "#e4e9ee": "#2a313c",  # what is still to do
    "#d1d9e0": "#3d444d",  # edges
    "#0550ae": "#58a6ff",  # blue lines and code
    "#0969da": "#1f6feb",
    "#8250df": "#8957e5",
    "#1a7f37": "#238636",
    "#bc4c00": "#db6d28",
    "#ffffff": "#ffffff",  # text on colours
}


def draw_all(folder: Path) -> list[Path]:
    """Every picture in both variants; returns their paths."""
    drawn = []
    with matplotlib.rc_context(STYLE):
        for name, draw in PICTURES.items():
            figures = json.loads((HERE / f"{name}.json").read_text())
            drawn += [_save(draw(figures, theme), folder / f"{name}-{theme.name}.svg") for theme in (LIGHT, DARK)]
    road = (HERE / "road-light.svg").read_text()
    for name, text in (("light", road), ("dark", road_in_the_dark(road))):
        path = folder / f"road-{name}.svg"
        path.write_text(text)
        drawn.append(path)
    return drawn + googlenet(folder)


def googlenet(folder: Path) -> list[Path]:
    """The network of the paper, as `job=summary data=imagenet` draws it."""
    picture = picture_of(network_of(GoogLeNetConfig(), classes=1000, image_size=224))
    paths = {theme: folder / f"googlenet-{theme}.svg" for theme in ("light", "dark")}
    for theme, path in paths.items():
        path.write_text(picture.file_in(theme))
    return list(paths.values())


def road_in_the_dark(light: str) -> str:
    """The same picture in other colours; raises KeyError for a colour that has no other."""
    return re.sub(r"#[0-9a-f]{6}\b", lambda colour: ROAD_IN_THE_DARK[colour[0]], light)


def resume(figures: dict[str, Any], theme: Theme) -> Figure:
    """Loss and validation score of a run that was killed twice, over those of one that was not."""
    figure = Figure(figsize=(WIDTH / 72, 360 / 72))
    left = figure.add_axes((0.045, 0.31, 0.535, 0.54))
    right = figure.add_axes((0.645, 0.31, 0.345, 0.54))
    _two_runs(left, figures, "train/loss", theme)
    _two_runs(right, figures, "val/top1", theme)
    _title(left, "training loss", theme)
    _title(right, "validation top-1, %", theme)
    _mark_kills(left, figures["kills"], theme)
    _legend(figure, left, theme)
    weights = figures["weights"]
    verdict = (
        f"{weights['equal']} of {weights['tensors']} tensors of the final weights are equal bit by bit; "
        f"so are the samples of all {figures['steps']} steps."
    )
    _caption(figure, verdict, [_source(figures)], theme)
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
    _plain(axes, theme)
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


def speed(figures: dict[str, Any], theme: Theme) -> Figure:
    """Pairs of bars, each pair with its own unit: ours above what is usual."""
    groups = figures["groups"]
    figure = Figure(figsize=(WIDTH / 72, 490 / 72))
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
    sources = [f"{group['name']}: {_source(group)}" for group in groups]
    _caption(figure, f"{figures['hardware']}. {figures['remark']}", sources, theme)
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


def table(figures: dict[str, Any], theme: Theme) -> Figure:
    """Errors by models and crops: ours on the digits, the paper's on ImageNet."""
    figure = Figure(figsize=(WIDTH / 72, 330 / 72))
    left = figure.add_axes((0.02, 0.25, 0.46, 0.56))
    right = figure.add_axes((0.53, 0.25, 0.46, 0.56))
    _bars(left, figures["rows"], "top1_error", theme)
    _bars(right, figures["rows"], "paper_top5_error", theme)
    _title(left, f"this platform: top-1 error, %, {figures['images']} digits", theme)
    _title(right, "the paper: top-5 error, %, ImageNet", theme)
    _legend(figure, left, theme)
    remark = "Seven models beat one in both. More crops help on ImageNet; a corner of a digit is not a digit."
    _caption(figure, remark, [_source(figures)], theme)
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
    _plain(axes, theme)
    axes.set_yticks([])


def learning(figures: dict[str, Any], theme: Theme) -> Figure:
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
        _title(axes, title, theme)
        _plain(axes, theme)
        axes.set_xlabel("epoch", color=theme.quiet)
        axes.set_xticks(range(int(max(axes.get_xlim())) + 1))
        axes.grid(axis="y", color=theme.edge, linewidth=0.8)
        axes.set_axisbelow(True)
    remark = figures["remark"]
    _caption(figure, remark, [_source(figures)], theme)
    return figure


def _apart(places: list[float], gap: float) -> list[float]:
    """Heights of labels, each at least `gap` from the next: those above are moved up."""
    moved = dict[int, float]()
    for number in sorted(range(len(places)), key=places.__getitem__):
        moved[number] = max(places[number], max(moved.values(), default=float("-inf")) + gap)
    return [moved[number] for number in range(len(places))]


def _title(axes: Axes, text: str, theme: Theme) -> None:
    axes.set_title(text, color=theme.text, loc="left", size=13, weight="bold", pad=8)


def _plain(axes: Axes, theme: Theme) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.edge)
    axes.tick_params(colors=theme.quiet, length=0)


def _legend(figure: Figure, axes: Axes, theme: Theme) -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="upper left", ncols=len(labels), frameon=False, labelcolor=theme.text)
    legend.set_bbox_to_anchor((0, 1))


def _caption(figure: Figure, remark: str, sources: list[str], theme: Theme) -> None:
    """At the bottom: what the picture shows, then where it comes from."""
    wrapped = [line for source in sources for line in textwrap.wrap(source, LINE, break_on_hyphens=False)]
    lines = [(line, theme.quiet) for line in reversed(wrapped)] + [(remark, theme.text)]
    for number, (line, colour) in enumerate(lines):
        figure.text(0.01, (8 + 17 * number) / (72 * figure.get_figheight()), line, color=colour, size=11, va="bottom")


def _source(figures: dict[str, Any]) -> str:
    parts = [figures[key] for key in ("command", "hardware", "date") if key in figures]
    return f"{'; '.join(parts)}, commit {figures['commit']}"


PICTURES: dict[str, Callable[[dict[str, Any], Theme], Figure]] = {
    "learning": learning,
    "resume": resume,
    "speed": speed,
    "table": table,
}


def _save(figure: Figure, path: Path) -> Path:
    """As SVG whose text stays text, in the reader's own font: measured in DejaVu Sans, which is wider than most."""
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    text = path.read_text()
    text = re.sub(r"'DejaVu Sans'[^;\"]*", FONTS, text)
    text = re.sub(r'width="([\d.]+)pt" height="([\d.]+)pt"', r'width="\1" height="\2"', text, count=1)
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")
    return path


if __name__ == "__main__":
    print("\n".join(str(path) for path in draw_all(HERE)))

"""Learning curves of all members: validation top-1 and training loss by epoch, named at the ends of the lines.

In: evaluation points. Out: two pictures.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from platform.drawing.drawing import WIDTH, Drawing, shortened_name
from platform.report.colours import Line, Lines
from platform.report.scales import Scale, linear, logarithmic, spread, thinned, toward_one
from platform.report.section import Absent, Picture, Section
from platform.training.learning_curve import EvaluationPoint

Curves = Mapping[str, Sequence[EvaluationPoint]]
Points = list[tuple[float, float]]
TITLE = "Learning curves"
LEFT, RIGHT, TOP, BOTTOM = 44.0, 146.0, 28.0, 36.0  # margins
LINE = 12.5  # between labels
NAME = 15  # characters of a member's name at its line
MANY = 5000  # validation images from which a hundredth of a percent means something
STRETCH_FROM = 0.9  # top-1 from which the scale is stretched toward 100%


def section(curves: Curves, lines: Lines, val_samples: int) -> Section:
    """The section of the learning curves.

    Args:
        curves: member -> its evaluation points.
        lines: how members are drawn.
        val_samples: images in the validation split.

    Raises:
        Absent: no member has been evaluated while it was trained.
    """
    top1 = _points(curves, lambda point: point.top1)
    losses = _points(curves, lambda point: point.train_loss)
    if not any(top1.values()):
        raise Absent("no evaluation during training was recorded")
    pictures = [Picture("curves-top1", _top1(top1, lines, val_samples))]
    notes = [
        "The validation images are seen once, in one view, with the averaged weights. A line's name is at its end, "
        "with its last value; the order there is that of the lines."
    ]
    if any(losses.values()):
        pictures.append(Picture("curves-loss", _loss(losses, lines)))
        notes.append("The training loss is the mean over the steps between two evaluations.")
    else:
        notes.append("Left out: the training loss, which was not kept with the evaluations.")
    if missing := [name for name, points in top1.items() if not points]:
        notes.append(f"Without a curve: {', '.join(missing)}.")
    return Section("curves", TITLE, notes, pictures=pictures)


def _points(curves: Curves, value: Callable[[EvaluationPoint], float | None]) -> dict[str, Points]:
    """What is known and finite, as (epoch, value)."""
    found: dict[str, Points] = {}
    for name, points in curves.items():
        values = [(point.epoch, value(point)) for point in points]
        found[name] = [(epoch, known) for epoch, known in values if known is not None and math.isfinite(known)]
    return found


def _top1(curves: Mapping[str, Points], lines: Lines, val_samples: int) -> Drawing:
    drawing, bottom = _frame(curves, "validation top-1, %")
    shares = [value for points in curves.values() for _, value in points]
    stretched = max(shares) >= STRETCH_FROM
    scale = toward_one(shares, bottom, TOP, val_samples) if stretched else linear(shares, bottom, TOP)
    if stretched:
        drawing.text(WIDTH - RIGHT, TOP - 12, "scale stretched toward 100%", "quiet small", "end")
    decimals = 2 if val_samples >= MANY else 1
    _draw(
        drawing,
        curves,
        lines,
        scale,
        bottom,
        lambda share: f"{100 * share:.4g}",
        lambda share: f"{100 * share:.{decimals}f}",
    )
    return drawing


def _loss(curves: Mapping[str, Points], lines: Lines) -> Drawing:
    drawing, bottom = _frame(curves, "training loss")
    drawing.text(WIDTH - RIGHT, TOP - 12, "logarithmic scale", "quiet small", "end")
    scale = logarithmic([value for points in curves.values() for _, value in points], bottom, TOP)
    _draw(drawing, curves, lines, scale, bottom, lambda loss: f"{loss:.4g}", lambda loss: f"{loss:#.2g}".rstrip("."))
    return drawing


def _frame(curves: Mapping[str, Points], title: str) -> tuple[Drawing, float]:
    """An empty drawing with room for every label, and the place of its x axis."""
    height = max(300.0, TOP + BOTTOM + LINE * len(curves))
    drawing = Drawing(height, f"{title} of {len(curves)} member(s) by epoch")
    drawing.text(4, TOP - 12, title, "strong")
    return drawing, height - BOTTOM


def _draw(
    drawing: Drawing,
    curves: Mapping[str, Points],
    lines: Lines,
    scale: Scale,
    bottom: float,
    tick: Callable[[float], str],
    last: Callable[[float], str],
) -> None:
    """Axes, lines, and the labels at their ends."""
    all_epochs = [epoch for points in curves.values() for epoch, _ in points]
    epochs = linear(all_epochs, LEFT, WIDTH - RIGHT, zero=True, tight=True)
    for value in scale.ticks:
        drawing.line(LEFT, scale(value), WIDTH - RIGHT, scale(value), "grid")
        drawing.text(LEFT - 6, scale(value) + 4, tick(value), "quiet small", "end")
    for epoch in epochs.ticks:
        drawing.text(epochs(epoch), bottom + 15, f"{epoch:g}", "quiet small", "middle")
    drawing.line(LEFT, bottom, WIDTH - RIGHT, bottom)
    drawing.text((LEFT + WIDTH - RIGHT) / 2, bottom + 30, "epoch", "quiet small", "middle")
    ends: list[tuple[Line, str, float, float]] = []
    for name, points in curves.items():
        places = [(epochs(epoch), scale(value)) for epoch, value in thinned(points)]
        if len(places) == 1:
            drawing.dot(*places[0], 3, lines[name].colour)
        elif places:
            drawing.path(places, lines[name].colour, dash=lines[name].dash)
        if places:
            ends.append((lines[name], f"{last(points[-1][1])} {shortened_name(name, NAME)}", *places[-1]))
    _name_ends(drawing, ends, bottom)


def _name_ends(drawing: Drawing, ends: list[tuple[Line, str, float, float]], bottom: float) -> None:
    """Labels to the right, each joined to the end of its line."""
    right = WIDTH - RIGHT
    labels = spread([y for _, _, _, y in ends], LINE, TOP, bottom)
    for (line, text, x, y), label in zip(ends, labels, strict=True):
        drawing.path([(x, y), (right + 4, y), (right + 13, label)], line.colour, 0.7)
        drawing.text(right + 16, label + 4, text, "small", colour=line.colour)

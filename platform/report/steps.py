"""What a training step's time goes into, as far as it is measured: waiting for data, and all the rest.

In: learning curves and batch sizes. Out: a picture and a table.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from platform.report.drawing import WIDTH, Drawing, shortened
from platform.report.scales import linear
from platform.report.section import Absent, Picture, Section, Table
from platform.training.learning_curve import EvaluationPoint

TITLE = "Time of a step"
LEFT, RIGHT, TOP, LINE = 118.0, 70.0, 34.0, 20.0
NAME = 17


@dataclass(frozen=True)
class StepTime:
    """The median step of a member, in milliseconds. `waiting_ms` is None where waiting was not measured."""

    name: str
    images_per_s: float
    ms: float
    waiting_ms: float | None


def section(curves: Mapping[str, Sequence[EvaluationPoint]], batch_sizes: Mapping[str, int]) -> Section:
    """The section of the steps' time.

    Args:
        curves: member -> its evaluation points.
        batch_sizes: member -> images in a global batch.

    Raises:
        Absent: no speed was measured.
    """
    times = [found for name, points in curves.items() if (found := _time(name, points, batch_sizes[name]))]
    if not times:
        raise Absent("no speed of training was measured")
    notes = [
        "The median over the evaluations of a member, which are not counted themselves. Waiting is what the workers "
        "spent until the next batch was decoded. The rest is the copy to the device, forward, backward, the exchange "
        "of gradients and the optimiser together: they are not measured one by one."
    ]
    if any(each.waiting_ms is None for each in times):
        notes.append("Left out: the waiting of members whose curves do not have it.")
    rows = [[each.name, f"{each.images_per_s:,.0f}", f"{each.ms:,.1f}", *_parts(each)] for each in times]
    table = Table(["member", "images/s", "ms a step", "waiting for data", "computing"], rows)
    return Section("steps", TITLE, notes, [table], [Picture("steps", _draw(times))])


def _parts(each: StepTime) -> list[str]:
    if each.waiting_ms is None:
        return ["", ""]
    return [f"{each.waiting_ms:,.1f} ms ({each.waiting_ms / each.ms:.0%})", f"{each.ms - each.waiting_ms:,.1f} ms"]


def _time(name: str, points: Sequence[EvaluationPoint], batch_size: int) -> StepTime | None:
    speeds = [point.images_per_s for point in points if point.images_per_s > 0]
    if not speeds:
        return None
    waits = [point.wait_share for point in points if point.wait_share is not None]
    ms = 1000 * batch_size / statistics.median(speeds)
    share = min(max(statistics.median(waits), 0.0), 1.0) if waits else None
    return StepTime(name, statistics.median(speeds), ms, None if share is None else ms * share)


def _draw(times: list[StepTime]) -> Drawing:
    bottom = TOP + LINE * len(times)
    drawing = Drawing(bottom + 34, f"time of a training step of {len(times)} member(s)")
    scale = linear([each.ms for each in times], LEFT, WIDTH - RIGHT, zero=True)
    x = LEFT
    for text, colour in (("waiting for data", "var(--lost)"), ("computing", "var(--training)")):
        drawing.rect(x, 8, 10, 10, colour)
        drawing.text(x + 14, 17, text, "quiet small")
        x += 120
    for tick in scale.ticks:
        drawing.line(scale(tick), TOP - 6, scale(tick), bottom, "grid")
        drawing.text(scale(tick), bottom + 14, f"{tick:g}", "quiet small", "middle")
    drawing.text((LEFT + WIDTH - RIGHT) / 2, bottom + 29, "milliseconds", "quiet small", "middle")
    for number, each in enumerate(times):
        y, waiting = TOP + LINE * number, each.waiting_ms or 0.0
        drawing.text(LEFT - 8, y + 12, shortened(each.name, NAME), "small", "end")
        drawing.rect(LEFT, y + 2, scale(waiting) - LEFT, LINE - 6, "var(--lost)")
        drawing.rect(scale(waiting), y + 2, scale(each.ms) - scale(waiting), LINE - 6, "var(--training)")
        drawing.text(scale(each.ms) + 5, y + 12, f"{each.ms:,.1f}", "quiet small")
    return drawing

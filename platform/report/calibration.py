"""Reliability diagrams: whether probabilities mean what they say, of the ensemble and each member.

In: the probability of the predicted class, and whether it is right. Out: a diagram with counts, and one of all members.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from platform.drawing.drawing import WIDTH, Drawing, shortened_name
from platform.evaluation.statistics.calibration import Bin, ece, reliability
from platform.report.colours import ENSEMBLE, Lines
from platform.report.section import Absent, Picture, Section

TITLE = "Reliability of the probabilities"
BINS = 10  # in the pictures; the ECE has more, as in the table
LEFT, TOP, SIDE = 44.0, 34.0, 300.0
COUNTS = 64.0  # height of the bars of counts
COLUMNS, SMALL = 3, 118.0  # of the members' diagrams
MARGIN = 40.0


@dataclass(frozen=True)
class Confidence:
    """What one classifier said of the images."""

    name: str
    confidence_N: NDArray[np.floating]  # the probability of the predicted class
    right_N: NDArray[np.bool_]

    @property
    def ece(self) -> float:
        return ece(self.confidence_N, self.right_N)

    @property
    def bins(self) -> list[Bin]:
        return reliability(self.confidence_N, self.right_N, BINS)


def section(ensemble: Confidence, members: Sequence[Confidence], lines: Lines) -> Section:
    """The section of the reliability diagrams; a single model is its own ensemble and has no `members`.

    Args:
        ensemble: what it said.
        members: what each of them said.
        lines: how members are drawn.

    Raises:
        Absent: there is no image.
    """
    if not len(ensemble.right_N):
        raise Absent("no image could be decoded")
    pictures = [Picture("reliability", _large(ensemble))]
    if members:
        pictures.append(Picture("reliability-members", _small(members, lines)))
    notes = [
        "Of the images for which the probability of the predicted class is 70 to 80%, 70 to 80% should be right: dots "
        "on the diagonal. Below it the classifier is too sure, above it not sure enough. ECE (expected calibration "
        "error) is the mean distance from the diagonal, weighted by images. Few images in a bin say little."
    ]
    return Section("reliability", TITLE, notes, pictures=pictures)


def _large(one: Confidence) -> Drawing:
    height = TOP + SIDE + 14 + COUNTS + 34
    drawing = Drawing(height, f"reliability diagram of {one.name}, ECE {one.ece:.3f}")
    width = WIDTH - LEFT - 20
    drawing.text(4, TOP - 18, shortened_name(one.name, 30), "strong")
    drawing.text(LEFT + width, TOP - 18, f"ECE {one.ece:.4f}, {len(one.right_N):,} images", "quiet small", "end")
    _axes(drawing, LEFT, TOP, width, SIDE)
    for share in (0, 25, 50, 75, 100):
        drawing.text(LEFT - 6, TOP + SIDE * (1 - share / 100) + 4, str(share), "quiet small", "end")
    drawing.text(12, TOP + SIDE / 2, "right, %", "quiet small", "middle", turn=-90)
    _bins(drawing, one, LEFT, TOP, width, SIDE, ENSEMBLE, 4.0)
    base, most = TOP + SIDE + 14 + COUNTS, max(each.count for each in one.bins)
    for each in one.bins:
        x, tall = LEFT + width * each.low, (COUNTS - 14) * each.count / most
        if each.count:
            drawing.rect(x + 1.5, base - max(tall, 1), width / BINS - 3, max(tall, 1), "var(--strong-line)", 0.7)
            drawing.text(x + width / BINS / 2, base - max(tall, 1) - 3, f"{each.count:,}", "quiet tiny", "middle")
    drawing.line(LEFT, base, LEFT + width, base)
    drawing.text(12, base - COUNTS / 2 + 6, "images", "quiet small", "middle", turn=-90)
    for share in range(0, 101, 20):
        drawing.text(LEFT + width * share / 100, base + 14, str(share), "quiet small", "middle")
    drawing.text(LEFT + width / 2, base + 30, "probability of the predicted class, %", "quiet small", "middle")
    return drawing


def _small(members: Sequence[Confidence], lines: Lines) -> Drawing:
    """One diagram a member, its bars of counts below."""
    rows = -(-len(members) // COLUMNS)
    step = SMALL + 62
    drawing = Drawing(rows * step + 22, f"reliability diagrams of {len(members)} members")
    for number, one in enumerate(members):
        row, column = divmod(number, COLUMNS)
        x, y, colour = 4 + column * (WIDTH / COLUMNS), 30 + row * step, lines[one.name].colour
        drawing.text(x, y - 18, shortened_name(one.name, 22), "small strong", colour=colour)
        drawing.text(x, y - 6, f"ECE {one.ece:.4f}", "quiet tiny")
        _axes(drawing, x, y, SMALL, SMALL)
        _bins(drawing, one, x, y, SMALL, SMALL, colour, 2.6)
        most = max(max(each.count for each in one.bins), 1)
        for each in one.bins:
            tall = 18 * each.count / most
            tip = f"{each.count:,} images"
            if each.count:
                drawing.rect(x + SMALL * each.low + 1, y + SMALL + 22 - max(tall, 0.8), SMALL / BINS - 2,
                             max(tall, 0.8), "var(--strong-line)", 0.7, tip)  # fmt: skip
    drawing.text(4, rows * step + 16, "axes as in the large diagram; bars: images in each bin", "quiet tiny")
    return drawing


def _axes(drawing: Drawing, x: float, y: float, width: float, height: float) -> None:
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawing.line(x, y + height * share, x + width, y + height * share, "grid" if share < 1 else "axis")
    drawing.path([(x, y + height), (x + width, y)], "var(--strong-line)", 1, "4 3")


def _bins(
    drawing: Drawing, one: Confidence, x: float, y: float, width: float, height: float, colour: str, radius: float
) -> None:
    """A dot a bin, joined; the distance from the diagonal shaded."""
    places: list[tuple[tuple[float, float], Bin]] = []
    for each in one.bins:
        if not each.count:
            continue
        place = (x + width * each.confidence, y + height * (1 - each.accuracy))
        meant = y + height * (1 - each.confidence)
        half = width / BINS / 2 - 1.5
        drawing.rect(place[0] - half, min(place[1], meant), 2 * half, abs(place[1] - meant), "var(--wrong)", 0.22)
        places.append((place, each))
    if len(places) > 1:
        drawing.path([place for place, _ in places], colour, 1.3)
    for place, each in places:
        tip = f"{each.count:,} images: probability {100 * each.confidence:.1f}%, right {100 * each.accuracy:.1f}%"
        drawing.dot(*place, radius, colour, tip)

"""The table as a picture: top-1 error with its interval, of each member and the ensemble, by number of crops.

In: scores. Out: a picture in which every member has a row of its own, so that none hides another.
"""

from platform.drawing.drawing import WIDTH, Drawing, shortened_name
from platform.evaluation.metrics import Scores
from platform.evaluation.statistics.intervals import Interval, wilson
from platform.evaluation.table import EnsembleScores
from platform.report.colours import ENSEMBLE, Lines
from platform.report.scales import Scale, linear
from platform.report.section import Absent, Picture, Section

TITLE = "Error by number of crops"
LEFT, RIGHT, TOP, BOTTOM = 118.0, 20.0, 44.0, 36.0
LINE = 10.0  # between the numbers of crops of a member
NAME = 17
MARK = 3.6


def section(scores: EnsembleScores, lines: Lines) -> Section:
    """The section of the errors.

    Args:
        scores: of the finished members.
        lines: how members are drawn.

    Raises:
        Absent: none of the images could be decoded.
    """
    rows = _rows(scores, lines)
    if not all(each.samples for _, _, by_views in rows for each in by_views.values()):
        raise Absent("no image could be decoded, so there are no scores")
    notes = ["A mark is the error, its line the 95% interval over images (Wilson)."]
    if len(rows) > 1:
        notes.append(
            "Rows whose lines overlap may still differ beyond noise: they are of the same images, and the paired test "
            "in the verdict knows that."
        )
    return Section("errors", TITLE, notes, pictures=[Picture("errors", _draw(rows, list(scores.ensemble)))])


def _rows(scores: EnsembleScores, lines: Lines) -> list[tuple[str, str, dict[int, Scores]]]:
    """Name, colour and scores of the ensemble, then of each member."""
    members = [(name, lines[name].colour, by_views) for name, by_views in scores.members.items()]
    if len(members) == 1 or scores.compared:  # rows that are compared are no ensemble
        return members
    return [(f"ensemble of {len(members)}", ENSEMBLE, scores.ensemble), *members]


def _draw(rows: list[tuple[str, str, dict[int, Scores]]], views: list[int]) -> Drawing:
    step = LINE * len(views) + 8
    bottom = TOP + step * len(rows)
    drawing = Drawing(bottom + BOTTOM, f"top-1 error of {len(rows)} classifier(s) by number of crops")
    intervals = [(_error(each), _interval(each)) for _, _, by_views in rows for each in by_views.values()]
    ends = [100 * end for _, interval in intervals for end in (interval.low, interval.high)]
    scale = linear(ends, LEFT, WIDTH - RIGHT, zero=min(ends) < 0.3 * max(ends))
    _axes(drawing, scale, bottom, views)
    for number, (name, colour, by_views) in enumerate(rows):
        top = TOP + step * number
        strong = "strong" if colour == ENSEMBLE else ""
        drawing.text(LEFT - 8, top + step / 2 + 4, shortened_name(name, NAME), f"{strong} small", "end", colour)
        drawing.line(4, top + step, WIDTH - RIGHT, top + step, "grid")
        for place, (crops, each) in enumerate(by_views.items()):
            _mark(drawing, scale, top + 9 + LINE * place, place, colour, crops, each)
    return drawing


def _axes(drawing: Drawing, scale: Scale, bottom: float, views: list[int]) -> None:
    drawing.text(4, TOP - 28, "top-1 error, %", "strong")
    for tick in scale.ticks:
        drawing.line(scale(tick), TOP - 4, scale(tick), bottom, "grid")
        drawing.text(scale(tick), bottom + 15, f"{tick:g}", "quiet small", "middle")
    x = LEFT + 20
    for place, crops in enumerate(views):
        _symbol(drawing, x, TOP - 32, place, "var(--quiet)", "")
        drawing.text(x + 8, TOP - 28, f"{crops} crop{'s' * (crops > 1)}", "quiet small")
        x += 78


def _mark(drawing: Drawing, scale: Scale, y: float, place: int, colour: str, crops: int, each: Scores) -> None:
    error, interval = _error(each), _interval(each)
    width = 2.2 if colour == ENSEMBLE else 1.3
    drawing.path([(scale(100 * interval.low), y), (scale(100 * interval.high), y)], colour, width)
    tip = f"{crops} crop(s): {100 * error:.2f}%, 95% interval {100 * interval.low:.2f} to {100 * interval.high:.2f}%"
    _symbol(drawing, scale(100 * error), y, place, colour, tip)


def _symbol(drawing: Drawing, x: float, y: float, place: int, colour: str, tip: str) -> None:
    """Numbers of crops are told apart by shape: disc, ring, square."""
    if place == 2:
        drawing.rect(x - MARK, y - MARK, 2 * MARK, 2 * MARK, colour, tip=tip)
    else:
        drawing.dot(x, y, MARK, colour, tip, hollow=place == 1)


def _error(each: Scores) -> float:
    return 1 - each.top1 / each.samples


def _interval(each: Scores) -> Interval:
    return wilson(each.samples - each.top1, each.samples)

"""When each member waited, started, trained and was evaluated, and what was lost: a bar for each attempt's parts.

In: logs of attempts. Out: a picture on one axis of time, in which long stretches without any work are cut short.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from platform.console import duration
from platform.drawing.drawing import WIDTH, Drawing, shortened, shortened_name
from platform.experiment.goodput import Attempt, Goodput
from platform.experiment.member_folder import FINISHED
from platform.report.scales import round_step
from platform.report.section import Absent, Picture, Section, Table

TITLE = "Timeline and goodput"
WAITING, STARTING, TRAINING, EVALUATING, LOST = "waiting", "starting", "training", "evaluating", "lost"
KINDS = (WAITING, STARTING, TRAINING, EVALUATING, LOST)
LEFT, RIGHT, TOP, LINE = 118.0, 46.0, 40.0, 20.0
NAME = 17
GAP = 16.0  # units for a stretch without work
LONG = 0.08  # of all the work: a longer stretch without any is cut short
MEANINGS = (
    "Waiting: for a free lane. Starting: processes, until the first step. Training: from the first step to the last, "
    "with the evaluations between. Evaluating: all views at the end. Lost: starting again after a failure, steps "
    "done twice, and what died before it was saved. Goodput is the share of a member's time spent on steps done for "
    "the first time."
)


@dataclass(frozen=True)
class Span:
    """What a member did between two times, in seconds since the epoch."""

    kind: str
    start: float
    stop: float
    tip: str = ""


def section(attempts: Mapping[str, Sequence[Attempt]]) -> Section:
    """The section of the timeline.

    Args:
        attempts: member -> its attempts, in order.

    Raises:
        Absent: none were recorded.
    """
    known = {name: made for name, made in attempts.items() if made}
    if not known:
        raise Absent("no attempts were recorded")
    spans = {name: spans_of(made) for name, made in known.items()}
    rows = [_row(name, spans[name], Goodput.of(made)) for name, made in known.items()]
    columns = ["member", "attempts", *KINDS, "goodput", "newest attempts ended"]
    notes = [MEANINGS]
    if missing := [name for name in attempts if name not in known]:
        notes.append(f"Without a log of attempts: {', '.join(missing)}.")
    drawing = _draw(spans, {name: Goodput.of(made) for name, made in known.items()})
    table = Table(columns, rows, words=(0, len(columns) - 1))
    return Section("timeline", TITLE, notes, [table], [Picture("timeline", drawing)])


def spans_of(attempts: Sequence[Attempt]) -> list[Span]:
    """What a member's time went into, in order of its attempts."""
    spans: list[Span] = []
    furthest = 0
    for number, attempt in enumerate(attempts):
        tip = f"attempt {number + 1}, steps {attempt.from_step} to {attempt.reached}: {attempt.reason or 'under way'}"
        spans += _spans(attempt, furthest, again=number > 0, tip=tip)
        furthest = max(furthest, attempt.reached)
    return [span for span in spans if span.stop > span.start]


def _spans(attempt: Attempt, furthest: int, *, again: bool, tip: str) -> list[Span]:
    """The parts of one attempt; some have no length.

    Args:
        attempt: which one.
        furthest: global steps that the attempts before have done.
        again: there were some.
        tip: for all parts.
    """
    evaluates = attempt.evaluating_at > 0 or attempt.reason == FINISHED  # earlier versions did not note since when
    first = attempt.first_step_at or attempt.evaluating_at or (attempt.started if evaluates else attempt.ended)
    last = max(attempt.last_step_at, first) if attempt.first_step_at else first
    steps = attempt.reached - attempt.from_step
    repeated = max(0, min(furthest, attempt.reached) - attempt.from_step)
    new_at = first + ((last - first) * repeated / steps if steps > 0 else 0.0)
    starting = LOST if again and attempt.first_step_at else STARTING
    return [
        Span(WAITING, attempt.began - attempt.queued_s, attempt.began),
        Span(starting, attempt.began, first, tip),
        Span(LOST, first, new_at, tip),
        Span(TRAINING, new_at, last, tip),
        Span(EVALUATING if evaluates else LOST, last, attempt.ended, tip),
    ]


def _row(name: str, spans: Sequence[Span], goodput: Goodput) -> list[str]:
    sums = {kind: sum(span.stop - span.start for span in spans if span.kind == kind) for kind in KINDS}
    times = [duration(sums[kind]) if sums[kind] else "" for kind in KINDS]
    reasons = "; ".join(shortened(reason or "under way", 60) for reason in goodput.reasons[-3:])
    return [name, str(goodput.attempts), *times, f"{goodput.training_share:.0%}", reasons]


class _Axis:
    """Time to places. Stretches in which nobody works are `GAP` wide."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.pieces = _pieces(spans)  # (start, stop) of the work
        work = sum(stop - start for start, stop in self.pieces) or 1.0
        room = WIDTH - LEFT - RIGHT - GAP * (len(self.pieces) - 1)
        self.per_s = room / work

    def __call__(self, at: float) -> float:
        x = LEFT
        for start, stop in self.pieces:
            if at <= stop:
                return x + self.per_s * max(at - start, 0.0)
            x += self.per_s * (stop - start) + GAP
        return x - GAP

    def ticks(self) -> list[tuple[float, str]]:
        """Places of round times, counted within each piece."""
        whole = sum(stop - start for start, stop in self.pieces)
        steps = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400)
        step = next((step for step in steps if whole / step <= 6), 0) or round_step(whole / 6 / 86400) * 86400
        return [
            (self(start + number * step), duration(number * step) if number else "0")
            for start, stop in self.pieces
            for number in range(int((stop - start) / step) + 1)
        ]


def _pieces(spans: Sequence[Span]) -> list[tuple[float, float]]:
    """The stretches of time in which somebody works, short pauses included."""
    working = sorted((span.start, span.stop) for span in spans if span.kind != WAITING) or [(0.0, 1.0)]
    longest = LONG * sum(stop - start for start, stop in working)
    pieces = [working[0]]
    for start, stop in working[1:]:
        if start - pieces[-1][1] <= longest:
            pieces[-1] = pieces[-1][0], max(stop, pieces[-1][1])
        else:
            pieces.append((start, stop))
    return pieces


def _draw(spans: Mapping[str, Sequence[Span]], goodput: Mapping[str, Goodput]) -> Drawing:
    axis = _Axis([span for each in spans.values() for span in each])
    bottom = TOP + LINE * len(spans)
    drawing = Drawing(bottom + 32, f"timeline of {len(spans)} member(s)")
    x = 4.0
    for kind in KINDS:
        drawing.rect(x, 4, 10, 10, f"var(--{kind})")
        drawing.text(x + 13, 13, kind, "quiet small")
        x += 34 + 6.2 * len(kind)
    drawing.text(WIDTH, TOP - 8, "goodput", "quiet tiny", "end")
    shown = -100.0
    for place, text in axis.ticks():
        drawing.line(place, TOP - 4, place, bottom, "grid")
        if place - shown > 7 * len(text):
            drawing.text(place, bottom + 14, text, "quiet small", "middle")
            shown = place
    for number, (name, each) in enumerate(spans.items()):
        y = TOP + LINE * number
        drawing.text(LEFT - 8, y + 13, shortened_name(name, NAME), "small", "end")
        for span in each:
            start, stop = axis(span.start), axis(span.stop)
            thin = 5 if span.kind == WAITING else 0
            tip = f"{span.kind} {duration(span.stop - span.start)}{f'; {span.tip}' if span.tip else ''}"
            colour = f"var(--{span.kind})"
            drawing.rect(start, y + 3 + thin, max(stop - start, 0.6), LINE - 6 - 2 * thin, colour, tip=tip)
        drawing.text(WIDTH, y + 13, f"{goodput[name].training_share:.0%}", "quiet small", "end")
    _gaps(drawing, axis, bottom)
    began = time.strftime("%F %H:%M", time.localtime(axis.pieces[0][0]))
    drawing.text(LEFT, bottom + 28, f"since {began}", "quiet tiny")
    return drawing


def _gaps(drawing: Drawing, axis: _Axis, bottom: float) -> None:
    """Say how long each stretch is that was cut out."""
    for (_, stop), (start, _) in zip(axis.pieces, axis.pieces[1:], strict=False):
        x = axis(stop) + GAP / 2
        drawing.rect(x - GAP / 2 + 1, TOP - 4, GAP - 2, bottom - TOP + 4, "var(--background)")
        drawing.text(x + 3.5, (TOP + bottom) / 2, f"{duration(start - stop)} later", "quiet tiny", "middle", turn=-90)

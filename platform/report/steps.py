"""What the time of a training step goes into: a stacked bar for each member, decoding beneath it.

In: metrics of log steps, learning curves, batch sizes. Out: a picture and a table.
"""

from collections.abc import Mapping, Sequence

from platform.drawing.drawing import WIDTH, Drawing, shortened_name
from platform.report.budget import COMPUTING, EVALUATION, Budget, Series
from platform.report.scales import Scale, linear
from platform.report.section import Absent, Picture, Section, Table
from platform.training.learning_curve import EvaluationPoint
from platform.training.step_parts import (
    BACKWARD,
    CHECKPOINT,
    COPY,
    EXCHANGE,
    FORWARD,
    LOGGING,
    OPTIMISER,
    REST,
    WAIT,
)

TITLE = "Time of a step"
LEFT, RIGHT, LINE, LEGEND_LINE = 118.0, 84.0, 31.0, 16.0
BAR, THIN = 15.0, 4.0  # heights
NAME = 17
LETTER = 5.6  # width of a small one
LEAST_SHARE = 0.01  # of a bar, of a part that the legend names
LABELS = {  # part -> how it is called, in a bar's order
    WAIT: "wait",
    COPY: "copy",
    FORWARD: "forward",
    BACKWARD: "backward",
    EXCHANGE: "exchange",
    OPTIMISER: "optimiser",
    REST: "rest",
    COMPUTING: "computing",
    LOGGING: "logging",
    CHECKPOINT: "checkpoint",
    EVALUATION: "evaluation",
}
DECODING = "decode"
MEANINGS: tuple[str, ...] = (
    "Means over the training, each start's first step left out, and over the workers. On CPU every step is measured, "
    "on a GPU one in 16, by events in its stream. Wait: for the batch. Copy: to the device, with mirroring and "
    "normalising there. Exchange: what backward does not hide of averaging the gradients, with waiting for slower "
    "workers. Rest: averaged weights and sums. Logging, checkpoints and evaluation come in some steps only and are "
    "spread over all; images/s leaves evaluations out.",
    "Decoding runs beside the training, on the workers' own threads: the thin bar is the CPU time that they need for a "
    "batch, when all of them work. Where it is longer than the rest of the step, training waits for data. The table is "
    "in milliseconds.",
)


def section(
    series: Mapping[str, Series], curves: Mapping[str, Sequence[EvaluationPoint]], batch_sizes: Mapping[str, int]
) -> Section:
    """The section of the steps' time.

    Args:
        series: member -> metrics of its log steps.
        curves: member -> its evaluation points.
        batch_sizes: member -> images in a global batch.

    Raises:
        Absent: no speed was measured.
    """
    found = [Budget.of(name, series[name], curves[name], batch_sizes[name]) for name in curves]
    budgets = [each for each in found if each]
    if not budgets:
        raise Absent("no speed of training was measured")
    return Section("steps", TITLE, _notes(budgets), [_table(budgets)], [Picture("steps", _draw(budgets))])


def _notes(budgets: Sequence[Budget]) -> list[str]:
    notes = list(MEANINGS) if any(each.told_apart for each in budgets) else []
    if joined := [each.name for each in budgets if not each.told_apart]:
        notes.append(
            f"Not told apart, as an earlier version trained them or no step after the first was measured: copy, "
            f"forward, backward, exchange and optimiser of {', '.join(joined)}. They are computing."
        )
    if unknown := [each.name for each in budgets if not each.waiting_is_known]:
        notes.append(f"Waiting for data was not measured either, and is in computing: {', '.join(unknown)}.")
    return notes


def _shown(budgets: Sequence[Budget]) -> list[str]:
    """The parts that some member has."""
    return [part for part in LABELS if any(each.parts.get(part) for each in budgets)]


def _table(budgets: Sequence[Budget]) -> Table:
    parts, decodes = _shown(budgets), any(each.decode_ms for each in budgets)
    columns = ["member", "images/s", "step", *(LABELS[part] for part in parts), *[DECODING] * decodes]
    return Table(columns, [_row(each, parts)[: len(columns)] for each in budgets])


def _row(budget: Budget, parts: Sequence[str]) -> list[str]:
    cells = [_cell(budget, part) for part in parts]
    decoding = f"{budget.decode_ms:,.1f}" if budget.told_apart else ""
    return [budget.name, f"{budget.images_per_s:,.0f}", f"{budget.ms:,.1f}", *cells, decoding]


def _cell(budget: Budget, part: str) -> str:
    ms = budget.parts.get(part)
    return "" if ms is None else f"{ms:,.1f}"


def _draw(budgets: Sequence[Budget]) -> Drawing:
    def is_seen(part: str) -> bool:
        return any(each.parts.get(part, 0) > LEAST_SHARE * each.ms for each in budgets)

    legend = [part for part in LABELS if is_seen(part)]
    decodes = any(each.decode_ms for each in budgets)
    places = _places([LABELS[part] for part in legend] + [DECODING] * decodes)
    top = LEGEND_LINE * (places[-1][1] + 1) + 14
    bottom = top + LINE * len(budgets)
    drawing = Drawing(bottom + 30, f"time of a training step of {len(budgets)} member(s)")
    for part, (x, line) in zip([*legend, DECODING], places, strict=False):
        drawing.rect(x, 3 + LEGEND_LINE * line, 10, 10, _colour(part))
        drawing.text(x + 14, 12 + LEGEND_LINE * line, LABELS.get(part, DECODING), "quiet small")
    scale = linear([max(each.ms, each.decode_ms) for each in budgets], LEFT, WIDTH - RIGHT, zero=True, tight=True)
    for tick in scale.ticks:
        drawing.line(scale(tick), top - 6, scale(tick), bottom, "grid")
        drawing.text(scale(tick), bottom + 12, f"{tick:g}", "quiet small", "middle")
    drawing.text((LEFT + WIDTH - RIGHT) / 2, bottom + 26, "milliseconds", "quiet small", "middle")
    for number, each in enumerate(budgets):
        _bar(drawing, scale, each, top + LINE * number)
    return drawing


def _places(labels: Sequence[str]) -> list[tuple[float, int]]:
    """Where each label of the legend begins, and on which line."""
    places: list[tuple[float, int]] = []
    x, line = 4.0, 0
    for label in labels:
        width = 26 + LETTER * len(label)
        if x + width > WIDTH:
            x, line = 4.0, line + 1
        places.append((x, line))
        x += width
    return places


def _bar(drawing: Drawing, scale: Scale, budget: Budget, y: float) -> None:
    drawing.text(LEFT - 8, y + 13, shortened_name(budget.name, NAME), "small", "end")
    done = 0.0
    for part, label in LABELS.items():
        ms = budget.parts.get(part, 0.0)
        start, stop = scale(done), scale(done + ms)
        if ms:
            share = f"{ms / budget.ms:.0%}"
            tip = f"{label} {ms:,.2f} ms, {share}"
            drawing.rect(start, y + 2, max(stop - start - 0.7, 0.3), BAR, _colour(part), tip=tip)
            if fitting := [text for text in (f"{label} {share}", share) if LETTER * len(text) + 4 < stop - start]:
                drawing.text((start + stop) / 2, y + 13, fitting[0], "on-colour small", "middle")
        done += ms
    drawing.text(scale(done) + 5, y + 13, f"{done:,.1f} ms", "small")
    if budget.decode_ms:
        stop = scale(budget.decode_ms)
        tip = f"decoding {budget.decode_ms:,.2f} ms, beside the training"
        drawing.rect(LEFT, y + 2 + BAR + 1, stop - LEFT, THIN, _colour(DECODING), tip=tip)
        drawing.text(stop + 4, y + 9.5 + BAR, f"{budget.decode_ms:,.1f}", "quiet tiny")


def _colour(part: str) -> str:
    return f"var(--step-{part})"

"""The ranking as a table: for a terminal, as Markdown, as CSV.

In: a ranking. Out: lines of at most 120 columns; Markdown with its verdict, escaped; CSV with every figure unrounded.
"""

import csv
import io
import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from platform.evaluation.member_table import short_p
from platform.evaluation.verdict import interval_text
from platform.sweep.report.labels import ABSENT, headings, shortened, value_text
from platform.sweep.report.outcome import Ranked, Unranked
from platform.sweep.report.ranking import Ranking
from platform.sweep.report.verdict import cautions, verdict
from platform.text import printable

WIDTH = 120
KEYS_SHOWN = 6  # on a terminal
POINTS_SHOWN, POINTS_LISTED = 50, 200  # of more points: on a terminal; in ranking.md and on the page
LEAST_ENDED = len("stopped …")  # characters of the last column that are always shown
GAP = 2  # between columns
MARKDOWN_SIGNS = re.compile(r"[\\`*{}\[\]<>|#~&$]|(?<!\w)_|_(?!\w)")  # an underscore within a word needs no escape
CSV_TESTS = ("images_lead", "images_lead_low", "images_lead_high", "images_p_above", "images_p_above_holm")
CSV_TESTS += ("images_p_best_holm", "p_above", "p_above_holm", "p_best")
CONTENDER, FRONT = "*", "F"
HOLM = "Against the line above, with Holm's correction; under 0.05 it is more than noise."


@dataclass(frozen=True)
class Line:
    """A point as text, for a table of any kind."""

    rank: str
    name: str
    values: list[str]
    top1: str  # mean in %; in brackets the score of an unfinished trial
    interval: str  # of it over images, in %
    p_images: str  # p-value against the line above on the same images, corrected
    sd: str  # in percentage points
    seeds: str
    p_seeds: str  # p-value against the line above over seeds, corrected
    images_per_s: str
    ended: str


HEADINGS = {"top1": "top-1 %", "interval": "95% interval", "p_images": "p images"}
OF_SEEDS = {"sd": "± sd", "seeds": "seeds", "p_seeds": "p seeds"}
OF_SPEED = {"images_per_s": "images/s"}


def table_lines(ranking: Ranking, most: int = POINTS_LISTED) -> list[Line]:
    """A line for each of the first `most` points, in the order of the ranking."""
    points = (*ranking.points, *ranking.rest)[:most]
    return [_ranked(point, ranking) if isinstance(point, Ranked) else _unranked(point, ranking) for point in points]


def left_out(ranking: Ranking, most: int = POINTS_LISTED) -> list[str]:
    """A note of how many points `table_lines` has no line for; none where it has all."""
    points = len(ranking.points) + len(ranking.rest)
    return [f"The first {most:,} of {points:,} points; ranking.csv has all."] if points > most else []


def column_names(ranking: Ranking) -> list[str]:
    """The headings of the columns that `cells` fills."""
    return ["rank", "point", *headings(ranking.keys).values(), *_figures(ranking).values(), "ended"]


def cells(line: Line, ranking: Ranking) -> list[str]:
    """The cells of a line, one for each of `column_names`."""
    return [line.rank, line.name, *line.values, *(getattr(line, each) for each in _figures(ranking)), line.ended]


def _figures(ranking: Ranking) -> dict[str, str]:
    """Field of `Line` -> heading, of the figures that this ranking has."""
    figures = HEADINGS | (OF_SEEDS if ranking.has_seeds else {})
    return figures | (OF_SPEED if len(ranking.objectives) > 1 else {})


def lines(ranking: Ranking) -> list[str]:
    """The table and its footnotes for a terminal, at most 120 characters wide; without the verdict."""
    keys = list(headings(ranking.keys).values())
    shown = [replace(line, values=line.values[:KEYS_SHOWN]) for line in table_lines(ranking, POINTS_SHOWN)]
    names = ["rank", "point", *keys[:KEYS_SHOWN], *_figures(ranking).values(), "ended"]
    columns = list(zip(names, *(cells(line, ranking) for line in shown), strict=True))
    of_values = range(2, 2 + len(keys[:KEYS_SHOWN]))
    widths = [max(map(len, column)) + GAP for column in columns]
    widths[-1] = min(widths[-1], LEAST_ENDED + GAP)
    left = WIDTH - sum(width for place, width in enumerate(widths) if place not in of_values)
    width = _value_width([columns[place] for place in of_values], left)
    columns = [
        [shortened(cell, width) for cell in column] if place in of_values else list(column)
        for place, column in enumerate(columns)
    ]
    room = WIDTH - sum(max(map(len, column)) + GAP for column in columns[:-1]) - GAP
    columns[-1] = [shortened(cell, room) for cell in columns[-1]]
    table = Table(box=box.SIMPLE_HEAD, title=Text(title(ranking)), title_justify="left", padding=(0, 1, 0, 0))
    for place, (name, *_) in enumerate(columns):
        justify = "left" if place in of_values or place == len(columns) - 1 else "right"
        table.add_column(Text(name), justify=justify, no_wrap=True)
    for row in list(zip(*columns, strict=True))[1:]:
        table.add_row(*map(Text, row))
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None).print(table)
    notes = left_out(ranking, POINTS_SHOWN)
    if keys[KEYS_SHOWN:]:
        notes.append(f"Not shown: {shortened(', '.join(keys[KEYS_SHOWN:]), 80)}; see ranking.csv.")
    notes += ["What is cut short here (…) is whole in ranking.md."] if "…" in text.getvalue() else []
    below = [line for note in footnotes(ranking) + notes for line in textwrap.wrap(note, WIDTH)]
    return [line.rstrip() for line in text.getvalue().rstrip().splitlines()] + below


def footnotes(ranking: Ranking) -> list[str]:
    """What the signs and figures in the table mean; only those that occur in it."""
    notes = []
    if ranking.points:
        means = "; of a mean over seeds a bootstrap's" if ranking.has_seeds else ""
        notes.append(f"95% interval: of top-1 over images, Wilson's{means}.")
    if any(point.images_above for point in ranking.points):
        means = "; of means over seeds the exact sign-flip test" if ranking.has_seeds else ""
        notes.append(f"p images: exact McNemar test on the same images{means}. {HOLM}")
    if ranking.points and ranking.noise.freedom:
        notes.append(f"± sd: between seeds. p seeds: t-test over seeds. {HOLM}")
    elif ranking.points:
        notes.append("One seed a point: which differences are more than noise between seeds is unknown.")
    if len(ranking.points) > 1 and ranking.is_tested:
        notes.append(
            f"{CONTENDER} not worse than the best beyond noise (Holm's correction for all comparisons with it)."
        )
    if len(ranking.points) > 1:
        notes.append("job=compare compare.runs=[SWEEP/TRIAL,SWEEP/TRIAL] compares any two trials image by image.")
    if ranking.front:
        notes.append(f"{FRONT} a best trade-off: no other point is as good in top-1 and images/s, and better in one.")
    if any(point.top1 is not None for point in ranking.rest):
        notes.append(
            "(In brackets: the score where the training ended early, after fewer epochs. It does not compare with the "
            "others: no test has it.)"
        )
    return notes


def title(ranking: Ranking) -> str:
    """How many points, trials and validation images the table is about."""
    points = len(ranking.points) + len(ranking.rest)
    return f"{points} point(s), trials: {ranking.tally}; {ranking.val_samples:,} validation images"


def markdown(ranking: Ranking) -> str:
    """The ranking as Markdown: verdict, cautions, table, footnotes."""
    names, *rows = [
        [markdown_text(cell) for cell in row]
        for row in [column_names(ranking), *(cells(line, ranking) for line in table_lines(ranking))]
    ]
    table = [names, ["---"] * len(names), *rows]
    parts = [f"**{markdown_text(verdict(ranking))}**"]
    parts += [f"- {markdown_text(caution)}" for caution in cautions(ranking)]
    parts += [markdown_text(title(ranking)), "\n".join(f"| {' | '.join(row)} |" for row in table)]
    parts += [markdown_text(note) for note in [*left_out(ranking), *footnotes(ranking)]]
    return "\n\n".join(parts) + "\n"


def markdown_text(text: str) -> str:
    """Text escaped so that Markdown shows it as it is."""
    return MARKDOWN_SIGNS.sub(lambda sign: f"\\{sign[0]}", text)


def csv_text(ranking: Ranking) -> str:
    """The ranking as CSV, every figure unrounded; scores are 0 to 1. Values that are no text are written as JSON."""
    text = io.StringIO()
    figures = ["top1_mean", "top1_low", "top1_high", "top1_sd", "top1_min", "top1_max", "sampling_error"]
    counts = ["seeds", "trials", "images_per_s"]
    writer = csv.writer(text, lineterminator="\n")
    ends = ["contender", "front", "stopped_epoch", "stopped_top1", "ended"]
    writer.writerow(["rank", "point", *map(printable, ranking.keys), *figures, *counts, *CSV_TESTS, *ends])
    for point in ranking.points:
        low, high = (point.interval.low, point.interval.high) if point.interval else (None, None)
        scores = [point.mean, low, high, point.sd, min(point.scores), max(point.scores), point.sampling_error]
        marks = [int(point.contender), int(point.front), None, None, point.ended]
        own = [*scores, point.n, point.trials, point.images_per_s, *_csv_tests(point), *marks]
        writer.writerow([point.rank, point.name, *_csv_values(point, ranking), *own])
    for point in ranking.rest:
        empty = [None] * len(figures) + [0, point.trials, None] + [None] * (len(CSV_TESTS) + 2)
        row = [None, point.name, *_csv_values(point, ranking), *empty, point.epoch, point.top1, point.ended]
        writer.writerow(row)
    return text.getvalue()


def _csv_tests(point: Ranked) -> list[float | None]:
    """The values of `CSV_TESTS`."""
    above, best = point.images_above, point.images_best
    ahead = [above.difference, above.interval.low, above.interval.high, above.p, above.p_holm] if above else [None] * 5
    return [*ahead, best.p_holm if best else None, point.p_above, point.p_above_holm, point.p_best]


def _ranked(point: Ranked, ranking: Ranking) -> Line:
    marks = (CONTENDER if point.contender and ranking.is_tested and len(ranking.points) > 1 else "") + (
        FRONT if point.front else ""
    )
    ends = point.interval
    return Line(
        rank=f"{marks} {point.rank}".strip(),
        name=point.name,
        values=_values(point, ranking),
        top1=f"{100 * point.mean:.2f}",
        interval=interval_text(ends).removesuffix("%") if ends else "",
        p_images=short_p(point.images_above.p_holm) if point.images_above else "",
        sd="" if point.sd is None else f"{100 * point.sd:.2f}",
        seeds=str(point.n) if point.n == point.trials else f"{point.n} of {point.trials}",
        p_seeds="" if point.p_above_holm is None else short_p(point.p_above_holm),
        images_per_s="" if point.images_per_s is None else f"{point.images_per_s:,.0f}",
        ended=point.ended,
    )


def _unranked(point: Unranked, ranking: Ranking) -> Line:
    top1 = "" if point.top1 is None else f"({100 * point.top1:.2f})"
    seeds = f"0 of {point.trials}"
    return Line("", point.name, _values(point, ranking), top1, "", "", "", seeds, "", "", point.ended)


def _value_width(columns: Sequence[Sequence[str]], room: int) -> int:
    """The most characters that a value may have for all columns to fit in the room: the widest are cut first."""
    natural = [max(map(len, column)) for column in columns]
    fits = (width for width in range(room, 1, -1) if sum(min(n, width) + GAP for n in natural) <= room)
    return next(fits, 1)


def _values(point: Ranked | Unranked, ranking: Ranking) -> list[str]:
    return [value_text(point.values[key]) if key in point.values else ABSENT for key in ranking.keys]


def _csv_values(point: Ranked | Unranked, ranking: Ranking) -> list[str]:
    return [_exactly(point.values[key]) if key in point.values else "" for key in ranking.keys]


def _exactly(value: Any) -> str:
    return printable(value) if isinstance(value, str) else json.dumps(value)

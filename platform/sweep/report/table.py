"""The ranking as a table: for a terminal, as Markdown, as CSV.

In: a ranking. Out: lines of at most 120 columns; Markdown with its verdict, escaped; CSV with every figure unrounded.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from platform.sweep.report.labels import ABSENT, headings, shortened, value_text
from platform.sweep.report.outcome import Ranked, Unranked
from platform.sweep.report.ranking import Ranking
from platform.text import printable

WIDTH = 120
KEYS_SHOWN, VALUES_WIDTH = 6, 58  # on a terminal: keys shown, and characters for all of them with their gaps
MARKDOWN_SIGNS = re.compile(r"[\\`*{}\[\]<>|#~&$]|(?<!\w)_|_(?!\w)")  # an underscore within a word needs no escape
CONTENDER, FRONT = "*", "F"


@dataclass(frozen=True)
class Line:
    """A point as text, for a table of any kind."""

    rank: str
    name: str
    values: list[str]
    top1: str  # mean in %; in brackets the score of an unfinished trial
    sd: str  # in percentage points
    seeds: str
    p: str  # p-value against the line above
    images_per_s: str
    ended: str


def table_lines(ranking: Ranking) -> list[Line]:
    """A line for each point, in the order of the ranking."""
    return [_ranked(point, ranking) for point in ranking.points] + [_unranked(point, ranking) for point in ranking.rest]


def column_names(ranking: Ranking) -> list[str]:
    """The headings of the columns that `cells` fills."""
    speed = ["images/s"] if len(ranking.objectives) > 1 else []
    return ["rank", "point", *headings(ranking.keys).values(), "top-1 %", "± sd", "seeds", "p", *speed, "ended"]


def cells(line: Line, ranking: Ranking) -> list[str]:
    """The cells of a line, one for each of `column_names`."""
    speed = [line.images_per_s] if len(ranking.objectives) > 1 else []
    return [line.rank, line.name, *line.values, line.top1, line.sd, line.seeds, line.p, *speed, line.ended]


def lines(ranking: Ranking) -> list[str]:
    """The table and its footnotes for a terminal, at most 120 characters wide; without the verdict."""
    keys = list(headings(ranking.keys).values())
    shown = [replace(line, values=line.values[:KEYS_SHOWN]) for line in table_lines(ranking)]
    width = _value_width([keys[:KEYS_SHOWN], *(line.values for line in shown)])
    table = Table(box=box.SIMPLE_HEAD, title=Text(title(ranking)), title_justify="left", padding=(0, 1, 0, 0))
    for name in column_names(ranking):
        if name not in keys[KEYS_SHOWN:]:
            table.add_column(Text(shortened(name, width)), justify="left" if name in (*keys, "ended") else "right")
    for line in shown:
        *fixed, ended = cells(replace(line, values=[shortened(value, width) for value in line.values]), ranking)
        table.add_row(*map(Text, fixed), Text(ended, no_wrap=True, overflow="ellipsis"))
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None).print(table)
    notes = [f"Not shown: {shortened(', '.join(keys[KEYS_SHOWN:]), 80)}; see ranking.csv."] if keys[KEYS_SHOWN:] else []
    notes += ["What is cut short here (…) is whole in ranking.md."] if "…" in text.getvalue() else []
    return [line.rstrip() for line in text.getvalue().rstrip().splitlines()] + footnotes(ranking) + notes


def footnotes(ranking: Ranking) -> list[str]:
    """What the signs and figures in the table mean; only those that occur in it."""
    notes = []
    if ranking.points and ranking.noise.freedom:
        notes.append(
            "± sd: between seeds. p: t-test over seeds against the line above; below 0.05 it is more than noise."
        )
        notes.append(f"{CONTENDER} not distinguishable from the best (Holm's correction for all comparisons with it).")
    elif ranking.points:
        notes.append("One seed a point: which differences are more than noise is unknown.")
    if len(ranking.points) > 1:
        notes.append("job=compare compare.runs=[SWEEP/TRIAL,SWEEP/TRIAL] compares trials image by image.")
    if ranking.front:
        notes.append(f"{FRONT} a best trade-off: no other point is as good in top-1 and images/s, and better in one.")
    if any(point.top1 is not None for point in ranking.rest):
        notes.append("(In brackets: the score where the training ended early. It does not compare with the others.)")
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
    parts = [f"**{markdown_text(ranking.verdict)}**"]
    parts += [f"- {markdown_text(caution)}" for caution in ranking.cautions]
    parts += [markdown_text(title(ranking)), "\n".join(f"| {' | '.join(row)} |" for row in table)]
    parts += [markdown_text(note) for note in footnotes(ranking)]
    return "\n\n".join(parts) + "\n"


def markdown_text(text: str) -> str:
    """Text escaped so that Markdown shows it as it is."""
    return MARKDOWN_SIGNS.sub(lambda sign: f"\\{sign[0]}", text)


def csv_text(ranking: Ranking) -> str:
    """The ranking as CSV, every figure unrounded; scores are 0 to 1. Values that are no text are written as JSON."""
    text = io.StringIO()
    figures = ["top1_mean", "top1_sd", "top1_min", "top1_max", "sampling_error", "seeds", "trials", "images_per_s"]
    tests = ["p_above", "p_best", "contender", "front", "stopped_epoch", "stopped_top1", "ended"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "point", *map(printable, ranking.keys), *figures, *tests])
    for point in ranking.points:
        scores = [point.mean, point.sd, min(point.scores), max(point.scores), point.sampling_error]
        counts = [point.n, point.trials, point.images_per_s]
        compared = [point.p_above, point.p_best, int(point.contender), int(point.front), None, None, point.ended]
        writer.writerow([point.rank, point.name, *_csv_values(point, ranking), *scores, *counts, *compared])
    for point in ranking.rest:
        empty = [None] * 5 + [0, point.trials, None] + [None] * 4
        row = [None, point.name, *_csv_values(point, ranking), *empty, point.epoch, point.top1, point.ended]
        writer.writerow(row)
    return text.getvalue()


def _ranked(point: Ranked, ranking: Ranking) -> Line:
    marks = (CONTENDER if point.contender and ranking.noise.freedom else "") + (FRONT if point.front else "")
    return Line(
        rank=f"{marks} {point.rank}".strip(),
        name=point.name,
        values=_values(point, ranking),
        top1=f"{100 * point.mean:.2f}",
        sd="" if point.sd is None else f"{100 * point.sd:.2f}",
        seeds=str(point.n) if point.n == point.trials else f"{point.n} of {point.trials}",
        p="" if point.p_above is None else "<0.001" if point.p_above < 0.001 else f"{point.p_above:.3f}",
        images_per_s="" if point.images_per_s is None else f"{point.images_per_s:,.0f}",
        ended=point.ended,
    )


def _unranked(point: Unranked, ranking: Ranking) -> Line:
    top1 = "" if point.top1 is None else f"({100 * point.top1:.2f})"
    return Line("", point.name, _values(point, ranking), top1, "", f"0 of {point.trials}", "", "", point.ended)


def _value_width(rows: Sequence[Sequence[str]]) -> int:
    """The most characters that a value may have for all columns to fit: the widest are cut first."""
    natural = [max(map(len, column)) for column in zip(*rows, strict=True)]
    fits = (width for width in range(VALUES_WIDTH, 1, -1) if sum(min(n, width) + 2 for n in natural) <= VALUES_WIDTH)
    return next(fits, 1)


def _values(point: Ranked | Unranked, ranking: Ranking) -> list[str]:
    return [value_text(point.values[key]) if key in point.values else ABSENT for key in ranking.keys]


def _csv_values(point: Ranked | Unranked, ranking: Ranking) -> list[str]:
    return [_exactly(point.values[key]) if key in point.values else "" for key in ranking.keys]


def _exactly(value: Any) -> str:
    return printable(value) if isinstance(value, str) else json.dumps(value)

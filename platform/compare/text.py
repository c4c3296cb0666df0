"""A comparison for a terminal, as Markdown, and its changed images as CSV.

In: a comparison. Out: lines of at most 120 columns; `compare.md` with everything; `changed.csv`.
"""

import csv
import io
from collections.abc import Sequence

from rich.console import Console

from platform.compare.comparison import Comparison
from platform.evaluation.report import IMAGES_OF
from platform.evaluation.statistics.paired import Paired, p_text
from platform.evaluation.text_table import WIDTH, markdown, terminal
from platform.evaluation.verdict import interval_text
from platform.sweep.report.labels import shortened
from platform.sweep.report.table import markdown_text

FIGURES = ["", "run", "members", "top-1 error", "95% interval", "top-5 error", "95% interval", "ECE", "Brier", "NLL"]
PAIRS = ["first", "second", "both right", "only first", "only second", "both wrong", "difference", "95% interval"]
PAIRS += ["p", "Holm"]
NOTES = (
    "95% interval: Wilson's of rates over images, a bootstrap's of differences.",
    "difference: of top-1, first less second, in points.",
    "p: exact McNemar test on the same images; Holm: p corrected for all pairs, under 0.05 it is more than noise.",
    "ECE: 15 bins of equal width; Brier: sum over classes, 0 to 2; NLL: mean negative log-likelihood.",
)
SETTINGS_SHOWN = 15  # on a terminal
LEAST_WIDTH = 12  # of a value
LETTERS = 26


def lines(found: Comparison) -> list[str]:
    """The comparison for a terminal."""
    text = io.StringIO()
    console = Console(file=text, width=WIDTH, color_system=None, highlight=False, markup=False)
    console.print(f"{found.verdict}\n")
    console.print(terminal(title(found), FIGURES, _figures(found), text_columns=[1]))
    console.print(terminal("Pairs: numbers of images, and the difference", PAIRS, _pairs(found), text_columns=[0, 1]))
    shown = found.settings[:SETTINGS_SHOWN]
    if shown:
        room = WIDTH - max(len(key) for key, _ in shown) - 3
        width = max(LEAST_WIDTH, room // len(found.labels) - 2)
        cells = [[key, *(shortened(value, width) for value in values)] for key, values in shown]
        columns = list(range(len(found.labels) + 1))
        heads = ["", *(shortened(f"{_letter(place)} {label}", width) for place, label in enumerate(found.labels))]
        console.print(terminal("Settings that differ", heads, cells, text_columns=columns))
    notes = [f"{changed_text(found)}", *_cautions(found), *NOTES]
    if len(found.settings) > len(shown):
        notes.insert(0, f"{len(found.settings) - len(shown)} more settings differ: see compare.md.")
    for note in notes:
        console.print(note)
    return [line.rstrip() for line in text.getvalue().rstrip().splitlines()]


def markdown_page(found: Comparison) -> str:
    """All of it as Markdown."""
    parts = [f"**{markdown_text(found.verdict)}**", title(found)]
    parts += [markdown([FIGURES, *_escaped(_figures(found))], text_columns=[0, 1])]
    parts += [markdown([PAIRS, *_escaped(_pairs(found))], text_columns=[0, 1])]
    if found.settings:
        heads = ["setting", *map(markdown_text, found.labels)]
        cells = _escaped([[key, *values] for key, values in found.settings])
        parts += ["Settings that differ:", markdown([heads, *cells], text_columns=range(len(heads)))]
    else:
        parts += ["No setting differs."]
    notes = [changed_text(found), *_cautions(found), *NOTES]
    return "\n\n".join([*parts, *map(markdown_text, notes)]) + "\n"


def changed_csv(found: Comparison, classes: Sequence[str]) -> str:
    """The images for which not all runs predict the same class: number in the split, label, each run's class.

    Args:
        found: the comparison.
        classes: names, in the order of the labels; a class without one is its number.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "label", *found.labels])
    for place in found.changed.tolist():
        numbers = [int(found.labels_N[place]), *found.predicted_RN[:, place].tolist()]
        writer.writerow([place, *(_class(number, classes) for number in numbers)])
    return text.getvalue()


def title(found: Comparison) -> str:
    """How many images, and in how many views."""
    images = found.sides[0].entrant.images
    left_out = int((~found.valid_N).sum())
    skipped = f", {left_out} corrupt left out" if left_out else ""
    kind = IMAGES_OF[found.sides[0].entrant.split]
    return f"{len(found.valid_N):,} {kind} images{skipped}, {images.views} crop{'s' * (images.views > 1)} of each"


def changed_text(found: Comparison) -> str:
    """How many images changed."""
    share = f"{len(found.changed):,} of {int(found.valid_N.sum()):,} images"
    return f"{share} have not the same class in all runs: see changed.csv."


def _class(number: int, classes: Sequence[str]) -> str:
    if number < 0:
        return "none"
    return classes[number] if number < len(classes) else str(number)


def _figures(found: Comparison) -> list[list[str]]:
    return [
        [
            _letter(place),
            side.entrant.label,
            str(side.entrant.members),
            f"{100 * side.figures.error:.2f}%",
            interval_text(side.figures.interval),
            f"{100 * side.top5_error:.2f}%",
            interval_text(side.top5_interval),
            f"{side.figures.ece:.3f}",
            f"{side.figures.brier:.3f}",
            f"{side.figures.nll:.3f}",
        ]
        for place, side in enumerate(found.sides)
    ]


def _letter(place: int) -> str:
    """What a run is called in the tables: A for the best."""
    return chr(ord("A") + place) if place < LETTERS else str(place + 1)


def _pairs(found: Comparison) -> list[list[str]]:
    return [[_letter(one), _letter(other), *_counts(each)] for (one, other), each in found.pairs.items()]


def _counts(each: Paired) -> list[str]:
    counts = [f"{count:,}" for count in (each.both, each.first, each.second, each.neither)]
    difference = [f"{100 * each.difference:+.2f}", interval_text(each.interval).removesuffix("%")]
    return [*counts, *difference, p_text(each.p).removeprefix("= "), p_text(each.p_holm).removeprefix("= ")]


def _cautions(found: Comparison) -> list[str]:
    """What is not in it, and what was chosen by the same images."""
    runs = [side.entrant for side in found.sides]
    said = [
        f"{each.label} is compared without members that have no results on these images: {', '.join(each.unfinished)}."
        for each in runs
        if each.unfinished
    ]
    chosen = [f"{each.label} (of {each.tried} trials)" for each in runs if each.tried > 1 and each.split == "val"]
    if chosen:
        said.append(
            f"Of sweeps: {', '.join(chosen)}. What was chosen among several by these images looks better than it is."
        )
    return said


def _escaped(rows: list[list[str]]) -> list[list[str]]:
    return [[markdown_text(cell) for cell in row] for row in rows]

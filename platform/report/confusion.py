"""Which classes are taken for which: a matrix of numbers for few classes, an image and a list of pairs for many.

In: labels, predicted classes and the classes' names. Out: the section.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from platform.drawing.drawing import WIDTH, Drawing, shortened_name
from platform.report.matrices import matrix
from platform.report.section import Absent, Picture, Section, Table
from platform.report.thumbnails import uri_of

TITLE = "Confusion"
NUMBERED = 16  # classes, up to which each cell has its number
PAIRS = 20  # in the list
COARSE = 125  # cells of the image in either direction
BLUE, ORANGE = (61, 143, 209), (232, 112, 32)  # both visible on white and on black
NAME = 40


def section(labels_N: NDArray[np.integer], predicted_N: NDArray[np.integer], classes: Sequence[str]) -> Section:
    """The section of the confusion matrix.

    Args:
        labels_N: of valid images.
        predicted_N: -1 for no class.
        classes: names, in the order of the labels.

    Raises:
        Absent: there is no image.
    """
    if not len(labels_N):
        raise Absent("no image could be decoded")
    known = (predicted_N >= 0) & (predicted_N < len(classes)) & (labels_N >= 0) & (labels_N < len(classes))
    counts_KK = _counts(labels_N[known], predicted_N[known], len(classes))
    wrong = int(counts_KK.sum() - np.trace(counts_KK))
    notes = [f"{wrong:,} of {len(labels_N):,} images are taken for another class."]
    if left_out := int((~known).sum()):
        notes.append(f"{left_out:,} images without a predicted class are left out here.")
    if len(classes) <= NUMBERED:
        notes.append(
            "Rows are labels, columns predicted classes. Colours are shares of the row: blue right, orange wrong."
        )
        drawing = _numbered(counts_KK, classes)
    else:
        notes.append(_coarse_note(len(classes)))
        drawing = _coarse(counts_KK)
    pairs = np.count_nonzero(counts_KK) - np.count_nonzero(np.diag(counts_KK))
    if pairs > PAIRS:
        notes.append(f"The list has the first {PAIRS} of the {pairs:,} pairs of classes that are confused.")
    tables = [_most_confused(counts_KK, classes)] if pairs else []
    return Section("confusion", TITLE, notes, tables, [Picture("confusion", drawing)])


def _counts(labels_N: NDArray[np.integer], predicted_N: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    places = labels_N.astype(np.int64) * classes + predicted_N
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes)


def _numbered(counts_KK: NDArray[np.int64], classes: Sequence[str]) -> Drawing:
    shares_KK = counts_KK / np.maximum(counts_KK.sum(1, keepdims=True), 1)
    shades_KK = np.where(np.eye(len(classes), dtype=bool), 0.85 * shares_KK, np.minimum(0.25 + 2 * shares_KK, 0.95))
    return matrix(
        f"confusion matrix of {len(classes)} classes",
        classes,
        np.where(counts_KK > 0, shades_KK, 0.0),
        lambda row, column: f"{counts_KK[row, column]}" if counts_KK[row, column] else "",
        lambda row, column: "var(--best)" if row == column else "var(--wrong)",
        lambda row, column: (
            f"{counts_KK[row, column]} of {counts_KK[row].sum()} images of {classes[row]} taken for {classes[column]}"
        ),
        axes=("label", "predicted class"),
    )


def _coarse_note(classes: int) -> str:
    several = -(-classes // COARSE)
    cell = (
        f"A cell is {several} x {several} classes in the order of their labels" if several > 1 else "A cell is a pair"
    )
    return f"Rows are labels, columns predicted classes. {cell}; blue is right, orange wrong, stronger is more."


def _coarse(counts_KK: NDArray[np.int64]) -> Drawing:
    """Errors and hits in cells of several classes, as an image in which nothing is transparent."""
    classes = len(counts_KK)
    several = -(-classes // COARSE)
    starts = np.arange(0, classes, several)
    right_KK = np.diag(np.diag(counts_KK))
    right, wrong = (
        np.add.reduceat(np.add.reduceat(counts, starts, 0), starts, 1) for counts in (right_KK, counts_KK - right_KK)
    )
    image = np.zeros((len(starts), len(starts), 4), np.uint8)
    for counts, colour in ((right, BLUE), (wrong, ORANGE)):
        some = counts > 0
        strength = np.log1p(counts) / np.log1p(max(int(counts.max()), 1))
        image[some] = np.column_stack([np.tile(colour, (int(some.sum()), 1)), 70 + 185 * strength[some]])
    side, left, top = WIDTH - 60, 44.0, 22.0
    drawing = Drawing(top + side + 20, f"confusion of {classes} classes, {several} to a cell", WIDTH)
    drawing.rect(left, top, side, side, "var(--soft)")
    drawing.image(left, top, side, side, uri_of(image, COARSE), pixels=True)
    drawing.text(left + side / 2, 12, "predicted class", "quiet small", "middle")
    drawing.text(12, top + side / 2, "label", "quiet small", "middle", turn=-90)
    for number in sorted({0, classes // 4, classes // 2, 3 * classes // 4, classes - 1}):
        place = side * (number + 0.5) / classes
        drawing.text(left - 4, top + place + 4, str(number), "quiet tiny", "end")
        drawing.text(left + place, top + side + 12, str(number), "quiet tiny", "middle")
    return drawing


def _most_confused(counts_KK: NDArray[np.int64], classes: Sequence[str]) -> Table:
    """The pairs of classes that are confused most."""
    wrong_KK = counts_KK.copy()
    np.fill_diagonal(wrong_KK, 0)
    pairs = np.flatnonzero(wrong_KK)
    most = pairs[np.argsort(-wrong_KK.ravel()[pairs], kind="stable")][:PAIRS]
    rows = []
    for place in most:
        label, predicted = divmod(int(place), len(classes))
        count, images = int(wrong_KK[label, predicted]), int(counts_KK[label].sum())
        names = [shortened_name(classes[label], NAME), shortened_name(classes[predicted], NAME)]
        rows.append([*names, f"{count:,} of {images:,}", f"{100 * count / images:.1f}%"])
    return Table(["label", "taken for", "images", "share"], rows, words=(0, 1))

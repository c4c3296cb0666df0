"""How much members differ: the share of images for which two of them predict different classes.

In: predicted classes. Out: a matrix.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from platform.evaluation.statistics.diversity import disagreement
from platform.report.colours import Lines
from platform.report.matrices import matrix
from platform.report.section import Absent, Picture, Section

TITLE = "Disagreement between members"


def section(names: Sequence[str], predicted_MN: NDArray[np.integer], lines: Lines) -> Section:
    """The section of the disagreement matrix.

    Args:
        names: of the members.
        predicted_MN: classes, of valid images.
        lines: how members are drawn.

    Raises:
        Absent: there is one member, or no image.
    """
    if len(names) < 2:
        raise Absent("one model has nobody to disagree with")
    if not predicted_MN.shape[1]:
        raise Absent("no image could be decoded")
    shares = disagreement(predicted_MN)
    pairs = shares[np.triu_indices(len(names), 1)]
    drawing = matrix(
        "share of validation images for which two members predict different classes",
        names,
        _shades(shares),
        lambda row, column: "" if row == column else f"{100 * shares[row, column]:.1f}",
        lambda row, column: "var(--best)",
        lambda row, column: f"{names[row]} and {names[column]}: {100 * shares[row, column]:.2f}%",
        name_colours=[lines[name].colour for name in names],
    )
    notes = [
        "In % of the images: for so many two members predict different classes, right or wrong. Two of them differ for "
        f"{100 * pairs.mean():.1f}% on average. Averaging helps where members err on different images; members that "
        "never disagree are one model."
    ]
    return Section("disagreement", TITLE, notes, pictures=[Picture("disagreement", drawing)])


def _shades(shares_MM: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = float(shares_MM.max())
    return 0.9 * shares_MM / largest if largest else shares_MM

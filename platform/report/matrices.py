"""Matrices of shares as coloured cells, with numbers where there is room for them.

In: values and names. Out: a drawing.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from platform.drawing.drawing import WIDTH, Drawing, shortened_name

LEAST_CELL = 27.0  # units, for a number to be read
NAME = 16


def matrix(
    title: str,
    names: Sequence[str],
    shade_RC: NDArray[np.float64],
    text: Callable[[int, int], str],
    colour: Callable[[int, int], str],
    tip: Callable[[int, int], str],
    axes: tuple[str, str] = ("", ""),
    name_colours: Sequence[str] | None = None,
) -> Drawing:
    """Draw a square matrix.

    Args:
        title: for those who do not see it.
        names: of rows and columns.
        shade_RC: how strongly each cell is coloured, 0 to 1.
        text: in a cell, by row and column.
        colour: of a cell, in CSS.
        tip: shown under the pointer.
        axes: what rows and columns are.
        name_colours: of the names, in CSS.
    """
    longest = max(len(shortened_name(name, NAME)) for name in names)
    left = 14 + (16 if axes[0] else 0) + 6.6 * longest
    cell = max((WIDTH - left - 6) / len(names), LEAST_CELL)
    cell = min(cell, 46.0)
    slanted = longest > cell / 7
    top = (16 if axes[1] else 0) + (14 + 4.9 * longest if slanted else 20)
    side = cell * len(names)
    drawing = Drawing(top + side + 6, title, max(WIDTH, left + side + (4.9 * longest - cell / 2 if slanted else 6)))
    if axes[0]:
        drawing.text(12, top + side / 2, axes[0], "quiet small", "middle", turn=-90)
        drawing.text(left + side / 2, 12, axes[1], "quiet small", "middle")
    for number, name in enumerate(names):
        hue, middle = name_colours[number] if name_colours else "", cell * (number + 0.5)
        drawing.text(left - 5, top + middle + 4, shortened_name(name, NAME), "small", "end", hue)
        if slanted:
            drawing.text(left + middle, top - 5, shortened_name(name, NAME), "small", "start", hue, turn=-45)
        else:
            drawing.text(left + middle, top - 6, shortened_name(name, NAME), "small", "middle", hue)
    for row in range(len(names)):
        for column in range(len(names)):
            x, y, shade = left + cell * column, top + cell * row, float(shade_RC[row, column])
            drawing.rect(x, y, cell - 1, cell - 1, "var(--soft)")
            if shade > 0:
                drawing.rect(x, y, cell - 1, cell - 1, colour(row, column), min(shade, 0.99), tip(row, column))
            shown = text(row, column)
            if shown:
                kind = f"{'small' if len(shown) * 7 < cell else 'tiny'}{' on-colour' if shade > 0.6 else ''}"
                drawing.text(x + (cell - 1) / 2, y + cell / 2 + 3.5, shown, kind, "middle")
    return drawing

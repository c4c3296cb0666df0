"""The parts of the picture: a layer's block, an arrow.

In: where they are. Out: shapes in a drawing.
"""

import re
from collections.abc import Sequence

from platform.drawing.drawing import Drawing, shortened
from platform.summary.layers import ATTENTION, CONV, LINEAR, MATMUL, POOL, Layer
from platform.summary.picture.layout import BLOCK_HEIGHT, BLOCK_WIDTH, Arrow
from platform.summary.table import count

TIMES = "\u00d7"
COLOURS = {
    CONV: "var(--conv)",
    POOL: "var(--pool)",
    LINEAR: "var(--linear)",
    ATTENTION: "var(--attention)",
    MATMUL: "var(--attention)",
}
OTHER_COLOUR = "var(--quiet)"


def draw_block(drawing: Drawing, x: float, y: float, layers: Sequence[Layer], costliest: int) -> None:
    """A layer, filled by its share of the multiply-adds of the costliest; x is its middle."""
    colour = COLOURS.get(layers[0].kind, OTHER_COLOUR)
    cost, parameters = (sum(getattr(each, key) for each in layers) for key in ("multiply_adds", "parameters"))
    tip = f"{layers[0].what}: {count(cost)} multiply-adds, {parameters:,} parameters"
    left = x - BLOCK_WIDTH / 2
    drawing.box(left, y, BLOCK_WIDTH, BLOCK_HEIGHT, "var(--block)", colour, 4, tip=tip)
    if cost:
        drawing.rect(left, y, BLOCK_WIDTH * min(cost / costliest, 1), BLOCK_HEIGHT, colour, 0.38, tip)
    text = signed(layers[0].what) if len(layers) == 1 else f"{len(layers)} layers"
    drawing.text(x, y + 16, shortened(text, 13), "small", "middle")


def draw_arrow(drawing: Drawing, arrow: Arrow, x: float, y: float) -> None:
    """An arrow with the width that goes along it, from where a stage's middle and top are."""
    x1, y1, x2, y2 = x + arrow.x1, y + arrow.y1, x + arrow.x2, y + arrow.y2
    if abs(x1 - x2) < 1:
        drawing.line(x1, y1, x2, y2 - 3 * arrow.has_head, "flow")
    else:
        drawing.curve(x1, y1, x2, y2 - 3 * arrow.has_head)
    if arrow.has_head:
        drawing.arrowhead(x2, y2)
    if arrow.label:  # on the side that the line does not turn to
        on_left = x2 > x1 + 1
        drawing.text(x1 - 5 if on_left else x1 + 5, y1 + 14, arrow.label, "tiny quiet", "end" if on_left else "start")


def signed(text: str) -> str:
    """With the sign of multiplication in sizes such as 3x3."""
    return re.sub(r"(?<=\d)x(?=\d)", TIMES, text)

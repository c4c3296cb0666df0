"""The picture of a network as SVG, from the images down to the classes.

In: a network. Out: a Drawing. On the left what a stage is and the size of its maps; in the middle its layers, filled by
their share of the costliest layer's multiply-adds; on the right squares whose areas are the stage's multiply-adds and
parameters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from platform.drawing.drawing import Drawing, shortened
from platform.summary.branches import Branches
from platform.summary.layers import ATTENTION, CONV, LINEAR, POOL
from platform.summary.network import Network
from platform.summary.picture.blocks import COLOURS, TIMES, draw_arrow, draw_block, signed
from platform.summary.picture.layout import BAR, DOWN, KNOT, Arrow, Plan, plan_of
from platform.summary.repeats import Group, groups_of
from platform.summary.table import count, headline, shape_text

LEFT = 132.0  # of the names
RIGHT = 212.0  # of the squares
PADDING = 14.0  # of panels
TOP = 84.0  # of the title and legend
SIDE = 40.0  # of the largest square
AUXILIARY_GAP = 34.0
LEAST_CENTRE = 350.0  # so that the title has room
LEGEND = ((CONV, "convolution"), (POOL, "pooling"), (LINEAR, "linear"), (ATTENTION, "attention"))


@dataclass(frozen=True)
class _Placed:
    """A group of stages with its plan; y of its panel's top."""

    group: Group
    plan: Plan
    y: float

    @property
    def has_panel(self) -> bool:
        return len(self.plan.blocks) > 1

    @property
    def padding(self) -> float:
        return PADDING if self.has_panel else 0.0

    @property
    def bottom(self) -> float:
        return self.y + self.plan.height + 2 * self.padding


def picture_of(network: Network) -> Drawing:
    """Draw a network."""
    main = _placed(groups_of(network.main), TOP + DOWN + 12)
    centre_width = max([LEAST_CENTRE, *(each.plan.width + 2 * each.padding for each in main)])
    auxiliary = _beside(main, groups_of(network.auxiliary))
    auxiliary_width = max((each.plan.width + 2 * each.padding for each in auxiliary), default=0.0)
    middle = LEFT + centre_width / 2
    width = LEFT + centre_width + (AUXILIARY_GAP + auxiliary_width if auxiliary else 0.0) + RIGHT
    height = max(each.bottom for each in [*main, *auxiliary]) + 44
    drawing = Drawing(height, headline(network), width)
    costliest = max((layer.multiply_adds for stage in network.stages for layer in stage.layers), default=0) or 1
    _head(drawing, network, main, width)
    for each in main:
        _panel(drawing, each, middle)
    _chain(drawing, network, main, middle)
    for each in main:
        _stage(drawing, each, middle, costliest)
        _left(drawing, each)
    beside = LEFT + centre_width + AUXILIARY_GAP + auxiliary_width / 2
    for each in auxiliary:
        _branch_off(drawing, each, _source(main, each), middle, beside)
        _panel(drawing, each, beside)
        draw_arrow(drawing, Arrow(beside, each.y - 8, beside, each.y + each.padding), 0, 0)
        _stage(drawing, each, beside, costliest)
        drawing.text(beside + 8, each.y - 7, _end_of(each.group.name, 24), "small strong")
    _squares(drawing, main, width - RIGHT + 18)
    return drawing


def _placed(groups: Sequence[Group], y: float) -> list[_Placed]:
    found: list[_Placed] = []
    for group in groups:
        found.append(_Placed(group, plan_of(group.series), y))
        y = found[-1].bottom + DOWN + 4
    return found


def _source(main: Sequence[_Placed], head: _Placed) -> _Placed | None:
    """Of an auxiliary head: the group that it reads."""
    wanted = head.group.first.sources[0]
    return next((each for each in main if any(stage.number == wanted for stage in each.group.stages)), None)


def _beside(main: Sequence[_Placed], groups: Sequence[Group]) -> list[_Placed]:
    """The auxiliary heads, each from the stage that it reads on downwards, none over another."""
    found: list[_Placed] = []
    free = 0.0
    for group in groups:
        placed = _Placed(group, plan_of(group.series), 0.0)
        source = _source(main, placed)
        y = max((source.bottom if source else TOP) + DOWN + 8, free)
        found.append(_Placed(group, placed.plan, y))
        free = found[-1].bottom + 2 * DOWN
    return found


def _head(drawing: Drawing, network: Network, main: Sequence[_Placed], width: float) -> None:
    drawing.text(16, 26, shortened(network.label, 60), "title")
    said = headline(network).partition(", ")[2]
    drawing.text(16, 44, said, "quiet")
    kinds = {layer.kind for stage in network.stages for layer in stage.layers}
    x = 16.0
    for kind, words in LEGEND:
        if kind in kinds:
            drawing.box(x, 57, 12, 12, "var(--block)", COLOURS[kind], 3)
            drawing.rect(x, 57, 6, 12, COLOURS[kind], 0.4)
            drawing.text(x + 17, 67, words, "small")
            x += 30 + 6 * len(words)
    drawing.text(x + 4, 67, "filled: share of the costliest layer's multiply-adds", "small quiet")


def _chain(drawing: Drawing, network: Network, main: Sequence[_Placed], middle: float) -> None:
    """The arrows between the stages, from the images to the classes."""
    size = network.image_size
    drawing.text(16, TOP + 3, "images", "strong")
    drawing.text(16, TOP + 16, signed(f"{size}x{size}x3"), "small")
    begin, edge, label = TOP + 2, TOP + 2, "3"
    before: Group | None = None
    for each in main:
        forks = isinstance(each.group.series.items[0], Branches) if each.group.series.items else False
        draw_arrow(drawing, Arrow(middle, begin, middle, each.y + each.padding, has_head=not forks), 0, 0)
        drawing.text(middle + 5, edge + 14, label, "tiny quiet")
        if before is not None and each.group.first.sources != (before.last.number,):
            drawing.text(middle + 34, edge + 14, f"from {len(each.group.first.sources)} stages", "tiny quiet")
        before, begin, edge, label = each.group, each.bottom - each.padding, each.bottom, _width_text(each.group)
    draw_arrow(drawing, Arrow(middle, begin, middle, edge + DOWN, label), 0, 0)


def _width_text(group: Group) -> str:
    shape = group.last.shape
    return str(shape[0] if len(shape) == 3 else shape[-1])


def _stage(drawing: Drawing, placed: _Placed, middle: float, costliest: int) -> None:
    y = placed.y + placed.padding
    for arrow in placed.plan.arrows:
        draw_arrow(drawing, arrow, middle, y)
    for bar in placed.plan.bars:
        drawing.box(middle + bar.x - bar.width / 2, y + bar.y, bar.width, BAR, "var(--line)", "none", 4)
        drawing.text(middle + bar.x, y + bar.y + 11, "concatenate", "tiny", "middle")
    for knot in placed.plan.knots:
        drawing.box(middle + knot.x - KNOT, y + knot.y - KNOT, 2 * KNOT, 2 * KNOT, "var(--line)", "none", KNOT)
        sign = {"add": "+", "multiply": TIMES}.get(knot.layer.kind, "·")
        drawing.text(middle + knot.x, y + knot.y + 4, sign, "strong", "middle")
    for block in placed.plan.blocks:
        draw_block(drawing, middle + block.x, y + block.y, block.layers, costliest)


def _panel(drawing: Drawing, placed: _Placed, middle: float) -> None:
    if not placed.has_panel:
        return
    width, height = placed.plan.width + 2 * PADDING, placed.bottom - placed.y
    x, times = middle - width / 2, len(placed.group.stages)
    dash = "4 3" if placed.group.first.is_auxiliary else ""
    if times > 1:
        for behind in (6, 3):
            drawing.box(x + behind, placed.y + behind, width, height, "var(--panel)", "var(--line)", 8)
    drawing.box(x, placed.y, width, height, "var(--panel)", "var(--line)", 8, dash)
    if times > 1:
        drawing.text(x + width - 8, placed.y + 17, f"{TIMES} {times}", "strong", "end")


def _branch_off(drawing: Drawing, head: _Placed, source: _Placed | None, middle: float, beside: float) -> None:
    """The line from the output of a stage to the auxiliary head that reads it."""
    if source is not None:
        y = source.bottom + 20  # below the width of what goes on
        drawing.line(middle, y, beside, y, "flow")
        drawing.line(beside, y, beside, head.y - 8, "flow")


def _left(drawing: Drawing, placed: _Placed) -> None:
    group = placed.group
    y = placed.y + (18 if placed.has_panel else 11)
    drawing.text(16, y, _end_of(group.name, 17), "strong")
    if placed.has_panel:
        drawing.text(16, y + 14, shortened(group.first.kind, 20), "small quiet")
        drawing.text(16, y + 28, signed(shape_text(group.last.shape)), "small")
    else:
        drawing.text(16, y + 13, signed(shape_text(group.last.shape)), "small")


def _squares(drawing: Drawing, main: Sequence[_Placed], x: float) -> None:
    """Two columns of squares: their areas are multiply-adds and parameters, each by its own scale."""
    columns = (
        ("multiply-adds", "var(--conv)", [each.group.multiply_adds for each in main]),
        ("parameters", "var(--linear)", [each.group.parameters for each in main]),
    )
    for place, (words, colour, values) in enumerate(columns):
        left, most = x + 100 * place, max([*values, 1])
        drawing.text(left, TOP + 16, words, "small strong")
        for each, value in zip(main, values, strict=True):
            if not value:
                continue
            side = max(SIDE * math.sqrt(value / most), 1.0)
            y = (each.y + each.bottom) / 2
            drawing.rect(left, y - side / 2, side, side, colour, 0.75)
            drawing.text(left + side + 5, y + 4, count(value), "small")


def _end_of(path: str, length: int) -> str:
    """A module's path, by its end where it is long."""
    return path if len(path) <= length else "\u2026" + path[1 - length :]

"""Where the blocks of a stage are: series downwards, branches side by side.

In: a series of layers. Out: placed blocks, arrows between them and widths beside the arrows, in units, from the
middle of the stage's top.
"""

from dataclasses import dataclass, field

from platform.summary.branches import Branches, Item, Series, Tangle
from platform.summary.layers import CONCAT, Layer

BLOCK_WIDTH, BLOCK_HEIGHT = 76.0, 24.0
DOWN = 24.0  # of an arrow between blocks
FORK = 26.0  # of the arrows to branches, and of those that come together
BESIDE = 16.0  # between branches
SKIP_WIDTH = 30.0  # of a branch without layers
BAR = 15.0  # height of a concatenation
KNOT = 9.0  # radius of a sum


@dataclass(frozen=True)
class Block:
    """A layer, or several that cannot be told apart; x of its middle, y of its top."""

    x: float
    y: float
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Bar:
    """A concatenation over branches."""

    x: float
    y: float
    width: float
    layer: Layer


@dataclass(frozen=True)
class Knot:
    """A sum or product; y of its middle."""

    x: float
    y: float
    layer: Layer


@dataclass(frozen=True)
class Arrow:
    """From a point down to another; `label`: the width that goes along it, beside its beginning or end."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str = ""
    has_head: bool = True


@dataclass
class Plan:
    """What is drawn of a stage."""

    blocks: list[Block] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    knots: list[Knot] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


@dataclass(frozen=True)
class _End:
    """Where an item's output leaves it, and its width in channels; a label that is told already is empty."""

    y: float
    label: str


def plan_of(series: Series) -> Plan:
    """Place a stage; its input comes in, and its output leaves, in the middle."""
    plan = Plan(width=width_of(series), height=height_of(series))
    _place(plan, series, 0.0, 0.0)
    return plan


def width_of(series: Series) -> float:
    """Of the widest item."""
    return max((_item_width(item) for item in series.items), default=SKIP_WIDTH)


def height_of(series: Series) -> float:
    """Of all items and the arrows between them."""
    heights = [_item_height(item) for item in series.items]
    return sum(heights) + DOWN * max(len(heights) - 1, 0)


def _item_width(item: Item) -> float:
    if isinstance(item, Branches):
        return sum(width_of(branch) for branch in item.branches) + BESIDE * (len(item.branches) - 1)
    return BLOCK_WIDTH + 30 * isinstance(item, Tangle)


def _item_height(item: Item) -> float:
    if not isinstance(item, Branches):
        return BLOCK_HEIGHT
    tallest = max(height_of(branch) for branch in item.branches)
    return FORK + tallest + FORK + _joint_height(item)


def _joint_height(item: Branches) -> float:
    if item.joint is None:
        return 0.0
    return BAR if item.joint.kind == CONCAT else 2 * KNOT


def _place(plan: Plan, series: Series, x: float, y: float) -> _End:
    end = _End(y, "")
    for place, item in enumerate(series.items):
        if place:
            forks = isinstance(item, Branches)
            label = end.label
            plan.arrows.append(Arrow(x, end.y, x, end.y + DOWN, label, has_head=not forks))
            y = end.y + DOWN
        end = _place_branches(plan, item, x, y) if isinstance(item, Branches) else _place_block(plan, item, x, y)
    return end


def _place_block(plan: Plan, item: Layer | Tangle, x: float, y: float) -> _End:
    layers = item.layers if isinstance(item, Tangle) else (item,)
    plan.blocks.append(Block(x, y, layers))
    return _End(y + BLOCK_HEIGHT, label_of(layers[-1]))


def label_of(layer: Layer) -> str:
    """The width of what leaves a layer."""
    return str(layer.width)


def _place_branches(plan: Plan, item: Branches, x: float, y: float) -> _End:
    tallest = max(height_of(branch) for branch in item.branches)
    left = x - _item_width(item) / 2
    bottom = y + FORK + tallest + FORK
    ends: list[tuple[float, _End]] = []
    for branch in item.branches:
        width = width_of(branch)
        middle, top = left + width / 2, y + FORK
        left += width + BESIDE
        if branch.items:
            plan.arrows.append(Arrow(x, y, middle, top))
            ends.append((middle, _place(plan, branch, middle, top)))
        else:  # what comes in goes on
            plan.arrows.append(Arrow(x, y, middle, y + FORK, has_head=False))
            ends.append((middle, _End(y + FORK, "")))
    _join(plan, item, x, bottom, ends)
    return _End(bottom + _joint_height(item), label_of(item.joint) if item.joint else "")


def _join(plan: Plan, item: Branches, x: float, bottom: float, ends: list[tuple[float, _End]]) -> None:
    """Arrows from the branches to what brings them together."""
    bar = item.joint if item.joint is not None and item.joint.kind == CONCAT else None
    for middle, end in ends:
        if bar:
            plan.arrows.append(Arrow(middle, end.y, middle, bottom, end.label))
            continue
        turn, label = bottom - FORK, end.label
        if end.y < turn:
            plan.arrows.append(Arrow(middle, end.y, middle, turn, label, has_head=False))
            label = ""
        plan.arrows.append(Arrow(middle, max(turn, end.y), x, bottom, label))
    if bar:
        first, last = ends[0][0], ends[-1][0]
        reach = BLOCK_WIDTH / 2
        plan.bars.append(Bar((first + last) / 2, bottom, last - first + 2 * reach, bar))
    elif item.joint is not None:
        plan.knots.append(Knot(x, bottom + KNOT, item.joint))

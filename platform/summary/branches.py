"""The layers of a stage as series and branches: what they are drawn and told by.

In: layers, each with its inputs. Out: a Series, whose items are layers, branches side by side, or a tangle: layers
whose connections cannot be told apart that way (DenseNet's).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from platform.summary.layers import ADD, ATTENTION, CONCAT, POOL, Layer

SOURCE = -1


@dataclass(frozen=True)
class Branches:
    """Side by side: all of them get what comes before, the joint gets what comes of all.

    Args:
        branches: an empty one passes its input on.
        joint: brings them together; None: what follows does.
    """

    branches: tuple["Series", ...]
    joint: Layer | None = None


@dataclass(frozen=True)
class Tangle:
    """Layers that feed one another in a way that is no series of branches."""

    layers: tuple[Layer, ...]


Item = Layer | Branches | Tangle


@dataclass(frozen=True)
class Series:
    """One after the other."""

    items: tuple[Item, ...] = ()


def series_of(layers: Sequence[Layer]) -> Series:
    """The structure of a stage's layers."""
    sink = len(layers)
    edges = {(each, layer.number) for layer in layers for each in layer.inputs}
    edges |= {(SOURCE, layer.number) for layer in layers if layer.from_outside or not layer.inputs}
    with_readers = {start for start, _ in edges}
    edges |= {(layer.number, sink) for layer in layers if layer.number not in with_readers}
    return _Graph(layers, edges).series(range(sink), SOURCE, sink)


class _Graph:
    def __init__(self, layers: Sequence[Layer], edges: set[tuple[int, int]]) -> None:
        self._layers, self._edges = layers, edges

    def series(self, nodes: Collection[int], source: int, sink: int) -> Series:
        """Of the nodes between two others."""
        items: list[Item] = []
        chain = [source, *self._unavoidable(nodes, source, sink), sink]
        for start, end in zip(chain, chain[1:], strict=False):
            between = [each for each in nodes if start < each < end]
            skipped = (start, end) != (source, sink) and (start, end) in self._edges  # that one is a branch of its own
            side_by_side = self._side_by_side(between, start, end, skipped=skipped)
            joint = self._layers[end] if end != len(self._layers) and end != sink else None
            if len(side_by_side) > 1:
                own = joint if joint is not None and joint.is_joint else None
                items.append(Branches(side_by_side, own))
                joint = None if own else joint
            elif side_by_side:
                items += side_by_side[0].items
            if joint is not None:
                items.append(joint)
        return Series(tuple(items))

    def _side_by_side(self, nodes: Sequence[int], start: int, end: int, *, skipped: bool) -> tuple[Series, ...]:
        """The branches between two nodes; none: an arrow is all there is."""
        parts = self._components(nodes)
        if len(parts) == 1 and not skipped:
            return (Series((Tangle(tuple(self._layers[each] for each in nodes)),)),)
        branches = tuple(self.series(part, start, end) for part in parts)
        return (*branches, Series()) if branches and skipped else branches

    def _unavoidable(self, nodes: Collection[int], source: int, sink: int) -> list[int]:
        """Nodes that are on every way."""
        there, back = {source: 1}, {sink: 1}
        for node in sorted(nodes):
            there[node] = sum(there.get(start, 0) for start, end in self._edges if end == node)
        for node in sorted(nodes, reverse=True):
            back[node] = sum(back.get(end, 0) for start, end in self._edges if start == node)
        ways = sum(back[end] for start, end in self._edges if start == source and end in back and end != sink)
        return [node for node in sorted(nodes) if there[node] * back[node] == ways]

    def _components(self, nodes: Sequence[int]) -> list[list[int]]:
        """Nodes that hang together, in order."""
        left, found = set(nodes), []
        while left:
            part, waiting = set(), [min(left)]
            while waiting:
                node = waiting.pop()
                if node in part:
                    continue
                part.add(node)
                waiting += [end for start, end in self._edges if start == node and end in left]
                waiting += [start for start, end in self._edges if end == node and start in left]
            left -= part
            found.append(sorted(part))
        return found


def text_of(series: Series) -> str:
    """The widths of a stage in a line: `64 | 96-128 | 16-32 | pool-32`; `64-64-256 + skip`."""
    if len(series.items) == 1 and isinstance(series.items[0], Branches):
        return _beside(series.items[0])
    return "-".join(_item_text(item) for item in series.items)


def _item_text(item: Item) -> str:
    match item:
        case Branches():
            return f"({_beside(item)})"
        case Tangle(layers):
            return f"[{len(layers)} layers]"
        case Layer():
            return {POOL: "pool", ATTENTION: "attention"}.get(item.kind, str(item.width))


def _beside(item: Branches) -> str:
    sign = {CONCAT: " | ", ADD: " + "}.get(item.joint.kind if item.joint else CONCAT, " * ")
    return sign.join(text_of(branch) if branch.items else "skip" for branch in item.branches)

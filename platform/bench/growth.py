"""How a cost grows with a size: what was measured at each of several sizes, and the exponent between them.

In: sizes and costs. Out: figures `scale.NAME.SIZE` and `scale.NAME.growth`.
"""

import math
from collections.abc import Mapping

from platform.bench.figures import Figures


def exponent(costs: Mapping[int, float]) -> float:
    """The power of the size that the cost grows by: 0 constant, 1 linear, 2 quadratic. By least squares of the
    logarithms; of costs that are nowhere above 0 it is 0.

    Args:
        costs: size -> cost, of two sizes or more.
    """
    least = min((cost for cost in costs.values() if cost > 0), default=1.0)
    points = [(math.log(size), math.log(max(cost, least))) for size, cost in costs.items()]
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def add_growth(figures: Figures, name: str, costs: Mapping[int, float], meaning: str, per: str) -> None:
    """Add what something costs at each size, and how that grows.

    Args:
        figures: get `scale.NAME.SIZE` and `scale.NAME.growth`.
        name: of the row.
        costs: size -> cost.
        meaning: what is counted, with its unit.
        per: what the size counts, e.g. `shards`.
    """
    for size, cost in costs.items():
        figures.add(f"scale.{name}.{size}", cost, f"{meaning}, {size:,} {per}")
    figures.add(f"scale.{name}.growth", exponent(costs), f"it grows by this power of the {per}: 0 constant, 1 linear")

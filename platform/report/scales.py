"""Numbers to places: scales with round ticks, labels that keep their distance, curves thinned to what can be seen."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

STRETCHED_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)
MOST_TICKS = 8  # of a logarithmic scale


@dataclass(frozen=True)
class Scale:
    """Maps `low` .. `high` to the places `start` .. `stop`; `shape` bends it and rises."""

    low: float
    high: float
    start: float
    stop: float
    ticks: tuple[float, ...]
    shape: Callable[[float], float] = float

    def __call__(self, value: float) -> float:
        low, high = self.shape(self.low), self.shape(self.high)
        share = (self.shape(min(max(value, self.low), self.high)) - low) / (high - low)
        return self.start + share * (self.stop - self.start)


def linear(
    values: Sequence[float], start: float, stop: float, *, count: int = 5, zero: bool = False, tight: bool = False
) -> Scale:
    """A scale over all values, from a round number to a round number; `zero`: from 0, `tight`: to the largest value."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = (0.0 if zero else min(finite)), max(finite)
    if high - low <= 1e-9 * max(abs(high), abs(low)):
        around = abs(low) / 10 or 0.5  # so that what cannot be below 0 does not have ticks there
        low, high = (low, low + 1.0) if zero else (low - around, low + around)
    step = round_step((high - low) / count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(step * number for number in range(first, last + 1))
    if tight:
        return Scale(ticks[0], high, start, stop, tuple(tick for tick in ticks if tick <= high))
    return Scale(ticks[0], ticks[-1], start, stop, ticks)


def logarithmic(values: Sequence[float], start: float, stop: float) -> Scale:
    """A scale over all values above 0 that gives each factor the same room, with ticks at 1, 2, 5, 10, 20 ..."""
    positive = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
    low, high = min(positive), max(positive)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    rounds = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    first = max(tick for tick in rounds if tick <= low)
    last = min(tick for tick in rounds if tick >= high and tick > first)
    ticks = [tick for tick in rounds if first <= tick <= last]
    if len(ticks) > MOST_TICKS:
        ticks = [first, *(tick for tick in ticks[1:-1] if f"{tick:.0e}".startswith("1")), last]
    return Scale(first, last, start, stop, tuple(ticks), math.log)


def toward_one(values: Sequence[float], start: float, stop: float, samples: int) -> Scale:
    """A scale of shares that gives each halving of what is missing to 1 the same room: 90%, 95%, 97.5% ...

    Args:
        values: 0 to 1.
        start: place of the smallest.
        stop: place of the largest.
        samples: that the shares were counted over; 1 is shown where half a sample is missing.
    """
    least = 0.5 / max(samples, 1)

    def shape(value: float) -> float:
        return -math.log(max(1 - value, least))

    low, high = min(values), max(values)
    shown = [tick for tick in STRETCHED_TICKS if 1 - tick > least]
    low = max((tick for tick in shown if tick <= low), default=0.0)
    high = min((tick for tick in shown if tick >= high and tick > low), default=1.0)
    ticks = tuple(tick for tick in (*STRETCHED_TICKS, 1.0) if low <= tick <= high)
    return Scale(low, high, start, stop, ticks, shape)


def round_step(step: float) -> float:
    """The next of 1, 2, 5, 10, 20 ... that is not below."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * (1 - 1e-9))


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels near where they belong, in the same order and at least `gap` apart (less, evenly, where all
    do not fit between `low` and `high`)."""
    if not places:
        return []
    gap = min(gap, (high - low) / max(len(places) - 1, 1))
    order = sorted(range(len(places)), key=lambda number: places[number])
    found = [min(max(places[number], low), high) for number in order]
    for number in range(1, len(found)):
        found[number] = max(found[number], found[number - 1] + gap)
    found[-1] = min(found[-1], high)
    for number in reversed(range(len(found) - 1)):
        found[number] = min(found[number], found[number + 1] - gap)
    return [place for _, place in sorted(zip(order, found, strict=True))]


def thinned(points: Sequence[tuple[float, float]], most: int = 240) -> list[tuple[float, float]]:
    """At most about `most` points of a curve: both ends, and of each stretch the lowest and the highest."""
    if len(points) <= most:
        return list(points)
    bounds = [round(number * len(points) / (most // 2)) for number in range(most // 2 + 1)]
    kept = {0, len(points) - 1}
    for start, stop in pairwise(bounds):
        kept.add(min(range(start, stop), key=lambda place: points[place][1]))
        kept.add(max(range(start, stop), key=lambda place: points[place][1]))
    return [points[place] for place in sorted(kept)]

"""Which points of a sweep make an ensemble: the best, or the best that differ in kind. (The third way is in greedy.py.)

In: points ranked best first, the values of each. Out: point numbers in the order they were taken. Pure.
"""

from typing import Any

from platform.sweep.trial_store import Point


def best(ranked: list[int], count: int) -> list[int]:
    """The first `count` points."""
    return ranked[:count]


def diverse(ranked: list[int], values: dict[int, Point], count: int) -> list[int]:
    """The best points of which no two differ in numbers only, filled up with the next best if these are too few.

    Args:
        ranked: point numbers, best first.
        values: point number -> swept key -> value.
        count: how many to take.
    """
    taken: list[int] = []
    for point in ranked:
        if all(kind(values[point]) != kind(values[other]) for other in taken):
            taken.append(point)
    left = [point for point in ranked if point not in taken]
    return (taken + left)[:count]


def kind(values: Point) -> Point:
    """The values of a point that are no numbers or lists of numbers: groups, names, booleans."""
    return {key: value for key, value in values.items() if not _is_numeric(value)}


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_numeric, value))
    return isinstance(value, int | float) and not isinstance(value, bool)

"""What a sweep varies: `sweep.space` as parameters, and the points of a grid or at random.

In: dotted config keys or config groups, each with what it may be:

    sampling: [multi_scale, small_crops]                       choices: here of a config group
    optim.lr: {low: 0.003, high: 0.1, log: true}               a range; random and tpe draw from it
    optim.weight_decay: {low: 1e-5, high: 1e-3, log: true, points: 3}   three of a range, for a grid
    training.batch_size: {low: 16, high: 64, step: 16}         16, 32, 48, 64; whole numbers stay whole
    schedule.factor: {choices: [0.94, 0.96], when: {schedule: [googlenet, inception]}}

Out: points: key -> value, without the keys whose `when` does not hold.
"""

import itertools
import math
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from platform.config.checks import require
from platform.overrides import override
from platform.sweep.trial_store import Point

ENTRIES = ("choices", "low", "high", "log", "step", "points", "when")
KEY = re.compile(r"[A-Za-z_]\w*([./]\w+)*", re.ASCII)
VALUES_LIMIT = 100_000  # values of one range
COUNT_LIMIT = 100_000  # combinations of keys with conditions that are counted
ROUNDED = Fraction(1, 10**9)  # of a step that is forgiven: 0.3333333333 goes three times into 1
SHOWN = 12  # choices in a line


@dataclass(frozen=True)
class Parameter:
    """One swept key: either `choices`, or a range from `low` to `high`, both included."""

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    integer: bool = False
    when: dict[str, list[Any]] = field(default_factory=dict)  # other key -> values with which this key is used

    def applies(self, point: Point) -> bool:
        """Whether a point with these values has this key: its `when` holds."""
        return all(key in point and point[key] in values for key, values in self.when.items())

    def draw(self, draws: random.Random) -> Any:
        """A random value: a choice, or uniform in the range, or in its logarithm."""
        if self.choices:
            return draws.choice(self.choices)
        if self.integer and not self.log:
            return draws.randint(int(self.low), int(self.high))
        margin = 0.5 if self.integer else 0.0  # the ends of whole numbers are as wide as the others
        if self.log:
            value = math.exp(draws.uniform(math.log(self.low - margin), math.log(self.high + margin)))
        else:
            value = draws.uniform(self.low, self.high)
        value = round(value) if self.integer else value
        return min(max(value, self.low), self.high)  # the exponential may round beyond

    @property
    def text(self) -> str:
        """As shown in the plan: `0.003 to 0.1 (log)`, `multi_scale, small_crops`."""
        shown = [*map(_text, self.choices)]
        if len(shown) > SHOWN:
            shown = [*shown[: SHOWN - 2], "...", f"{shown[-1]} ({len(shown)} values)"]
        found = ", ".join(shown) or f"{self.low:g} to {self.high:g}"
        found += " (log)" if self.log and not self.choices else ""
        conditions = " and ".join(f"{key} is {' or '.join(map(_text, values))}" for key, values in self.when.items())
        return found + (f"   where {conditions}" if conditions else "")


def parameters(space: dict[str, Any]) -> list[Parameter]:
    """The parameters of `sweep.space`, each after those that its `when` names.

    Raises:
        ConfigError: an empty or impossible one, or a condition on what is not swept.
    """
    require(bool(space), "sweep.space is empty; give keys and what they may be, or choose a sweep=NAME")
    found = {key: _parameter(key, entry) for key, entry in space.items()}
    for parameter in found.values():
        for key, values in parameter.when.items():
            name = f"sweep.space.{parameter.key}.when"
            require(key in found, f"{name} asks for {key}, which is not in sweep.space; add it, or leave the when out")
            known = found[key].choices
            missing = [value for value in values if known and value not in known]
            require(bool(values), f"{name}.{key} is empty; give a list of values")
            require(bool(known), f"{name} asks for {key}, which is a range; only choices can be asked for")
            require(not missing, f"{name}.{key} has {missing}, which {key} never is; it is one of {list(known)}")
    return _sorted(found)


def grid(space: list[Parameter]) -> Iterator[Point]:
    """Every combination of choices, the last key changing fastest.

    Raises:
        ConfigError: a key is a range without points or step.
    """
    for parameter in space:
        require(
            bool(parameter.choices),
            f"sweep.space.{parameter.key} is a range, of which a grid has no end; "
            "give it points: N or a step, or use sweep.search=random",
        )
    return _combinations(space, {})


def grid_size(space: list[Parameter]) -> int:
    """How many points the grid has; a lower bound if keys with conditions have more than `COUNT_LIMIT` combinations.

    Raises:
        ConfigError: a key is a range without points or step.
    """
    grid(space)  # for its check
    asked = {key for parameter in space for key in parameter.when}
    free = [parameter for parameter in space if not parameter.when and parameter.key not in asked]
    bound = [parameter for parameter in space if parameter not in free]
    combinations = sum(1 for _ in itertools.islice(grid(bound), COUNT_LIMIT))
    return combinations * math.prod(len(parameter.choices) for parameter in free)


def draw(space: list[Parameter], draws: random.Random) -> Point:
    """One random point, every key drawn independently."""
    point: Point = {}
    for parameter in space:
        if parameter.applies(point):
            point[parameter.key] = parameter.draw(draws)
    return point


def _combinations(space: list[Parameter], point: Point) -> Iterator[Point]:
    if not space:
        yield point
        return
    first, *others = space
    if not first.applies(point):
        yield from _combinations(others, point)
        return
    for value in first.choices:
        yield from _combinations(others, point | {first.key: value})


def _parameter(key: str, entry: Any) -> Parameter:
    name = f"sweep.space.{key}"
    plain = isinstance(key, str) and KEY.fullmatch(key) is not None
    require(plain, f"{name} is no key; give one of the config, such as optim.lr, or a config group, such as sampling")
    if isinstance(entry, list):
        entry = {"choices": entry}
    require(isinstance(entry, dict), f"{name} is {entry!r}; give a list of choices, or {{low: ..., high: ...}}")
    unknown = [each for each in entry if each not in ENTRIES]
    whole = "; write a dotted key as one: {optim.lr: [0.01, 0.1]}" if entry and len(unknown) == len(entry) else ""
    require(not unknown, f"{name} has {', '.join(map(str, unknown))}; it may have {', '.join(ENTRIES)}{whole}")
    conditions = {} if entry.get("when") is None else entry["when"]
    require(isinstance(conditions, dict), f"{name}.when is {conditions!r}; give {{OTHER_KEY: [values]}}")
    when = {other: value if isinstance(value, list) else [value] for other, value in conditions.items()}
    if "choices" in entry:
        return _choice(key, name, entry, when)
    return _range(key, name, entry, when)


def _choice(key: str, name: str, entry: dict[str, Any], when: dict[str, list[Any]]) -> Parameter:
    choices = entry["choices"]
    require(isinstance(choices, list) and bool(choices), f"{name} is {choices!r}; give a list of at least one choice")
    require(not set(entry) - {"choices", "when"}, f"{name} has choices and a range; give one of them")
    strange = [value for value in choices if isinstance(value, float) and math.isnan(value)]
    require(not strange, f"{name} has {strange}, which is no value; leave it out")
    doubled = [value for number, value in enumerate(choices) if value in choices[:number]]
    require(not doubled, f"{name} has {doubled[:1]} twice; give every choice once")
    return Parameter(key, tuple(choices), when=when)


def _range(key: str, name: str, entry: dict[str, Any], when: dict[str, list[Any]]) -> Parameter:
    low, high = (_number(name, side, entry.get(side)) for side in ("low", "high"))
    log, step, points = entry.get("log", False), entry.get("step"), entry.get("points")
    require(isinstance(log, bool), f"{name}.log is {log!r}; give true or false")
    require(low < high, f"{name} is an empty range: low {low} is not below high {high}")
    require(math.isfinite(high - low), f"{name} goes from {low} to {high}, too far to draw from; give a smaller range")
    require(not log or low > 0, f"{name} is logarithmic and begins at {low}; give a low above 0")
    require(step is None or points is None, f"{name} has a step and points; give one of them")
    require(step is None or not log, f"{name} has a step and is logarithmic; give points: N instead of the step")
    integer = isinstance(low, int) and isinstance(high, int) and (step is None or isinstance(step, int))
    if not integer:
        low, high = float(low), float(high)
    if step is not None:
        number = isinstance(step, int | float) and not isinstance(step, bool)
        limit, span = f"{high - low:g}", _as_typed(high) - _as_typed(low)
        fits = number and 0 < step < math.inf and (step <= high - low or _as_typed(step) <= span)
        require(fits, f"{name}.step is {step!r}; give more than 0, at most {limit}")
        steps = span / _as_typed(step)
        shown = f"{float(steps):.3g}" if steps < sys.float_info.max else "inf"
        require(steps < VALUES_LIMIT, f"{name}.step is {step}, {shown} values; give a larger one")
        last = math.floor(steps if integer else steps + ROUNDED)
        values = [_as_typed(low) + number * _as_typed(step) for number in range(last + 1)]
        kept = _within([int(value) if integer else float(value) for value in values], low, high, integer)
        require(len(kept) == len(values), f"{name} has values that are alike in 12 digits; give a larger step")
        return Parameter(key, kept, when=when)
    if points is not None:
        whole = isinstance(points, int) and not isinstance(points, bool) and 2 <= points <= VALUES_LIMIT
        require(whole, f"{name}.points is {points!r}; give a whole number from 2 to {VALUES_LIMIT}")
        require(
            not integer or points <= high - low + 1,
            f"{name}.points is {points}, but {low} to {high} has {high - low + 1} whole numbers; lower it, "
            f"or give low {low}.0 for numbers between them",
        )
        values = _spread(low, high, points, log, integer)
        require(len(values) == points, f"{name}.points is {points}, of which {_alike(low, high, points, log, integer)}")
        return Parameter(key, values, when=when)
    return Parameter(key, (), low, high, log, integer, when)


def _as_typed(number: float) -> Fraction:
    """The decimal number that the user wrote: as floats, 0.3 - 0.1 is a little less than two steps of 0.1."""
    return Fraction(str(number))


def _number(name: str, side: str, value: Any) -> float:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    require(ok, f"{name}.{side} is {_short(value)}; give a number, without quotes")
    return value


def _short(value: Any) -> str:
    return f"{value!r:.40}"


def _spread(low: float, high: float, points: int, log: bool, integer: bool) -> tuple[float, ...]:
    """`points` values at equal distances, without those that are equal after rounding."""
    between = [_between(low, high, number / (points - 1), log) for number in range(1, points - 1)]
    return _within([low, *between, high], low, high, integer)


def _alike(low: float, high: float, points: int, log: bool, integer: bool) -> str:
    """The remedy where some of `points` values are equal after rounding."""
    different = len(_spread(low, high, points, log, integer))
    fewer = next(n for n in range(different, 1, -1) if len(_spread(low, high, n, log, integer)) == n)
    kind = "as whole numbers" if integer else "in 12 digits"
    return f"only {different} differ ({kind}); set it to {fewer}, or give a list of values"


def _between(low: float, high: float, share: float, log: bool) -> float:
    if log:
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return low + share * (high - low)


def _within(values: list[float], low: float, high: float, integer: bool) -> tuple[float, ...]:
    """The values rounded, each once, and none beyond the ends of the range."""
    return tuple(dict.fromkeys(min(max(_tidy(value, integer), low), high) for value in values))


def _tidy(value: float, integer: bool) -> float:
    """A value rounded to 12 digits, as values are shown: 0.1 + 0.2 is 0.3."""
    return round(value) if integer else float(f"{value:.12g}")


def _sorted(found: dict[str, Parameter]) -> list[Parameter]:
    """The parameters in the order given, but each after those that its `when` names.

    Raises:
        ConfigError: the conditions form a circle.
    """
    ordered: dict[str, Parameter] = {}
    while len(ordered) < len(found):
        ready = [p for p in found.values() if p.key not in ordered and p.when.keys() <= ordered.keys()]
        circle = ", ".join(key for key in found if key not in ordered)
        require(bool(ready), f"sweep.space: the conditions of {circle} ask for each other; break the circle")
        ordered[ready[0].key] = ready[0]
    return list(ordered.values())


def overrides(point: Point) -> list[str]:
    """A point as overrides of a command line."""
    return [override(key, value) for key, value in point.items()]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

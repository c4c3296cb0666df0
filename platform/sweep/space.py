"""What a sweep varies: `sweep.space` as parameters, and the points that a grid or chance takes from them.

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
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from platform.config import require
from platform.sweep.trials import Point

ENTRIES = ("choices", "low", "high", "log", "step", "points", "when")
RESERVED = ("true", "false", "null", "nan", "inf")  # words that Hydra does not take for text
GRID_LIMIT = 100_000  # points of a grid that are counted


@dataclass(frozen=True)
class Parameter:
    """One swept key: `choices`, or a range from `low` to `high` (both included) in its stead."""

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    integer: bool = False
    when: dict[str, list[Any]] = field(default_factory=dict)  # other key -> the values with which this one is used

    def applies(self, point: Point) -> bool:
        """Whether the point's other values call for it."""
        return all(key in point and point[key] in values for key, values in self.when.items())

    def draw(self, draws: random.Random) -> Any:
        if self.choices:
            return draws.choice(self.choices)
        if self.log:
            value = math.exp(draws.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = draws.uniform(self.low, self.high)
        value = min(max(value, self.low), self.high)  # the exponential may round beyond
        return round(value) if self.integer else value

    @property
    def text(self) -> str:
        """For people: `0.003 to 0.1 (log)`, `multi_scale, small_crops`."""
        found = ", ".join(map(_text, self.choices)) if self.choices else f"{self.low:g} to {self.high:g}"
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
    """Every point, the last key changing fastest.

    Raises:
        ConfigError: a range has no end of points.
    """
    for parameter in space:
        require(
            bool(parameter.choices),
            f"sweep.space.{parameter.key} is a range, of which a grid has no end; "
            "give it points: N or a step, or use sweep.search=random",
        )
    return _combinations(space, {})


def grid_size(space: list[Parameter]) -> int:
    """Points of the grid; of a very large one the least that it has."""
    return sum(1 for _ in itertools.islice(grid(space), GRID_LIMIT))


def draw(space: list[Parameter], draws: random.Random) -> Point:
    """One point by chance, every key by itself."""
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
    if isinstance(entry, list):
        entry = {"choices": entry}
    require(isinstance(entry, dict), f"{name} is {entry!r}; give a list of choices, or {{low: ..., high: ...}}")
    unknown = sorted(set(entry) - set(ENTRIES))
    require(not unknown, f"{name} has {', '.join(map(str, unknown))}; it may have {', '.join(ENTRIES)}")
    when = {other: value if isinstance(value, list) else [value] for other, value in (entry.get("when") or {}).items()}
    if "choices" in entry:
        return _choice(key, name, entry, when)
    return _range(key, name, entry, when)


def _choice(key: str, name: str, entry: dict[str, Any], when: dict[str, list[Any]]) -> Parameter:
    choices = entry["choices"]
    require(isinstance(choices, list) and bool(choices), f"{name} is {choices!r}; give a list of at least one choice")
    require(not set(entry) - {"choices", "when"}, f"{name} has choices and a range; give one of them")
    doubled = [value for number, value in enumerate(choices) if value in choices[:number]]
    require(not doubled, f"{name} has {doubled[:1]} twice; give every choice once")
    return Parameter(key, tuple(choices), when=when)


def _range(key: str, name: str, entry: dict[str, Any], when: dict[str, list[Any]]) -> Parameter:
    low, high = (_number(name, side, entry.get(side)) for side in ("low", "high"))
    log, step, points = entry.get("log", False), entry.get("step"), entry.get("points")
    require(low < high, f"{name} is an empty range: low {low} is not below high {high}")
    require(not log or low > 0, f"{name} is logarithmic and begins at {low}; give a low above 0")
    require(step is None or points is None, f"{name} has a step and points; give one of them")
    require(step is None or not log, f"{name} has a step and is logarithmic; give points: N instead of the step")
    integer = isinstance(low, int) and isinstance(high, int) and (step is None or isinstance(step, int))
    if step is not None:
        number = isinstance(step, int | float) and not isinstance(step, bool)
        require(number and 0 < step <= high - low, f"{name}.step is {step}; give more than 0, at most {high - low:g}")
        count = math.floor((high - low) / step + 1e-9) + 1
        require(count <= GRID_LIMIT, f"{name}.step is {step}, {count} values; give a larger one")
        return Parameter(key, tuple(_tidy(low + number * step, integer) for number in range(count)), when=when)
    if points is not None:
        whole = isinstance(points, int) and not isinstance(points, bool) and 2 <= points <= GRID_LIMIT
        require(whole, f"{name}.points is {points!r}; give a whole number from 2 to {GRID_LIMIT}")
        shares = [number / (points - 1) for number in range(points)]
        values = [low * (high / low) ** share if log else low + share * (high - low) for share in shares]
        return Parameter(key, tuple(dict.fromkeys(_tidy(value, integer) for value in values)), when=when)
    return Parameter(key, (), low, high, bool(log), integer, when)


def _number(name: str, side: str, value: Any) -> float:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    require(ok, f"{name}.{side} is {value!r}; give a number (in YAML 1e-3 is text and 1.0e-3 a number)")
    return value


def _tidy(value: float, integer: bool) -> float:
    """0.1 + 0.2 is 0.3 here: values name points and stand in tables."""
    return round(value) if integer else float(f"{value:.12g}")


def _sorted(found: dict[str, Parameter]) -> list[Parameter]:
    """In the order given, but never before a key that the `when` asks for.

    Raises:
        ConfigError: conditions in a circle.
    """
    ordered: dict[str, Parameter] = {}
    while len(ordered) < len(found):
        ready = [p for p in found.values() if p.key not in ordered and p.when.keys() <= ordered.keys()]
        circle = ", ".join(key for key in found if key not in ordered)
        require(bool(ready), f"sweep.space: the conditions of {circle} ask for each other; break the circle")
        ordered[ready[0].key] = ready[0]
    return list(ordered.values())


def words(point: Point) -> list[str]:
    """A point as overrides, as on the command line."""
    return [f"{key}={_literal(value)}" for key, value in point.items()]


def _literal(value: Any) -> str:
    """In Hydra's grammar of overrides."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case list() | tuple():
            return f"[{','.join(map(_literal, value))}]"
        case dict():
            return "{" + ",".join(f"{key}:{_literal(each)}" for key, each in value.items()) + "}"
    plain = re.fullmatch(r"[A-Za-z_/][\w./-]*", str(value)) and str(value).lower() not in RESERVED
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return str(value) if plain else f"'{escaped}'"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

"""What may stand in `sweep.space`, the points it has, and the overrides they become."""

import math
import random
import time
from collections import Counter
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from platform.config.checks import ConfigError
from platform.sweep.space import draw, grid, grid_size, overrides, parameters

PARSER = OverridesParser.create()


def choices_of(entry: Any) -> tuple[Any, ...]:
    (parameter,) = parameters({"optim.lr": entry})
    return parameter.choices


def drawn(entry: Any, count: int = 200) -> list[Any]:
    space = parameters({"optim.lr": entry})
    return [draw(space, random.Random(number))["optim.lr"] for number in range(count)]


@pytest.mark.parametrize(
    ("entry", "choices"),
    [
        (["cosine", "linear"], ("cosine", "linear")),
        ({"choices": [1, None, False, [0.5, 1.0], "a"]}, (1, None, False, [0.5, 1.0], "a")),
        ({"low": 16, "high": 64, "step": 16}, (16, 32, 48, 64)),
        ({"low": 16, "high": 60, "step": 16}, (16, 32, 48)),
        ({"low": 0.1, "high": 0.7, "step": 0.2}, (0.1, 0.3, 0.5, 0.7)),  # not 0.30000000000000004, and the end is there
        ({"low": 0, "high": 1, "step": 0.25}, (0, 0.25, 0.5, 0.75, 1)),
        ({"low": -0.3, "high": 0.1, "step": 0.1}, (-0.3, -0.2, -0.1, 0.0, 0.1)),  # not 5.55e-17
        ({"low": 0.165, "high": 0.246, "step": 0.081}, (0.165, 0.246)),  # floats make the range less than the step
        ({"low": 1e9 + 0.1, "high": 1e9 + 0.4, "step": 0.1}, (1e9 + 0.1, 1e9 + 0.2, 1e9 + 0.3, 1e9 + 0.4)),
        ({"low": 0, "high": 1, "step": 0.3333333333}, (0, 0.3333333333, 0.6666666666, 0.9999999999)),
        ({"low": 0, "high": 2**60 - 1, "step": 2**59}, (0, 2**59)),
        ({"low": 0.0, "high": 1.0, "points": 3}, (0.0, 0.5, 1.0)),
        ({"low": 1.0e-5, "high": 1.0e-3, "log": True, "points": 3}, (1e-05, 1e-04, 1e-03)),
        ({"low": 16, "high": 64, "log": True, "points": 3}, (16, 32, 64)),
        ({"low": 1, "high": 4, "log": True, "points": 4}, (1, 2, 3, 4)),
        ({"low": -5, "high": 5, "points": 3}, (-5, 0, 5)),
    ],
)
def test_choices_of_every_kind_of_entry(entry: Any, choices: tuple[Any, ...]):
    found = choices_of(entry)
    assert found == choices
    assert [type(value) is int for value in found] == [type(value) is int for value in choices] or 0 in choices


def test_draws_of_a_range_fill_it_evenly():
    linear, log = drawn({"low": 1.0, "high": 3.0}), drawn({"low": 0.001, "high": 0.1, "log": True})
    assert sum(value < 2 for value in linear) / 200 == pytest.approx(0.5, abs=0.1)
    assert sum(value < 0.01 for value in log) / 200 == pytest.approx(0.5, abs=0.1)  # the middle on a logarithmic scale
    assert all(isinstance(value, float) for value in linear + log)


@pytest.mark.parametrize("log", [False, True])
def test_the_ends_of_a_range_of_whole_numbers_come_as_often_as_the_others(log: bool):
    counts = Counter(drawn({"low": 1, "high": 3, "log": log}, 3000))
    assert set(counts) == {1, 2, 3}
    shares = [math.log((n + 0.5) / (n - 0.5)) / math.log(7) if log else 1 / 3 for n in (1, 2, 3)]
    for number, share in zip((1, 2, 3), shares, strict=True):
        assert counts[number] / 3000 == pytest.approx(share, abs=0.03)


def test_a_very_large_whole_number_is_drawn_exactly():
    assert all(
        isinstance(value, int) and 2**60 <= value <= 2**60 + 2 for value in drawn({"low": 2**60, "high": 2**60 + 2})
    )


def test_a_condition_may_hold_for_one_value_and_conditions_may_follow_each_other():
    space = parameters(
        {
            "c": {"choices": [5, 6], "when": {"b": 3}},  # given before what it asks for
            "b": {"choices": [3, 4], "when": {"a": [1]}},
            "a": [1, 2],
        }
    )
    assert list(grid(space)) == [{"a": 1, "b": 3, "c": 5}, {"a": 1, "b": 3, "c": 6}, {"a": 1, "b": 4}, {"a": 2}]
    assert grid_size(space) == 4


def test_two_conditions_must_both_hold():
    space = parameters({"a": [1, 2], "b": [1, 2], "c": {"low": 0.0, "high": 1.0, "when": {"a": 1, "b": [2]}}})
    for number in range(50):
        point = draw(space, random.Random(number))
        assert ("c" in point) == (point["a"] == 1 and point["b"] == 2)


def test_the_last_key_of_a_grid_changes_fastest():
    points = list(grid(parameters({"sampling": ["x", "y"], "optim.lr": [1, 2]})))
    assert [tuple(point.values()) for point in points] == [("x", 1), ("x", 2), ("y", 1), ("y", 2)]


LR = "sweep.space.optim.lr"


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "sweep.space is empty; give keys and what they may be, or choose a sweep=NAME"),
        ({"optim.lr": []}, f"{LR} is []; give a list of at least one choice"),
        ({"optim.lr": {"choices": 5}}, f"{LR} is 5; give a list of at least one choice"),
        ({"optim.lr": 0.1}, f"{LR} is 0.1; give a list of choices, or {{low: ..., high: ...}}"),
        ({"optim.lr": None}, f"{LR} is None; give a list of choices"),
        ({"optim.lr": "0.1,0.2"}, f"{LR} is '0.1,0.2'; give a list of choices"),
        ({"optim.lr": {}}, f"{LR}.low is None; give a number"),
        ({"optim.lr": {"low": 0.1}}, f"{LR}.high is None; give a number"),
        ({"optim.lr": {"low": 0.2, "high": 0.1}}, f"{LR} is an empty range: low 0.2 is not below high 0.1"),
        ({"optim.lr": {"low": 0.2, "high": 0.2}}, f"{LR} is an empty range"),
        ({"optim.lr": {"low": 0, "high": 1.0, "log": True}}, f"{LR} is logarithmic and begins at 0; give a low above"),
        ({"optim.lr": {"low": -1.0, "high": 1.0, "log": True}}, f"{LR} is logarithmic and begins at -1.0"),
        ({"optim.lr": {"low": 0.1, "high": 1.0, "log": "false"}}, f"{LR}.log is 'false'; give true or false"),
        ({"optim.lr": {"low": math.nan, "high": 1.0}}, f"{LR}.low is nan; give a number"),
        ({"optim.lr": {"low": 0.1, "high": math.inf}}, f"{LR}.high is inf; give a number"),
        ({"optim.lr": {"low": -1.5e308, "high": 1.5e308}}, f"{LR} goes from -1.5e+308 to 1.5e+308, too far"),
        ({"optim.lr": {"low": 1, "high": 10**400}}, f"{LR}.high is 1000000"),
        ({"optim.lr": {"low": "1e-3", "high": 1.0}}, f"{LR}.low is '1e-3'; give a number, without quotes"),
        ({"optim.lr": {"low": True, "high": 5}}, f"{LR}.low is True; give a number"),
        ({"optim.lr": {"low": 0.1, "high": 1.0, "max": 2}}, f"{LR} has max; it may have choices, low, high, log"),
        ({"optim.lr": {1: 2, "x": 3}}, f"{LR} has 1, x; it may have"),
        ({"optim": {"lr": [0.1, 0.2]}}, "sweep.space.optim has lr; it may have choices, low, high, log, step, points, "
                                        "when; write a dotted key as one: {optim.lr: [0.01, 0.1]}"),
        ({"optim.lr": {"choices": [1], "low": 0}}, f"{LR} has choices and a range; give one of them"),
        ({"optim.lr": [0.1, 0.2, 0.1]}, f"{LR} has [0.1] twice; give every choice once"),
        ({"optim.lr": [[1, 2], [1, 2]]}, f"{LR} has [[1, 2]] twice"),
        ({"optim.lr": [math.nan]}, f"{LR} has [nan], which is no value; leave it out"),
        ({"optim.lr": {"low": 0.1, "high": 1.0, "step": 2}}, f"{LR}.step is 2; give more than 0, at most 0.9"),
        ({"optim.lr": {"low": 0.1, "high": 1.0, "step": 0}}, f"{LR}.step is 0; give more than 0"),
        ({"optim.lr": {"low": 0.1, "high": 1.0, "step": "1e-1"}}, f"{LR}.step is '1e-1'; give more than 0"),
        ({"optim.lr": {"low": 0.1, "high": 1.0, "step": math.nan}}, f"{LR}.step is nan"),
        ({"optim.lr": {"low": 0.1, "high": 1.0, "step": math.inf}}, f"{LR}.step is inf; give more than 0, at most 0.9"),
        ({"optim.lr": {"low": 1e6, "high": 1000000.000001, "step": 1e-7}}, f"{LR} has values that are alike in 12 dig"),
        ({"optim.lr": {"low": 0.1, "high": 1.0, "step": 1e-12}}, f"{LR}.step is 1e-12, 9e+11 values; give a larger"),
        ({"optim.lr": {"low": 0.0, "high": 1.7e308, "step": 5e-324}}, f"{LR}.step is 5e-324, inf values"),
        ({"optim.lr": {"low": 0.1, "high": 1.0, "step": 0.1, "points": 3}}, f"{LR} has a step and points"),
        ({"optim.lr": {"low": 0.1, "high": 1.0, "step": 0.1, "log": True}}, f"{LR} has a step and is logarithmic"),
        ({"optim.lr": {"low": 0.1, "high": 1.0, "points": 10**12}}, f"{LR}.points is 1000000000000; give a whole"),
        ({"optim.lr": {"low": 0.1, "high": 1.0, "points": 1}}, f"{LR}.points is 1; give a whole number from 2 to"),
        ({"optim.lr": {"low": 0.1, "high": 1.0, "points": 2.5}}, f"{LR}.points is 2.5; give a whole number"),
        ({"optim.lr": {"low": 1, "high": 8, "log": True, "points": 7}}, f"{LR}.points is 7, of which only 6 differ ("),
        ({"optim.lr": {"low": 1, "high": 1.0000000001, "points": 999}}, f"{LR}.points is 999, of which only 11 diff"),
        ({"optim.lr": {"low": 0, "high": 1, "points": 5}}, f"{LR}.points is 5, but 0 to 1 has 2 whole numbers; lower "
                                                          "it, or give low 0.0 for numbers between them"),
        ({"optim.lr": {"choices": [1], "when": "schedule"}}, f"{LR}.when is 'schedule'; give {{OTHER_KEY: [values]}}"),
        ({"optim.lr": {"choices": [1], "when": {"schedule": ["x"]}}}, f"{LR}.when asks for schedule, which is not in "
                                                                      "sweep.space; add it, or leave the when out"),
        ({"optim.lr": {"choices": [1], "when": {"a": []}}, "a": [1]}, f"{LR}.when.a is empty; give a list of values"),
        ({"optim.lr": {"choices": [1], "when": {"a": [1, 3]}}, "a": [1, 2]}, f"{LR}.when.a has [3], which a never is; "
                                                                             "it is one of [1, 2]"),
        ({"optim.lr": {"choices": [1], "when": {"a": 0.5}}, "a": {"low": 0.1, "high": 1.0}},
            f"{LR}.when asks for a, which is a range; only choices can be asked for"),
        ({"a": {"choices": [1], "when": {"b": 1}}, "b": {"choices": [1], "when": {"a": 1}}, "c": [1]},
            "sweep.space: the conditions of a, b ask for each other; break the circle"),
        ({"a": {"choices": [1], "when": {"a": 1}}}, "sweep.space: the conditions of a ask for each other"),
        ({"~optim.lr": [1, 2]}, "sweep.space.~optim.lr is no key; give one of the config, such as optim.lr, or a"),
        ({"optim.lr=1,x": [1, 2]}, "sweep.space.optim.lr=1,x is no key"),
        ({"": [1]}, "sweep.space. is no key"),
        ({3: [1]}, "sweep.space.3 is no key"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_one_line(space: dict[Any, Any], said: str):
    with pytest.raises(ConfigError) as error:
        parameters(space)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_1e_3_is_a_number_in_hydras_yaml():
    """It is text in others'."""
    entry = OmegaConf.to_object(OmegaConf.create("{low: 1e-3, high: 1E-1}"))
    (parameter,) = parameters({"optim.lr": entry})
    assert (parameter.low, parameter.high) == (0.001, 0.1)


def test_a_grid_of_a_range_has_no_end():
    space = parameters({"optim.lr": {"low": 0.1, "high": 1.0}})
    for take in (grid, grid_size):
        with pytest.raises(
            ConfigError, match="is a range, of which a grid has no end; give it points: N or a step, or"
        ):
            take(space)


@pytest.mark.slow
def test_a_huge_grid_is_counted_at_once():
    conditional = {"z": {"choices": [1, 2], "when": {"a": 1}}, "a": [1, 2]}
    space = parameters({f"k{n}": list(range(100)) for n in range(6)} | conditional)
    bound = parameters(
        {f"b{n}": [0, 1] for n in range(40)} | {f"c{n}": {"choices": [0, 1], "when": {f"b{n}": 1}} for n in range(40)}
    )
    started = time.monotonic()
    assert grid_size(space) == 3 * 10**12
    assert grid_size(bound) >= 100_000
    assert next(grid(space))["k5"] == 0
    assert time.monotonic() - started < 20


def test_many_values_are_shortened_for_people():
    (parameter,) = parameters({"optim.lr": {"low": 0, "high": 1000, "step": 1}})
    assert parameter.text == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..., 1000 (1001 values)"
    (_, parameter) = parameters({"a": [1, 2], "b": {"low": 0.001, "high": 1.0, "log": True, "when": {"a": [1, 2]}}})
    assert parameter.text == "0.001 to 1 (log)   where a is 1 or 2"


# --- of any space ---

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(st.characters(codec="utf-8")),
    st.text(st.sampled_from("aZ_09'\"\\,=:[]{}()$ #.-/+%\n\té")),
    st.sampled_from(["true", "null", "NaN", "inf", "1e-05", "1_000", "${x}", "it's", "a\\", "a\\'", "\\", "-", " "]),
)  # fmt: skip
LITERALS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@pytest.mark.slow
@given(LITERALS)
@example(1e-05)
@example(-0.0)
@example(10**40)
@example("a\\b")  # a backslash means itself, except in front of a quote
@example("a\\\n")
@example("a\\\\'\\")
@example({"min": 1, "max": 8})
@settings(max_examples=300, deadline=None)
def test_overrides_are_what_hydra_reads_back(value: Any):
    (word,) = overrides({"optim.lr": value})
    override = PARSER.parse_override(word)
    assert override.key_or_group == "optim.lr"
    assert not override.is_sweep_override()
    assert same(override.value(), value), word


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


@st.composite
def entries(draw_: st.DrawFn) -> dict[str, Any]:
    """Choices or a range of some kind."""
    kind = draw_(st.sampled_from(["choices", "range", "log", "whole", "wholelog", "step", "points"]))
    if kind == "choices":
        return {
            "choices": draw_(
                st.lists(
                    st.sampled_from([None, 0, 1, 2.5, "a", "b", [1], [1, 2]]), min_size=1, max_size=4, unique_by=repr
                )
            )
        }
    if kind.startswith("whole"):
        low = draw_(st.integers(1, 50))
        return {"low": low, "high": low + draw_(st.integers(1, 50)), "log": kind == "wholelog"}
    low = draw_(st.floats(1e-6, 1e3))
    high = low + draw_(st.floats(1e-6, 1e3))
    found: dict[str, Any] = {"low": low, "high": high, "log": kind == "log"}
    if kind == "step":
        found["step"] = (high - low) / draw_(st.floats(1, 5))
    if kind == "points":
        found |= {"points": draw_(st.integers(2, 5)), "log": draw_(st.booleans())}
    return found


@st.composite
def spaces(draw_: st.DrawFn, listed: bool = False) -> dict[str, Any]:
    """Up to five keys, in any order, some of which ask for others."""
    found: dict[str, Any] = {}
    for number in range(draw_(st.integers(1, 5))):
        entry = draw_(entries().filter(lambda entry: not listed or {"choices", "step", "points"} & entry.keys()))
        parents = [key for key, other in found.items() if "choices" in other]
        for parent in draw_(st.lists(st.sampled_from(parents), max_size=2, unique=True)) if parents else []:
            asked = draw_(st.lists(st.sampled_from(found[parent]["choices"]), min_size=1, max_size=2, unique_by=repr))
            entry.setdefault("when", {})[parent] = asked
        found[f"k{number}"] = entry
    return dict(draw_(st.permutations(list(found.items()))))


def check_point(space: dict[str, Any], point: dict[str, Any]) -> None:
    for key, entry in space.items():
        holds = all(other in point and point[other] in values for other, values in entry.get("when", {}).items())
        assert (key in point) == holds
        if not holds:
            continue
        value = point[key]
        if "choices" in entry:
            assert value in entry["choices"]
        else:
            assert entry["low"] <= value <= entry["high"]
            assert isinstance(value, int) == isinstance(entry["low"], int)


@pytest.mark.slow
@given(spaces(), st.integers())
@settings(max_examples=200, deadline=None)
def test_every_draw_keeps_to_its_space(space: dict[str, Any], seed: int):
    check_point(space, draw(parameters(space), random.Random(seed)))


@pytest.mark.slow
@given(spaces(listed=True))
@settings(max_examples=200, deadline=None)
def test_a_grid_has_every_point_once(space: dict[str, Any]):
    found = parameters(space)
    points = list(grid(found))
    assert len(points) == grid_size(found) == len({repr(point) for point in points})
    for point in points:
        check_point(space, point)
    for number in range(10):
        assert draw(found, random.Random(number)) in points

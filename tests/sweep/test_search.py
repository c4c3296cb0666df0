"""Searches: known lists, and Optuna's TPE, which must learn, and know again what earlier launches did."""

import itertools
import math
import statistics
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from platform.config.checks import ConfigError
from platform.config.jobs import SweepConfig
from platform.sweep.search import Listed, Search, Tpe, random_points, search_of
from platform.sweep.space import parameters
from platform.sweep.trial_store import DIVERGED, FAILED, FINISHED, STOPPED, Point
from platform.training.learning_curve import EvaluationPoint

RATES: dict[str, Any] = {"low": 1e-4, "high": 10.0, "log": True}
SPACE: dict[str, Any] = {
    "optim.lr": RATES,
    "schedule": ["cosine", "step_decay", None, [1, 2], True],
    "schedule.factor": {"low": 0.5, "high": 1.0, "when": {"schedule": "step_decay"}},
    "training.batch_size": {"low": 16, "high": 64},
}


def evaluation(top1: float, step: int = 10, images_per_s: float = 100.0) -> EvaluationPoint:
    return EvaluationPoint(step / 10, step, top1, 1.0, 1.0, images_per_s)


def tpe(space: dict[str, Any], points: int = 100, known: int = 0, **settings: Any) -> Tpe:
    search = search_of(SweepConfig(space=space, search="tpe", points=points, **settings), parameters(space), known)
    assert isinstance(search, Tpe)
    return search


def listed(space: dict[str, Any], **settings: Any) -> list[Point]:
    search = search_of(SweepConfig(space=space, **settings), parameters(space))
    assert isinstance(search, Listed)
    assert search.size == len(search.points)
    return [search.next(number) for number in range(search.size)]


def score(point: Point) -> float:
    """Best at a rate of 0.03, step_decay and a factor of 0.9."""
    rate = math.exp(-((math.log10(point["optim.lr"]) + 1.5) ** 2))
    factor = 1 - abs(point["schedule.factor"] - 0.9) if "schedule.factor" in point else 0.5
    return 0.9 * rate * factor


def searched(search: Search, count: int, score_of: Callable[[Point], float] = score, first: int = 0) -> list[Point]:
    points = []
    for number in range(first, first + count):
        points.append(search.next(number))
        search.tell(number, FINISHED, [evaluation(score_of(points[-1]))])
    return points


def trials(search: Tpe) -> list[optuna.trial.FrozenTrial]:
    return search._study.get_trials(deepcopy=False)  # what Optuna will learn from


def test_a_grid_is_in_order_and_sweep_points_takes_the_first():
    space = {"sampling": ["x", "y"], "optim.lr": [1, 2, 3]}
    whole = listed(space)
    assert whole == [{"sampling": s, "optim.lr": r} for s, r in itertools.product("xy", [1, 2, 3])]
    assert listed(space, points=4) == whole[:4]
    assert listed(space, points=100) == whole


def test_a_grid_of_a_range_is_refused():
    with pytest.raises(ConfigError, match="a grid has no end"):
        listed({"optim.lr": RATES})


def test_random_points_come_again_and_stay_when_there_are_more():
    few, many = (listed(SPACE, search="random", points=points) for points in (5, 40))
    assert many[:5] == few == listed(SPACE, search="random", points=5)
    assert listed(SPACE, search="random", points=5, seed=1) != few
    assert len({point["optim.lr"] for point in many}) == 40
    assert {repr(point["schedule"]) for point in many} == {repr(choice) for choice in SPACE["schedule"]}


def test_random_points_do_not_depend_on_the_process():
    """Not on Python's hash of strings, above all."""
    first = next(random_points(SweepConfig(search="random", points=1), parameters({"a": list(range(1000))})))
    assert first == {"a": 320}


def test_random_choices_are_not_repeated_while_there_are_others():
    space = {"a": [1, 2, 3], "b": [True, None, "x", [1]]}
    points = listed(space, search="random", points=12)
    assert len({repr(point) for point in points}) == 12
    assert listed(space, search="random", points=11) == points[:11]


@pytest.mark.parametrize("points", [0, 5])
def test_the_known_lists_learn_nothing(points: int):
    search = Listed(iter([{"a": number} for number in range(points)]))
    search.again(0, {"a": 0})
    search.tell(0, FINISHED, [evaluation(1)])
    assert search.size == points


@pytest.mark.slow
def test_tpe_learns():
    """Better than chance on average over seeds, by far more than these vary."""
    best: dict[str, list[float]] = {"tpe": [], "random": []}
    for seed in range(5):
        best["tpe"].append(max(map(score, searched(tpe(SPACE, seed=seed), 45))))
        best["random"].append(max(map(score, listed(SPACE, search="random", points=45, seed=seed))))
    mean = {name: sum(found) / 5 for name, found in best.items()}
    assert mean["tpe"] > mean["random"] + 0.02, best
    assert sum(map(score, searched(tpe(SPACE), 45)[25:])) > 20 * 0.3  # later points are good ones in general


def test_tpe_keeps_to_the_space():
    for point in searched(tpe(SPACE), 40):
        assert ("schedule.factor" in point) == (point["schedule"] == "step_decay")
        assert point["schedule"] in SPACE["schedule"]
        assert 1e-4 <= point["optim.lr"] <= 10
        assert isinstance(point["training.batch_size"], int)
        assert 16 <= point["training.batch_size"] <= 64


def test_tpe_is_reproducible_and_has_seeds():
    assert searched(tpe(SPACE), 15) == searched(tpe(SPACE), 15) != searched(tpe(SPACE, seed=1), 15)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**12])
def test_tpe_takes_any_seed(seed: int):
    assert tpe(SPACE, seed=seed).next(0)


def test_another_launch_knows_the_store_and_does_not_repeat_its_points():
    first = tpe(SPACE)
    points = [first.next(number) for number in range(20)]
    ends = [FINISHED, STOPPED, DIVERGED, FAILED]
    curves = [[evaluation(0.5 * score(point), 5), evaluation(score(point))] if number % 4 < 2 else []
              for number, point in enumerate(points)]  # fmt: skip
    for number in range(18):  # 18 and 19 are under way when it is killed
        first.tell(number, ends[number % 4], curves[number])

    second = tpe(SPACE, known=20)
    for number in range(20):
        second.again(number, points[number])
        if number < 18 and ends[number % 4] != FAILED:  # which are tried again, and told then
            second.tell(number, ends[number % 4], curves[number])

    for one, other in zip(trials(first), trials(second), strict=True):
        assert (one.params, one.distributions) == (other.params, other.distributions)
        if ends[one.number % 4] != FAILED:
            assert (one.state, one.values, one.intermediate_values) == (other.state, other.values,
                                                                        other.intermediate_values)  # fmt: skip
    new = [second.next(number) for number in range(20, 30)]
    assert not [point for point in new if point in points]
    second.tell(18, FINISHED, [evaluation(0.3)])  # what was under way ends now
    assert trials(second)[18].values == [0.3]


def test_a_new_launch_that_knows_the_points_goes_on_learning():
    first = tpe(SPACE)
    points = searched(first, 30)
    second = tpe(SPACE, known=30)
    for number, point in enumerate(points):
        second.again(number, point)
        second.tell(number, FINISHED, [evaluation(score(point))])
    later = searched(second, 10, first=30)
    assert sum(map(score, later)) / 10 > sum(map(score, listed(SPACE, search="random", points=100))) / 100 + 0.1


def test_ends_are_told_as_what_they_are():
    search = tpe(SPACE)
    curve = [evaluation(0.2, 10), evaluation(0.4, 20)]
    for number, (state, evaluations) in enumerate(
        [(FINISHED, curve), (STOPPED, curve), (DIVERGED, curve), (FAILED, curve), (FAILED, []), (DIVERGED, [])]
    ):
        search.next(number)
        search.tell(number, state, evaluations)
    found = [(trial.state, trial.value) for trial in trials(search)]
    assert found[0] == (TrialState.COMPLETE, 0.4)
    assert found[1] == (TrialState.PRUNED, 0.4)
    assert list(trials(search)[1].intermediate_values.values()) == [0.2, 0.4]  # by epoch: batches differ in steps
    assert found[2:] == [(TrialState.COMPLETE, 0.0)] * 4  # the worst there is: not to be tried again


@pytest.mark.slow
@pytest.mark.parametrize("end", [DIVERGED, FAILED])
def test_tpe_turns_away_from_where_training_diverges_or_dies(end: str):
    """Trials of which it is told nothing (Optuna's FAIL) draw it there instead: 100 of these 100."""
    beyond = 0
    for seed in range(5):
        search = tpe({"optim.lr": RATES}, seed=seed)
        for number in range(40):
            rate = search.next(number)["optim.lr"]
            beyond += rate > 0.1 and number >= 20
            found = [] if rate > 0.1 else [evaluation(0.9 - 0.1 * abs(math.log10(rate) + 2))]
            search.tell(number, FINISHED if found else end, found)
    assert beyond <= 25, beyond  # of 100; chance gives 40


def test_two_objectives():
    search = tpe(SPACE, objectives=["top1", "images_per_s"])
    for number, state in enumerate([FINISHED, DIVERGED, FAILED]):
        search.next(number)
        search.tell(number, state, [evaluation(0.7, images_per_s=55.0)] if state == FINISHED else [])
    assert [trial.values for trial in trials(search)] == [[0.7, 55.0], [0.0, 0.0], [0.0, 0.0]]
    assert search._study.directions == [optuna.study.StudyDirection.MAXIMIZE] * 2
    swapped = tpe(SPACE, objectives=["images_per_s", "top1"])
    swapped.next(0)
    swapped.tell(0, FINISHED, [evaluation(0.7, images_per_s=55.0)])
    assert trials(swapped)[0].values == [55.0, 0.7]
    for number in range(3, 15):
        point = search.next(number)
        search.tell(number, FINISHED, [evaluation(score(point), images_per_s=point["training.batch_size"])])


def test_tpe_does_not_repeat_choices():
    """It would again and again, as the best; with its seed a point has one result."""
    space = {"a": [1, 2, 3, 4], "b": [None, True, [1], "x"], "c": {"choices": [5, 6], "when": {"b": ["x"]}}}
    search = tpe(space)
    points = searched(search, 10, lambda point: point["a"] / 10)
    second = tpe(space, known=10)
    for number, point in enumerate(points):
        second.again(number, point)
        second.tell(number, FINISHED, [evaluation(point["a"] / 10)])
    points += searched(second, 10, lambda point: point["a"] / 10, first=10)
    assert len({repr(point) for point in points}) == 20
    assert search.next(10)  # where none is left, one comes again: the plan refuses so many


def test_points_under_way_are_not_asked_for_again_nearby():
    """Twenty at once spread out; without Optuna's constant liar they lie three times as near."""
    search = tpe({"optim.lr": RATES})
    searched(search, 20, lambda point: score(point | {"schedule": None}))
    assert statistics.stdev(math.log10(search.next(number)["optim.lr"]) for number in range(20, 40)) > 1

"""Which key explains the differences."""

import logging

import numpy as np
import pytest

from platform.sweep.report.importance import Importance, importance
from platform.sweep.trial_store import FAILED, Point, TrialStore
from tests.sweep.stores import realistic, store_of


def swept(values: list[Point], score, seeds: int = 3, noise: float = 0.002) -> Importance:
    draws = np.random.default_rng(0)
    return importance(
        *store_of(*([score(v) + draws.normal(0, noise) for _ in range(seeds)] for v in values), values=values)
    )


def shares(found: Importance) -> dict[str, float]:
    assert not found.reason
    return {share.key: share.share for share in found.shares}


@pytest.mark.slow
def test_the_key_that_matters_comes_first():
    values: list[Point] = [{"a": a, "b": b} for a in (0.1, 0.2, 0.3) for b in (1, 2, 3)]
    found = swept(values, lambda v: v["a"])
    assert [share.key for share in found.shares] == ["a", "b"]
    assert found.shares[0].share > 0.9
    assert sum(shares(found).values()) == pytest.approx(1)
    assert found == swept(values, lambda v: v["a"])  # the same store, the same shares
    assert not found.caution


@pytest.mark.parametrize(
    "choices", [["x", "y"], [True, False], [None, 0.5], [True, 1], [[0.08, 1.0], [0.5, 1.0]], ["a", 3], [-1, 0.5]]
)
def test_values_of_any_kind(choices: list):
    values: list[Point] = [{"a": a, "b": b} for a in choices for b in (1, 2, 3)]
    texts = [str(choice) for choice in choices]  # True == 1
    assert shares(swept(values, lambda v: 0.5 + 0.2 * texts.index(str(v["a"]))))["a"] > 0.8


def test_rates_are_compared_by_their_logarithms():
    """Of four decades the lowest holds 0.1% of the width: without logarithms what happens there would not count."""
    rates = [1e-4, 1e-3, 1e-2, 1e-1, 1]
    values: list[Point] = [{"lr": rate, "b": b} for rate in rates for b in (1, 2)]
    found = swept(values, lambda v: (0.5 if v["lr"] < 5e-4 else 0.9) + 0.05 * v["b"])
    assert shares(found)["lr"] > 0.8


def test_a_key_that_some_points_lack_is_judged_among_the_others():
    values: list[Point] = [{"schedule": "step", "factor": f, "lr": lr} for f in (0.8, 0.9) for lr in (1, 2, 3)]
    values += [{"schedule": "cosine", "lr": lr} for lr in (1, 2, 3)]
    found = swept(values, lambda v: 0.5 + 0.3 * (v.get("factor") == 0.9) + 0.001 * v["lr"])
    among = {share.key: share.trials for share in found.shares}
    assert among == {"schedule": 27, "lr": 27, "factor": 18}
    assert found.shares[0].key == "factor"
    assert found.trials == 27


def test_a_key_of_one_value_is_left_out():
    values: list[Point] = [{"a": a, "b": 7} for a in range(1, 6)]
    assert list(shares(swept(values, lambda v: v["a"] / 10))) == ["a"]
    assert swept([{"b": 7}] * 5, lambda v: 0.5).reason.startswith("no key took several values")


def test_what_cannot_be_said():
    assert importance(TrialStore(), {}).reason.startswith("0 point(s) finished")
    assert importance(*store_of([0.1], [0.2], [0.3])).reason.startswith(
        "3 point(s) finished; importance needs at least 4"
    )
    assert importance(*store_of([0.5], [0.5], [0.5], [0.5])).reason == "all scores are equal"


def test_only_finished_trials_count():
    store, curves = store_of([0.1], [0.2], [0.3], [0.4])
    store.trials[0].state = FAILED
    assert importance(store, curves).reason.startswith("3 point(s)")


def test_noise_is_said_to_be_noise():
    values: list[Point] = [{"a": a} for a in range(8)]
    assert "no more than noise" in swept(values, lambda v: 0.5).caution
    assert "One seed a point" in swept(values, lambda v: 0.5, seeds=1).caution


@pytest.mark.slow
def test_the_order_of_trials_does_not_matter():
    store, curves = realistic()
    before = importance(store, curves)
    store.trials.reverse()
    assert importance(store, curves) == before


def test_optuna_keeps_silent(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    import optuna

    before = optuna.logging.get_verbosity()
    with caplog.at_level(logging.DEBUG):
        importance(*store_of([0.1], [0.2], [0.3], [0.4]))
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before

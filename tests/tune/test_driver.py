"""What Tune's searcher may have under way when nodes come; sweeps as a whole are in tests/jobs/test_sweep_job.py."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from platform.cluster.resources import Resources
from platform.tune.driver import Tuning

NODES = Resources(nodes=3, cpus=2, gpus=0)


class Lanes:
    """Gets one more, if trials are left."""

    def __init__(self) -> None:
        self.side_by_side = 3

    def grow(self, resources: Resources, trials: int) -> int:
        more = min(trials, 1)
        self.side_by_side += 3 * more
        return more


def tuning(*, pauses: bool = False, workers: object = None, ended: int = 0, interrupted: bool = False) -> Any:
    made: Any = Tuning.__new__(Tuning)
    made._lanes, made._pauses, made._workers = Lanes(), pauses, workers
    made._planned, made._trial_queue = SimpleNamespace(trials=9), SimpleNamespace(ended=ended)
    made._searcher = SimpleNamespace(at_most=made._at_most(), interrupted=interrupted)
    return made


@pytest.mark.parametrize(
    ("pauses", "workers", "before", "after"),
    [
        (False, None, 3, 6),
        (False, "shared", 3, 6),
        (True, "shared", 6, 12),  # others wait, or brackets would be done before they are whole
        (True, None, math.inf, math.inf),  # Tune counts what they reserve
    ],
)
def test_more_trials_are_under_way_with_more_lanes(pauses: bool, workers: object, before: float, after: float):
    made = tuning(pauses=pauses, workers=workers)
    assert made._searcher.at_most == before
    assert made._grow(NODES) == 1
    assert made._searcher.at_most == after


def test_lanes_are_for_trials_that_have_not_ended_of_a_sweep_that_goes_on():
    assert tuning(ended=9)._grow(NODES) == 0
    interrupted = tuning(interrupted=True)
    assert interrupted._grow(NODES) == 0
    assert interrupted._searcher.at_most == 3

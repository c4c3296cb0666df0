"""What members held, and what started them again."""

import pytest

from platform.experiment.cost import Cost, restarts
from platform.experiment.goodput import Attempt


def test_the_cost_is_what_was_held_for_how_long_busy_or_not():
    first = Attempt(100.0, 110.0, ended=160.0, workers=2, cpus_per_worker=4, gpus_per_worker=1, queued_s=50.0)
    second = Attempt(160.0, 170.0, ended=260.0, workers=1, cpus_per_worker=4, gpus_per_worker=1)
    assert Cost.of([first, second]) == Cost(cpu_s=60 * 2 * 4 + 100 * 4, gpu_s=60 * 2 + 100)
    assert Cost.of([first]) + Cost.of([second]) == Cost.of([first, second])


def test_attempts_of_earlier_versions_and_of_this_moment_cost_nothing():
    assert Cost.of([Attempt(100.0, 110.0, ended=160.0), Attempt(160.0, 161.0, cpus_per_worker=1)]) == Cost()


@pytest.mark.parametrize(
    ("reason", "began", "cause"),
    [
        ("rank 1 died: the node ran out of memory", 200.0, "failed"),
        ("preempted: 10.0.0.7 will be taken away", 200.0, "preempted"),
        ("resized from 4 to 2 workers", 200.0, "resized"),
        ("the launcher died", 300.0, "launch"),
        ("preempted: 10.0.0.7 will be taken away", 300.0, "launch"),
    ],
)
def test_a_restart_has_the_cause_that_ended_the_attempt_before(reason: str, began: float, cause: str):
    attempts = [Attempt(100.0, 101.0, ended=200.0, reason=reason), Attempt(began, began + 1)]
    found = restarts(attempts)
    assert found == {"failed": 0, "preempted": 0, "resized": 0, "launch": 0} | {cause: 1}
    assert sum(restarts(attempts[:1]).values()) == 0

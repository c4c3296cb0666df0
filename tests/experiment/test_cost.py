"""What members held, and what started them again."""

import random

import pytest

from platform.experiment.cost import Cost, TimeTogether, restarts, share_out
from platform.experiment.goodput import UNDER_WAY, Attempt


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


def held(name: str, began: float, ended: float, reason: str = "finished") -> tuple[str, Attempt]:
    return name, Attempt(began, began, ended=ended, reason=reason, cpus_per_worker=1)


def test_trials_at_one_worker_share_its_seconds_however_many_come_and_go():
    """As if all were known at once, and without being looked at again for ever."""
    drawn = random.Random(3)
    attempts = [held(f"p{number}", at := 1000 + 7.0 * number, at + drawn.uniform(5, 60)) for number in range(300)]
    together, kept = TimeTogether(), []
    for now in range(1000, 3300, 5):
        for name, each in attempts:
            if now - 5 < each.began <= now:
                together.add(name, each)
        if now % 10 == 0:
            together.share_out()
            kept.append(len(together._attempts))
    together.share_out()
    found = [each.others_s for _, each in attempts]
    share_out([each for _, each in attempts])
    assert found == pytest.approx([each.others_s for _, each in attempts])
    assert max(kept) < 60
    costs = sum(Cost.of([each]).cpu_s for _, each in attempts)
    bounds = sorted((each.began, each.ended) for _, each in attempts)
    busy, until = 0.0, 0.0
    for began, ended in bounds:
        busy, until = busy + max(0.0, ended - max(began, until)), max(until, ended)
    assert costs == pytest.approx(busy)


def test_whose_part_has_changed_is_told():
    together, (_, first), (_, second) = TimeTogether(), held("a", 0, 10, UNDER_WAY), held("b", 5, 10, UNDER_WAY)
    together.add("a", first)
    assert together.share_out() == set()
    together.add("b", second)
    assert together.share_out() == {"a", "b"}
    assert (first.others_s, second.others_s) == (2.5, 2.5)
    assert together.share_out() == set()
    second.ended, second.reason = 20.0, "its process ended"
    first.ended = 30.0
    assert together.share_out() == {"a", "b"}
    assert (first.others_s, second.others_s) == (7.5, 7.5)

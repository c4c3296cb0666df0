"""The attempts, told hand-made beats and events of one or two lanes."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from platform.experiment.cost import Cost, restarts
from platform.experiment.folder import ExperimentFolder
from platform.experiment.goodput import LAUNCHER_LOST, UNDER_WAY, Attempt, Goodput, Times, read_attempts
from platform.lanes import attempts
from platform.lanes.attempts import Attempts
from platform.lanes.mailbox import Beat, GroupEvent
from platform.training.progress import TESTING

HELD = {"cpus_per_worker": 8, "gpus_per_worker": 1}


class Clock:
    """Stands for the launcher's `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The launch is at 1000."""
    made = Clock()
    monkeypatch.setattr(attempts, "time", made)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> ExperimentFolder:
    return ExperimentFolder(tmp_path / "made")


def beat(
    at: float, step: int, *, member: str = "a", lane: int = 0, rank: int = 0, started: float = 1010.0,
    from_step: int = 0, first_step_at: float = 0.0, stalled_s: float = 0.0, world: int = 2, held_since: float = 1000.0,
) -> Beat:  # fmt: skip
    return Beat(
        member, lane, rank, world, f"node{rank}", f"id{rank}", 4242, started, at, from_step, step, first_step_at,
        "computing", stalled_s, cpus=8, gpus=1, held_since=held_since,
    )  # fmt: skip


def written(folder: ExperimentFolder, member: str = "a") -> list[Attempt]:
    return read_attempts(folder.member(member).path)


def test_a_failed_group_is_one_attempt_and_the_next_begins_where_it_ended(folder: ExperimentFolder) -> None:
    launch = Attempts(folder, ["a"])
    launch.beat(beat(1011, 0, from_step=-1))
    launch.beat(beat(1011, 0, from_step=-1, rank=1))
    launch.beat(beat(1070, 100, first_step_at=1020, stalled_s=0.5))
    assert launch.event(GroupEvent(0, "failed", "rank 1 died", 1072)) == ["a"]
    launch.beat(beat(1085, 60, started=1080, from_step=60))
    launch.beat(beat(1130, 140, started=1080, from_step=60, first_step_at=1090))
    launch.end("a", "finished", 1140)
    launch.write(now=True)
    first, second = written(folder)
    assert first == Attempt(1000, 1010, 0, 100, 1020, 1069.5, 1072, 2, ["node0", "node1"], "rank 1 died", **HELD)
    assert second == Attempt(1072, 1080, 60, 140, 1090, 1130, 1140, 2, ["node0"], "finished", **HELD)
    got = Goodput.of([first, second])
    assert (got.attempts, got.repeated_steps, got.wall_s) == (2, 40, 140)
    assert got.lost_s == pytest.approx((1090 - 1072) + 40 * 40 / 80)


def test_the_members_of_a_lane_wait_for_each_other_and_those_of_another_do_not(folder: ExperimentFolder) -> None:
    launch = Attempts(folder, ["a", "b", "c"])
    launch.beat(beat(1050, 10, first_step_at=1015))
    launch.beat(beat(1055, 10, member="c", lane=1, first_step_at=1016))
    launch.end("a", "finished", 1060)
    launch.beat(beat(1065, 5, member="b", started=1061, first_step_at=1062))
    assert launch.event(GroupEvent(0, "failed", "rank 0 died", 1070)) == ["b"]
    assert launch.event(GroupEvent(1, "failed", "rank 1 died", 1071)) == ["c"]
    assert launch.event(GroupEvent(1, "failed", "rank 1 died", 1072)) == []  # before anybody came to life
    launch.write(now=True)
    assert [each.began for each in written(folder, "b")] == [1060]
    assert [(each.began, each.ended, each.reason) for each in written(folder, "c")] == [(1000, 1071, "rank 1 died")]
    assert [each.reason for each in written(folder)] == ["finished"]


def test_a_beat_of_the_next_member_may_come_before_the_end_of_the_last_is_told(folder: ExperimentFolder) -> None:
    launch = Attempts(folder, ["a", "b"])
    launch.beat(beat(1050, 10, first_step_at=1015))
    launch.beat(beat(1062, 5, member="b", started=1061, first_step_at=1062))
    launch.end("a", "finished", 1060)
    launch.end("b", "finished", 1100)
    launch.write(now=True)
    (found,) = written(folder, "b")
    assert (found.began, found.queued_s) == (1060, 60)
    assert written(folder)[0].queued_s == 0


def test_the_last_step_is_not_the_end_of_the_evaluation_behind_it(folder: ExperimentFolder) -> None:
    launch = Attempts(folder, ["a"])
    launch.beat(replace(beat(1050, 10, first_step_at=1015), doing=TESTING, last_step_at=1040.0))
    launch.end("a", "finished", 1060)
    launch.write(now=True)
    (found,) = written(folder)
    assert (found.last_step_at, found.evaluating_at) == (1040, 1050)


def test_a_launcher_that_died_leaves_attempts_and_they_are_gone_on_with(folder: ExperimentFolder, clock: Clock) -> None:
    killed = Attempts(folder, ["a"])
    killed.beat(beat(1050, 40, first_step_at=1015))
    killed.write(now=True)
    assert [each.reason for each in written(folder)] == [UNDER_WAY]
    clock.now = 9000.0
    launch = Attempts(folder, ["a"])
    launch.beat(beat(9015, 30, started=9010, from_step=30))
    clock.now = 9020.0
    launch.close("its workers ended")
    first, second = written(folder)
    assert (first.reason, first.ended) == (LAUNCHER_LOST, 1050)
    assert (second.began, second.from_step, second.reason) == (9000, 30, "its workers ended")
    assert Goodput.of([first, second]).wall_s == 50 + 20


def test_a_notice_of_preemption_is_the_reason_of_the_end_it_announced_and_of_no_other(
    folder: ExperimentFolder,
) -> None:
    launch = Attempts(folder, ["a"])
    launch.beat(beat(1050, 40))
    launch.event(GroupEvent(0, "preempted", "10.0.0.2 will be taken away", 1051))
    launch.event(GroupEvent(0, "failed", "ranks 1 died", 1060))
    launch.beat(beat(1075, 40, started=1070, from_step=40))
    launch.event(GroupEvent(0, "resized", "resized from 2 to 3 workers", 1080))
    launch.beat(beat(1095, 40, started=1090, from_step=40, world=3))
    launch.write(now=True)
    assert [(each.reason, each.workers) for each in written(folder)] == [
        ("preempted: 10.0.0.2 will be taken away", 2),
        ("resized from 2 to 3 workers", 2),
        (UNDER_WAY, 3),
    ]


def test_workers_that_come_back_without_a_word_had_died(folder: ExperimentFolder) -> None:
    launch = Attempts(folder, ["a"])
    launch.beat(beat(1050, 40))
    launch.beat(beat(1075, 20, started=1070, from_step=20))
    launch.write(now=True)
    first, second = written(folder)
    assert (first.reason, first.ended, second.began) == ("its workers died", 1050, 1050)


def test_waiting_does_not_end_an_attempt(folder: ExperimentFolder) -> None:
    launch = Attempts(folder, ["a"])
    launch.beat(beat(1050, 40))
    assert launch.event(GroupEvent(0, "waiting", "for workers", 1051)) == ["a"]
    launch.write(now=True)
    assert [each.reason for each in written(folder)] == [UNDER_WAY]


def test_a_beat_that_comes_late_does_not_reopen_what_is_over(folder: ExperimentFolder) -> None:
    launch = Attempts(folder, ["a"])
    launch.beat(beat(1050, 40))
    launch.end("a", "finished", 1060)
    launch.beat(beat(1055, 40))
    launch.beat(beat(1056, 40, rank=1))
    launch.write(now=True)
    assert [(each.reason, each.ended, each.nodes) for each in written(folder)] == [("finished", 1060, ["node0"])]


def test_waiting_for_room_is_queue_time_and_costs_nothing(folder: ExperimentFolder) -> None:
    """A lane whose nodes come three hours after the launch: eight GPUs for a minute, in two members."""
    launch = Attempts(folder, ["a", "b"])
    launch.beat(beat(11_813, 5, started=11_810, first_step_at=11_812, world=8, held_since=11_800))
    launch.end("a", "finished", 11_840)
    launch.beat(beat(11_842, 5, member="b", started=11_841, first_step_at=11_842, world=8, held_since=11_800))
    launch.end("b", "finished", 11_860)
    a, b = launch.of("a"), launch.of("b")
    assert Cost.of(a) + Cost.of(b) == Cost(cpu_s=60 * 8 * 8, gpu_s=60 * 8)
    assert (Times.of(a).queue_s, Times.of(a).starting_s, Goodput.of(a).wall_s) == (10_800, 12, 40)
    assert (Times.of(b).queue_s, Times.of(b).starting_s, Goodput.of(b).wall_s) == (10_840, 2, 20)
    assert sum(Times.of(a).metrics().values()) == 11_840 - 1000
    assert sum(Times.of(b).metrics().values()) == 11_860 - 1000


def test_who_waits_for_a_node_after_a_failure_holds_nothing_and_loses_the_time(folder: ExperimentFolder) -> None:
    launch = Attempts(folder, ["a"])
    launch.beat(beat(1100, 100, first_step_at=1020))
    launch.event(GroupEvent(0, "failed", "node 10.0.0.2 was lost with rank 1", 1100))
    launch.beat(beat(4720, 100, started=4710, from_step=100, first_step_at=4720, held_since=4700.3))
    launch.end("a", "finished", 4800)
    made = launch.of("a")
    assert Cost.of(made).gpu_s == pytest.approx(2 * (100 + 99.7))
    assert Times.of(made).queue_s == pytest.approx(3600.3)
    assert sum(Times.of(made).metrics().values()) == pytest.approx(4800 - 1000) == Goodput.of(made).wall_s
    assert Goodput.of(made).lost_s == pytest.approx(4720 - 1100)
    assert restarts(made)["failed"] == 1


def test_a_group_that_came_after_the_member_before_it_is_held_from_its_own_start(folder: ExperimentFolder) -> None:
    """It failed between two members; and what a group of an unknown start held before its workers is not known."""
    launch = Attempts(folder, ["a", "b", "c"])
    launch.beat(beat(1050, 10, first_step_at=1015))
    launch.end("a", "finished", 1060)
    launch.beat(beat(2010, 0, member="b", started=2009, held_since=2000))
    launch.beat(beat(3010, 0, member="c", started=3009, held_since=0, lane=1))
    assert [(each.began, each.queued_s) for name in "bc" for each in launch.of(name)] == [(2000, 1000), (3009, 2009)]


def test_members_trained_together_fail_together_and_share_what_they_hold(folder: ExperimentFolder) -> None:
    """Three on one lane, of which one ends earlier; then their workers die."""
    launch = Attempts(folder, ["a", "b", "c"])
    for name, started in (("a", 1010.0), ("b", 1012.0), ("c", 1014.0)):
        launch.beat(replace(beat(1020, 5, member=name, started=started, first_step_at=1016), team="a"))
    launch.end("c", "finished", 1060)
    for name, started in (("a", 1010.0), ("b", 1012.0)):
        launch.beat(replace(beat(1090, 50, member=name, started=started, first_step_at=1016), team="a"))
    assert launch.event(GroupEvent(0, "failed", "rank 0 died", 1100)) == ["a", "b"]
    launch.write(now=True)
    (a,), (b,), (c,) = (written(folder, name) for name in "abc")
    assert [(each.began, each.ended, each.queued_s) for each in (a, b, c)] == [
        (1000, 1100, 0),
        (1000, 1100, 0),
        (1000, 1060, 0),
    ]
    assert (a.reason, b.reason, c.reason) == ("rank 0 died", "rank 0 died", "finished")
    assert [each.others_s for each in (a, b, c)] == pytest.approx([40 + 20, 40 + 20, 40])
    costs = [Cost.of([each]).gpu_s for each in (a, b, c)]
    assert costs == pytest.approx([2 * 40, 2 * 40, 2 * 20])  # of two workers; the lane's 100 s once
    launch.beat(replace(beat(1130, 60, member="a", started=1110, from_step=40, first_step_at=1115), team="a"))
    launch.beat(replace(beat(1130, 60, member="b", started=1110, from_step=40, first_step_at=1115), team="a"))
    launch.end("a", "finished", 1140)
    launch.end("b", "finished", 1150)
    launch.write(now=True)
    assert [each.others_s for each in written(folder, "a")] == pytest.approx([60, 20])
    assert [each.others_s for each in written(folder, "b")] == pytest.approx([60, 20])


def test_the_team_after_one_waits_for_its_last_member(folder: ExperimentFolder) -> None:
    launch = Attempts(folder, ["a", "b", "c"])
    for name in "ab":
        launch.beat(replace(beat(1050, 10, member=name, first_step_at=1015), team="a"))
    launch.event(GroupEvent(0, "preempted", "10.0.0.2 will be taken away", 1051))
    launch.end("a", "finished", 1060)
    launch.beat(beat(1071, 5, member="c", started=1070.5, first_step_at=1071))  # before b's end is told
    launch.end("b", "finished", 1070)
    launch.end("c", "finished", 1100)
    launch.write(now=True)
    (b,), (c,) = written(folder, "b"), written(folder, "c")
    assert (b.began, b.queued_s, b.ended) == (1000, 0, 1070)
    assert (c.began, c.queued_s, c.others_s) == (1070, 70, 0)


def test_trials_that_share_a_worker_have_lanes_of_their_own_and_share_what_it_holds(folder: ExperimentFolder) -> None:
    """One comes later, and one fails by itself."""
    launch = Attempts(folder, ["a", "b"])
    launch.beat(replace(beat(1100, 10, member="a", lane=1, first_step_at=1016), team="shared worker 0"))
    launch.beat(replace(beat(1100, 5, member="b", lane=2, started=1052, held_since=1050), team="shared worker 0"))
    assert launch.event(GroupEvent(2, "failed", "its process ended", 1100)) == ["b"]
    launch.beat(replace(beat(1150, 20, member="a", lane=1, first_step_at=1016), team="shared worker 0"))
    launch.end("a", "finished", 1150)
    launch.write(now=True)
    (a,), (b,) = written(folder, "a"), written(folder, "b")
    assert (a.began, a.ended, a.reason) == (1000, 1150, "finished")
    assert (b.began, b.ended, b.reason) == (1050, 1100, "its process ended")
    assert (a.others_s, b.others_s) == (25, 25)

"""Who stalls is named once; looking for them costs one pass over the beats, however many members there are."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from platform.experiment.folder import ExperimentFolder
from platform.lanes.attempts import Attempts
from platform.lanes.follower import Follower
from platform.lanes.mailbox import Beat, GroupEvent, Message
from platform.lanes.monitor import Monitor
from platform.training.progress import COMPUTING, TESTING, WAITING


class NoRuns:
    """Takes what MLflow would be told."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.delivers = False

    def ended(self, name: str, at: float, said: str) -> None:
        self.reasons.append(said)

    def deliver(self) -> None:
        self.delivers = True


NO_RUNS: Any = NoRuns()


class Terminal:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def state(self, member: str, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class Counted(dict[tuple[str, int], Beat]):
    """A dict that counts the entries that were looked at."""

    looks = 0

    def __iter__(self) -> Iterator[tuple[str, int]]:
        for key in super().__iter__():
            self.looks += 1
            yield key

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


def beat(member: str, rank: int, *, ago_s: float = 0.0, stalled_s: float = 0.0, doing: str = COMPUTING) -> Beat:
    at = time.time() - ago_s
    return Beat(member, 0, rank, 2, f"node{rank}", "id", 1, at, at, -1, 7, 0.0, doing, stalled_s)


def follower(*beats: Beat, attempts: Any = None) -> Follower:
    console: Any = Terminal()
    made = Follower(None, Path("live.json"), 120.0, NO_RUNS, console, attempts, Monitor("made", attempts))
    made._beats = Counted({(each.member, each.rank): each for each in beats})
    return made


def warned(made: Follower) -> list[str]:
    for _ in range(2):
        made._warn_of_stalls()
    terminal: Any = made._console
    return terminal.warnings


def test_of_several_that_stall_those_are_named_that_wait_for_nobody():
    made = follower(
        beat("fine", 0, stalled_s=59),
        beat("slow", 0, stalled_s=90),
        beat("slow", 1, stalled_s=90, doing=WAITING),
        beat("stuck", 0, stalled_s=90),
        beat("stuck", 1, stalled_s=90),
        beat("gone", 0, stalled_s=90, doing=WAITING),
        beat("gone", 1, ago_s=40),
    )
    assert warned(made) == [
        "gone: rank 1 on node1 has not been heard of at step 7",
        "slow: rank 1 on node1 stalled, waiting for data at step 7",
        "stuck: rank 0 on node0 stalled, computing at step 7",
        "stuck: rank 1 on node1 stalled, computing at step 7",
    ]


def test_a_worker_that_outlives_its_trial_by_a_second_is_not_missed_later(tmp_path: Path):
    """Those of a trial that a scheduler stopped tell where they are until their group is given back."""
    made = follower(attempts=Attempts(ExperimentFolder(tmp_path), ["p003-s0"]))
    began, ended = time.time() - 100, time.time() - 41
    message = Message("p003-s0", "ended", text="left by asha", time=ended)
    made._take_message(message)
    made._take_beat(replace(beat("p003-s0", 1, ago_s=40), started=began))
    assert warned(made) == []
    made._take_beat(replace(beat("p003-s0", 1, ago_s=39), started=ended + 1))  # another start of it
    assert warned(made) == ["p003-s0: rank 1 on node1 has not been heard of at step 7"]
    made._take_message(replace(message, text="failed: ShardError: train-0: 3 bytes"))
    assert NO_RUNS.reasons == ["", "ShardError: train-0: 3 bytes"]


def test_every_beat_is_looked_at_once():
    made = follower(*(beat(f"m{number}", rank, stalled_s=90) for number in range(50) for rank in range(4)))
    made._warn_of_stalls()
    terminal: Any = made._console
    assert len(terminal.warnings) == 200
    assert isinstance(made._beats, Counted)
    assert made._beats.looks == 200


def test_prometheus_is_told_what_is_heard(tmp_path: Path):
    attempts = Attempts(ExperimentFolder(tmp_path), ["one", "two"])
    made = follower(attempts=attempts)
    runs: Any = NoRuns()
    runs.log = lambda *_: None
    terminal: Any = made._console
    terminal.metrics = lambda *_: None
    made._runs = runs

    def told() -> dict[tuple[str, ...], float]:
        return {(each.name, *each.labels[1:]): each.value for each in made._monitor.samples()}

    for name in ("one", "two"):
        made._take_beat(beat(name, 0))
        made._take_beat(beat(name, 1))
    made._take_message(Message("one", "metrics", metrics={"train/loss": 2.0, "progress": 0.5}))
    assert told()["platform_train_loss", "one"] == 2.0
    assert told()["platform_workers",] == 4
    made._take_event(GroupEvent(0, "failed", "rank 1 died", time.time()))  # of a member that no attempt names
    made._take_message(Message("two", "ended", text="finished", time=time.time()))
    assert told()["platform_workers",] == 2
    assert told()["platform_members", "finished"] == 1


class OfALane(Future[None]):
    """Waited for in vain if it is not done: nobody would drain what its workers tell."""

    def exception(self, timeout: float | None = None) -> BaseException | None:
        assert self.done(), "the follower waits for a lane whose messages it does not hand on"
        return super().exception(timeout)


def test_a_lane_that_starts_at_the_end_of_the_others_is_followed_to_its_end(monkeypatch: pytest.MonkeyPatch):
    """Nodes may come between the end of the last lane and the last look at the mailbox."""
    made, first, late = follower(), OfALane(), OfALane()
    first.set_result(None)
    futures: list[Future[None]] = [first]
    turns: list[int] = []

    def hand_on() -> None:
        turns.append(len(futures))
        if len(turns) == 1:
            futures.append(late)
        elif len(turns) == 3:
            late.set_result(None)

    monkeypatch.setattr(made, "_hand_on", hand_on)
    made.follow(futures)
    assert turns == [1, 2, 2, 2]  # the last one after its end, for its last messages


@pytest.mark.parametrize("doing", [COMPUTING, TESTING])
def test_mlflow_gets_its_part_when_the_first_member_trains_or_is_evaluated(doing: str):
    made = follower()
    runs: Any = NoRuns()
    made._runs = runs
    made._take_beat(beat("m0", 0, doing=WAITING))
    assert not runs.delivers
    trains = replace(beat("m0", 0, doing=doing), first_step_at=time.time() if doing == COMPUTING else 0.0)
    made._take_beat(trains)
    assert runs.delivers

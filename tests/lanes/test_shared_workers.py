"""Workers that trials share are kept up until the sweep is over. Ray itself stands in the tests of the jobs."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from platform.lanes import shared_workers
from platform.lanes.lane import Lane
from platform.lanes.lone_worker import Preempted, Stalled
from platform.lanes.mailbox import Message
from platform.lanes.shared_workers import SharedWorkers, SharedWorkerStart
from tests.lanes.test_lone_worker import Calls, lost, start  # noqa: F401


@pytest.fixture
def lane() -> Lane:
    return Lane(-1, [], Calls(), shared_worker="shared worker 0")


@pytest.fixture
def workers() -> SharedWorkers:
    made: Any = SharedWorkers.__new__(SharedWorkers)
    made.places, made._is_over, made._starts = Calls(), threading.Event(), {}
    made._gpus, made._departures = 0, None
    return made


def starts(monkeypatch: pytest.MonkeyPatch, begins: Callable[[int], object], waits: Callable[[int], object]) -> Any:
    """What became of each start: what it does is called with its number."""
    made: list[tuple[str, ...]] = []

    class Start:
        def __init__(self, *_: Any) -> None:
            self.number = sum(each == ("start",) for each in made)
            made.append(("start",))
            self.came_to_life = False

        def begin(self) -> None:
            begins(self.number)

        def wait(self) -> None:
            self.came_to_life = self.number != 1  # all but the second
            waits(self.number)

        def reason(self, error: Exception) -> str:
            return type(error).__name__

        def end(self) -> None:
            made.append(("end",))

    monkeypatch.setattr(shared_workers, "SharedWorkerStart", Start)
    monkeypatch.setattr(shared_workers, "tell", lambda lane, kind, text: made.append((kind, text)))
    monkeypatch.setattr(shared_workers, "time", SimpleNamespace(sleep=lambda seconds: made.append(("pause",))))
    return made


def test_a_worker_that_ends_is_followed_by_another_and_has_no_places(
    workers: SharedWorkers, lane: Lane, monkeypatch: pytest.MonkeyPatch
):
    """Nobody is told of those that the launcher itself has ended."""
    errors = [ActorDiedError(), Stalled(), Preempted(), ActorDiedError()]

    def wait(number: int) -> None:
        if number == 3:
            workers.close()
        raise errors[number]

    made = starts(monkeypatch, lambda number: None, wait)
    workers._keep_up(0, lane)
    assert made == [
        *(("start",), ("lost", "ActorDiedError"), ("end",)),
        *(("start",), ("failed", "Stalled"), ("end",), ("pause",)),
        *(("start",), ("lost", "Preempted"), ("end",)),
        *(("start",), ("end",), ("end",)),
    ]
    assert workers.places.made == [("close", 0)] * 4


def test_one_that_begins_while_all_are_closed_is_ended(
    workers: SharedWorkers, lane: Lane, monkeypatch: pytest.MonkeyPatch
):
    """`close` found none to end yet."""
    made = starts(monkeypatch, lambda number: workers._is_over.set(), lambda number: pytest.fail("nobody ends it"))
    workers._keep_up(0, lane)
    assert made == [("start",), ("end",)]


def test_what_nobody_expects_ends_the_launch_instead_of_having_trials_wait_for_ever(
    workers: SharedWorkers, lane: Lane, monkeypatch: pytest.MonkeyPatch
):
    def begin(number: int) -> None:
        raise ValueError("no bundle")

    starts(monkeypatch, begin, lambda number: None)
    with pytest.raises(ValueError, match="no bundle"):
        workers._keep_up(0, lane)
    text = "no worker can be kept up: ValueError: no bundle"
    assert lane.mailbox.made == [("put", Message("shared worker 0", "fatal", text=text))]


@pytest.fixture
def started(start: Any) -> Any:  # noqa: F811
    """One that shares its worker among four."""
    start.__class__ = SharedWorkerStart
    start._places, start._each, start._number = Calls(), 4, 2
    return start


def test_its_places_are_open_once_it_is_there(started: Any):
    with pytest.raises(ActorDiedError):
        started.wait()
    assert started._places.made == [("open", 2, started._worker)]


def test_a_worker_whose_node_leaves_takes_no_more_trials_and_is_told_once(started: Any):
    started._departures.deadlines_ms = {"aaaa": 1_030_000}
    with pytest.raises(Preempted):
        started.wait()
    assert [name for name, *_ in started._places.made] == ["open", "refuse"]
    assert [name for name, *_ in started._worker.made].count("leave") == 1


def test_each_trial_may_be_told_to_leave_while_all_train_and_somebody_asks(started: Any):
    trains, leaves, own = 4, 4, ["run", "answer", "leave"]
    assert started._calls() >= trains + leaves + len(own)

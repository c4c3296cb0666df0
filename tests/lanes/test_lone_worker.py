"""A lane of one worker: why it is started again, when it leaves its node, and what the launcher is told. Ray itself
stands in the tests of the jobs."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError

from platform.cluster import nodes
from platform.cluster.nodes import Departures
from platform.lanes import lone_worker
from platform.lanes.lone_worker import ASKED_EVERY_S, STAYS_S, Node, Preempted, Stalled, Start, run_alone
from platform.lanes.mailbox import GroupEvent

HERE = Node("aaaa", "10.0.0.1")
PENDING, DONE = "pending", "done"


class Departing:
    """In the place of Departures: deadlines by node."""

    def __init__(self) -> None:
        self.deadlines_ms: dict[str, int] = {}

    def deadline_ms(self, node_id: str) -> int | None:
        return self.deadlines_ms.get(node_id)


class Calls:
    """Any actor: what was called, in order, and what the calls answer."""

    def __init__(self, **answers: Any) -> None:
        self.made: list[tuple[Any, ...]] = []
        self._answers = answers

    def __getattr__(self, name: str) -> Any:
        def remote(*arguments: Any) -> Any:
            self.made.append((name, *arguments))
            return self._answers.get(name, DONE)

        return SimpleNamespace(remote=remote)


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ray's ids of the nodes that are gone: put some in."""
    gone: list[str] = []
    monkeypatch.setattr(lone_worker, "lost_nodes", lambda ids: [node for node in ids if node in gone])
    return gone


@pytest.fixture
def start(lost: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A start whose worker runs for ever, on a clock that each look moves on."""
    made: Any = Start.__new__(Start)
    made._lane = SimpleNamespace(number=3, mailbox=Calls(), shared_worker="")
    made._cluster = SimpleNamespace(stall_timeout_s=60)
    made._gpus, made._departures = 0, Departing()
    made._reserved, made._asked_at = SimpleNamespace(id=b"\xaa"), 0.0
    made._worker = Calls(node=("aaaa", "10.0.0.1"), run=PENDING, answer=DONE)
    made._node, made._leaves_at = None, 0.0
    clock = [1000.0]

    def wait(refs: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        clock[0] += timeout
        if clock[0] > 10_000:
            raise ActorDiedError
        return ([], refs) if refs == [PENDING] else (refs, [])

    monkeypatch.setattr(lone_worker.ray, "wait", wait)
    monkeypatch.setattr(lone_worker.ray, "get", lambda ref: ref)
    monkeypatch.setattr(lone_worker.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(lone_worker.time, "time", lambda: clock[0])
    monkeypatch.setattr(lone_worker, "held_s", lambda reserved, since_asked_s: 0.5)
    return made


def told(start: Any) -> list[tuple[str, str]]:
    """Kind and text of the events that the mailbox got."""
    events = [call[1] for call in start._lane.mailbox.made if call[0] == "put"]
    assert all(isinstance(event, GroupEvent) and event.lane == 3 for event in events)
    return [(event.kind, event.text) for event in events]


def of_memory() -> ActorDiedError:
    error = ActorDiedError()
    error.error_msg = "1 worker(s) were killed due to the node running low on memory."
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ActorDiedError(), "rank 0 died"),
        (of_memory(), "rank 0 died: the node ran out of memory"),
        (OutOfMemoryError("the node is full"), "rank 0 died: the node ran out of memory"),
        (RayTaskError("run", "Traceback", ValueError("mine\nand more")), "rank 0: ValueError: mine"),
        (RayTaskError("run", "Traceback", ValueError("mine")).as_instanceof_cause(), "rank 0: ValueError: mine"),
        (Stalled(), "rank 0 on 10.0.0.1 stalled"),
        (Preempted(), "preempted: 10.0.0.1 was to be gone by now"),
    ],
)  # fmt: skip
def test_why_it_failed_is_said_as_of_a_group(start: Any, error: Exception, reason: str) -> None:
    start._node = HERE
    assert start.reason(error) == reason


def test_a_lost_node_is_named_before_the_worker_that_it_took_along(start: Any, lost: list[str]) -> None:
    start._node = HERE
    lost.append("aaaa")
    assert start.reason(ActorDiedError()) == "node 10.0.0.1 was lost with rank 0"


def test_the_mailbox_knows_what_a_lane_holds_before_it_runs(start: Any) -> None:
    with pytest.raises(ActorDiedError):
        start.wait()
    assert start._lane.mailbox.made[0] == ("group_started", 3, "aa", 0.5)
    assert [name for name, *_ in start._worker.made][:2] == ["node", "run"]


def test_whether_it_lives_is_asked_rarely(start: Any) -> None:
    """Of many lanes at a time."""
    with pytest.raises(ActorDiedError):
        start.wait()
    asked = [name for name, *_ in start._worker.made].count("answer")
    assert 0.5 * 9000 / ASKED_EVERY_S < asked <= 9000 / ASKED_EVERY_S


def test_a_worker_that_does_not_answer_is_given_up(start: Any) -> None:
    start._worker = Calls(node=("aaaa", "10.0.0.1"), run=PENDING, answer=PENDING)
    with pytest.raises(Stalled):
        start.wait()
    assert [name for name, *_ in start._worker.made].count("answer") == 1


def test_a_cluster_that_does_not_tell_of_its_nodes_ends_nothing(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> Any:
        raise RuntimeError("no answer")

    start._node = HERE
    monkeypatch.setattr(lone_worker, "lost_nodes", gone)
    monkeypatch.setattr(nodes, "draining_nodes", gone)
    monkeypatch.setattr(nodes, "placement_group_table", gone)
    assert start.reason(ActorDiedError()) == "rank 0 died"
    assert Departures().deadline_ms("aaaa") is None
    assert nodes.has_room(start._reserved)


def test_a_node_that_leaves_is_told_once_and_left_at_its_deadline(start: Any) -> None:
    start._departures.deadlines_ms = {"aaaa": 1_030_000, "bbbb": 1}
    with pytest.raises(Preempted):
        start.wait()
    assert told(start) == [("preempted", "10.0.0.1 will be taken away")]
    assert [name for name, *_ in start._worker.made].count("leave") == 1
    assert lone_worker.time.time() == pytest.approx(1030, abs=1)


def test_a_node_that_leaves_at_an_unknown_time_is_left_as_ray_train_leaves_it(start: Any) -> None:
    start._departures.deadlines_ms = {"aaaa": 0}
    with pytest.raises(Preempted):
        start.wait()
    assert lone_worker.time.time() == pytest.approx(1000 + STAYS_S, abs=2)


@pytest.mark.parametrize(("state", "said"), [("PENDING", 1), ("CREATED", 0)])
def test_waiting_for_room_is_told_once_and_slow_processes_are_not(
    start: Any, monkeypatch: pytest.MonkeyPatch, state: str, said: int
) -> None:
    start._worker = Calls(node=PENDING)
    monkeypatch.setattr(lone_worker, "has_room", lambda reserved: state == "CREATED")
    with pytest.raises(ActorDiedError):
        start.wait()
    assert told(start) == said * [("waiting", "the cluster has no room for 1 of them now")]


def test_each_failure_is_told_and_followed_by_a_start_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, unless no worker came to life: whatever the reason is, it is not tried again and again."""
    errors: list[Exception] = [ActorDiedError(), Stalled(), Preempted()]
    made: list[Any] = []

    class OneOf:
        def __init__(self, *_: Any) -> None:
            made.append("start")
            self.came_to_life = len(errors) != 2  # all but the second

        def begin(self) -> None:
            pass

        def wait(self) -> None:
            if errors:
                raise errors.pop(0)

        def reason(self, error: Exception) -> str:
            return type(error).__name__

        def end(self) -> None:
            made.append("end")

    monkeypatch.setattr(lone_worker, "Start", OneOf)
    monkeypatch.setattr(lone_worker, "tell", lambda lane, kind, text: made.append((kind, text)))
    monkeypatch.setattr(lone_worker.time, "sleep", lambda seconds: made.append("pause"))
    run_alone(None, 0, None)  # pyright: ignore[reportArgumentType]
    assert made == [
        *("start", ("failed", "ActorDiedError"), "end"),
        *("start", ("failed", "Stalled"), "end", "pause"),
        *("start", ("failed", "Preempted"), "end"),
        *("start", "end"),
    ]


def test_ray_is_asked_for_departures_once_a_second_by_all_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    now = [5.0]
    monkeypatch.setattr(nodes, "draining_nodes", lambda: asked.append(now[0]) or {"aaaa": 7})
    monkeypatch.setattr(nodes.time, "monotonic", lambda: now[0])
    departures = Departures()
    for _ in range(64):
        assert departures.deadline_ms("aaaa") == 7
        assert departures.deadline_ms("bbbb") is None
    now[0] += 1.0
    departures.deadline_ms("aaaa")
    assert asked == [5.0, 6.0]
    assert time.monotonic() == 6.0

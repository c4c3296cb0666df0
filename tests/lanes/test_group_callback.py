"""Why a worker group is started again, out of the errors that Ray Train hands over: hand-made ones."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2._internal.execution.controller.state import ReschedulingState, RestartingState
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError
from ray.train.v2.api.preemption import PreemptionInfo

from platform.cluster import nodes
from platform.lanes import group_callback
from platform.lanes.group_callback import GroupWatch
from platform.lanes.mailbox import GroupEvent

NODES = {0: ("aaaa", "10.0.0.1"), 1: ("bbbb", "10.0.0.2"), 2: ("bbbb", "10.0.0.2")}
PEER_LOST = RuntimeError("[gloo/tcp/pair.cc:538] Connection closed by peer [10.0.0.2]:4242\nand more")
STUCK = WorkerHealthCheckTimeoutError("A worker health check has been hanging")
SIGKILLED = (  # Ray's words for any process that is gone
    "Worker unexpectedly exits with a connection error code 2. Some common causes include: (1) the process was killed "
    "by the OOM killer due to high memory usage, (2) ray stop --force was called"
)


class _Remote:
    def __init__(self, told: list[GroupEvent]) -> None:
        self._told = told

    def remote(self, event: GroupEvent) -> None:
        self._told.append(event)


class FakeMailbox:
    def __init__(self) -> None:
        self.told: list[GroupEvent] = []
        self.put = _Remote(self.told)


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ray's ids of the nodes that are gone: put some in."""
    gone: list[str] = []
    monkeypatch.setattr(group_callback, "lost_nodes", lambda ids: [node for node in ids if node in gone])
    return gone


@pytest.fixture
def watch(lost: list[str]) -> GroupWatch:
    watched = GroupWatch(FakeMailbox(), 3, 20.0)
    watched._nodes = dict(NODES)
    return watched


def died(failure: Exception | None = None) -> Exception:
    return WorkerHealthCheckFailedError("A worker health check failed.", failure or ActorDiedError())


def killed_by_ray() -> Exception:
    error = ActorDiedError()
    error.error_msg = "1 worker(s) were killed due to the node running low on memory."
    return error


def killed() -> Exception:
    error = ActorDiedError()
    error.error_msg = SIGKILLED
    return error


@pytest.mark.parametrize(
    ("failures", "reason"),
    [
        ({1: died()}, "rank 1 died"),
        ({1: died(killed())}, "rank 1 died"),
        ({1: died(killed_by_ray())}, "rank 1 died: the node ran out of memory"),
        ({1: died(OutOfMemoryError("the node is full"))}, "rank 1 died: the node ran out of memory"),
        ({0: PEER_LOST, 2: died(), 1: died()}, "ranks 1, 2 died"),  # before who only lost them in an exchange
        ({0: PEER_LOST, 1: STUCK}, "rank 1 on 10.0.0.2 stalled"),
        ({0: PEER_LOST}, "ranks 1, 2 on 10.0.0.2 did not answer the others"),
        ({0: PEER_LOST, 1: PEER_LOST, 2: ValueError("mine")}, "rank 2: ValueError: mine"),
    ],
)  # fmt: skip
def test_who_failed_is_named_and_why(watch: GroupWatch, failures: dict[int, Any], reason: str) -> None:
    assert watch._reason(WorkerGroupError("whatever", failures)) == reason


def test_a_lost_node_is_named_before_the_ranks_that_it_took_along(watch: GroupWatch, lost: list[str]) -> None:
    lost.append("bbbb")
    error = WorkerGroupError("whatever", {0: PEER_LOST, 1: died(), 2: died()})
    assert watch._reason(error) == "node 10.0.0.2 was lost with ranks 1, 2"


def test_errors_of_the_controller_are_said_in_their_first_line(watch: GroupWatch) -> None:
    timeout = ControllerError(WorkerGroupStartupTimeoutError(2))
    assert watch._reason(timeout) == "the cluster has no room for 2 of them now"
    assert watch._reason(ControllerError(ValueError("one\ntwo"))) == "one"


def test_preemption_is_called_so(watch: GroupWatch) -> None:
    info = PreemptionInfo(0, {"bbbb": [1, 2]})
    assert watch._reason(PreemptionError(info)).startswith("preempted: ")


def test_the_launcher_is_told_of_a_restart_and_once_of_a_wait(watch: GroupWatch) -> None:
    error = WorkerGroupError("whatever", {1: died()})
    running, waiting = RestartingState(error), ReschedulingState(error)
    watch.after_controller_state_update(None, running)
    watch.after_controller_state_update(running, waiting)
    watch.after_controller_state_update(waiting, ReschedulingState(error))
    told = watch._mailbox.told
    assert [(event.lane, event.kind, event.text) for event in told] == [
        (3, "failed", "rank 1 died"),
        (3, "waiting", "rank 1 died"),
    ]


def test_nothing_that_goes_wrong_here_ends_the_controller(watch: GroupWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_reason", lambda error: 1 / 0)
    watch.after_controller_state_update(None, RestartingState(WorkerGroupError("whatever", {})))


class Calls:
    """Any method of an actor, called."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, ...]] = []
        self.group_started = SimpleNamespace(remote=lambda *arguments: self.made.append(arguments))


@pytest.mark.parametrize(("noted_ms", "held_s"), [(3_000.0, 7.5), (None, 0.0), (99_000.0, 0.0)])
def test_resources_are_held_since_ray_had_them_and_not_since_it_was_asked(
    monkeypatch: pytest.MonkeyPatch, noted_ms: float | None, held_s: float
) -> None:
    """Ten and a half seconds from the question to the workers' start. What Ray has not noted is not guessed."""
    mailbox, now = Calls(), [50.0]
    monkeypatch.setattr(group_callback.time, "monotonic", lambda: now[0])
    table = {"stats": {} if noted_ms is None else {"end_to_end_creation_latency_ms": noted_ms}}
    monkeypatch.setattr(nodes, "placement_group_table", lambda group: table)
    watch = GroupWatch(mailbox, 3, 20.0)
    now[0] = 100.0
    watch.before_worker_group_start(None)
    now[0] = 110.5
    handle = SimpleNamespace(placement_group=SimpleNamespace(id=b"\xaa"))
    state = SimpleNamespace(placement_group_handle=handle)
    watch.after_worker_group_start(SimpleNamespace(get_workers=list, _worker_group_state=state))
    assert mailbox.made == [(3, "aa", held_s)]

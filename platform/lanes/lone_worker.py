"""A lane of one worker: an actor in the place of a Ray Train worker group, which has processes of its own that would
start, and be polled, before and beside the training.

In: a lane. Out: its members have ended. Where the worker fails, another one starts, and the launcher is told why, as of
a group.
"""

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util import get_node_ip_address
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from platform.cluster.nodes import Departures, has_room, held_s, lost_nodes
from platform.cluster.threads import TURN_S
from platform.lanes.lane import Lane
from platform.lanes.mailbox import ANSWER_S, GroupEvent
from platform.lanes.reasons import out_of_memory
from platform.text import first_line

NO_ROOM_AFTER_S = 30.0  # without room, before it is said
ASKED_EVERY_S = 5.0  # whether the worker lives
PAUSE_S = 1.0  # after a start in which no worker came to life
STAYS_S = 120.0  # on a node that leaves at an unknown time, as Ray Train has it
TELL_WITHIN_S = 60.0  # the mailbox, on a head that is busy


class LoneWorker:
    """The actor. Its methods beside `run` answer while that runs."""

    def __init__(self) -> None:
        self._leaves = threading.Event()

    def node(self) -> tuple[str, str]:
        """Ray's id of its node, and the address."""
        return ray.get_runtime_context().get_node_id(), get_node_ip_address()

    def run(self, lane: Lane, gpus: int) -> None:
        """Train and evaluate the lane's members, and return when the mailbox has all that was told."""
        import torch

        from platform.lanes.worker import run_lane

        device = torch.device("cuda", 0) if gpus else torch.device("cpu")
        try:
            run_lane(lane, 0, 1, device, self._leaves.is_set)
        finally:
            with contextlib.suppress(RayError, GetTimeoutError):  # it takes calls in their order: this one is the last
                ray.get(lane.mailbox.claims.remote(), timeout=ANSWER_S)

    def leave(self) -> None:
        """Its node is about to be taken away."""
        self._leaves.set()

    def answer(self) -> None:
        """It lives."""


class Stalled(Exception):
    """A worker that does not answer."""


class Preempted(Exception):
    """A worker whose node should be gone by now."""


@dataclass(frozen=True)
class Node:
    """Where a worker is."""

    id: str  # Ray's
    address: str


def run_alone(lane: Lane, gpus: int, departures: Departures) -> None:
    """Run a lane in an actor until its members have ended, each start in a new process.

    Args:
        lane: its members, of which each counts its starts: see `member_state`.
        gpus: of the worker.
        departures: the nodes that are about to leave.

    Raises:
        RayError: the mailbox, and so the launcher's node, is gone.
    """
    while True:
        start = Start(lane, gpus, departures)
        try:
            start.begin()
            start.wait()
        except (RayError, Stalled, Preempted) as error:
            tell(lane, "failed", start.reason(error))
            start.end()
            if not start.came_to_life:
                time.sleep(PAUSE_S)
        else:
            start.end()
            return


class Start:
    """One worker of a lane, from the request for its resources to its end."""

    def __init__(self, lane: Lane, gpus: int, departures: Departures) -> None:
        self._cluster = lane.members[0].config.cluster
        self._lane, self._gpus, self._departures = lane, gpus, departures
        self._worker: Any = None
        self._node: Node | None = None
        self._leaves_at = 0.0  # seconds since the epoch; 0: its node stays

    def begin(self) -> None:
        """Ask Ray for the resources and the worker.

        Raises:
            RayError: the cluster does not answer.
        """
        self._asked_at, cpus, gpus = time.monotonic(), self._cluster.cpus_per_worker, self._gpus
        # As Ray Train reserves them: the same placement, and one thing to give back.
        self._reserved: PlacementGroup = placement_group(
            [{"CPU": float(cpus)} | ({"GPU": float(gpus)} if gpus else {})]
        )
        options = {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "max_concurrency": self._calls(),
            "scheduling_strategy": PlacementGroupSchedulingStrategy(self._reserved),
        }
        self._worker = self._made(options)

    def wait(self) -> None:
        """Wait for the worker, and until it has run its lane.

        Raises:
            RayError: it died, or what it raised.
            Stalled: it does not answer.
            Preempted: its node should be gone.
        """
        self._node = Node(*self._started())
        held = held_s(self._reserved, time.monotonic() - self._asked_at)
        self._lane.mailbox.group_started.remote(self._lane.number, self._reserved.id.hex(), held)
        running = self._put_to_work()
        asked, asked_at = None, time.monotonic()
        while not ray.wait([running], timeout=TURN_S)[0]:
            self._look_for_a_departure(self._node)
            if asked is None and time.monotonic() - asked_at > ASKED_EVERY_S:
                asked, asked_at = self._worker.answer.remote(), time.monotonic()
            elif asked is not None and ray.wait([asked], timeout=0)[0]:
                asked = None
            elif asked is not None and time.monotonic() - asked_at > self._cluster.stall_timeout_s:
                raise Stalled
        ray.get(running)

    def _calls(self) -> int:
        """How many of the worker's calls may run at a time: `run`, and one that asks."""
        return 2

    def _made(self, options: dict[str, Any]) -> Any:
        """Ray's handle of the worker, with these options."""
        return ray.remote(LoneWorker).options(**options).remote()

    def _put_to_work(self) -> Any:
        """Ray's reference of what the worker does, when it is there."""
        return self._worker.run.remote(self._lane, self._gpus)

    def _started(self) -> tuple[str, str]:
        """The worker's node, when it is there."""
        began, said = time.monotonic(), False
        node = self._worker.node.remote()
        while not ray.wait([node], timeout=TURN_S)[0]:
            if not said and time.monotonic() - began > NO_ROOM_AFTER_S and not has_room(self._reserved):
                said = True
                tell(self._lane, "waiting", "the cluster has no room for 1 of them now")
        return ray.get(node)

    def _look_for_a_departure(self, node: Node) -> None:
        """Have the worker save often when its node is about to be taken away, and leave it when it should be gone.

        Raises:
            Preempted: that is now.
        """
        deadline_ms = self._departures.deadline_ms(node.id)
        if deadline_ms is not None and not self._leaves_at:
            self._leaves_at = deadline_ms / 1000 or time.time() + STAYS_S
            self._worker.leave.remote()
            tell(self._lane, "preempted", f"{node.address} will be taken away")
        if self._leaves_at and time.time() >= self._leaves_at:
            raise Preempted

    def reason(self, error: BaseException) -> str:
        """Why the worker failed, in a few words."""
        match error:
            case Preempted():
                return f"preempted: {self._address} was to be gone by now"
            case Stalled():
                return f"rank 0 on {self._address} stalled"
            case _ if self._node and _is_lost(self._node):
                return f"node {self._address} was lost with rank 0"
            case RayTaskError():
                cause = error.cause if isinstance(error.cause, BaseException) else error
                return f"rank 0: {type(cause).__name__}: {first_line(cause)}"
        return f"rank 0 died{out_of_memory(error)}"

    @property
    def came_to_life(self) -> bool:
        """Whether the worker was there."""
        return self._node is not None

    @property
    def _address(self) -> str:
        return self._node.address if self._node else "its node"

    def end(self) -> None:
        """End the worker, and give back its resources."""
        if self._worker is not None:
            with contextlib.suppress(Exception):  # of a cluster that is gone
                ray.kill(self._worker)
                remove_placement_group(self._reserved)


def _is_lost(node: Node) -> bool:
    """Whether a node is gone, as far as Ray tells."""
    with contextlib.suppress(Exception):
        return bool(lost_nodes([node.id]))
    return False


def tell(lane: Lane, kind: str, text: str) -> None:
    """Tell the mailbox, and wait for its answer, on a head that is busy for `TELL_WITHIN_S` at most.

    Raises:
        RayError: it is gone.
    """
    event, end = GroupEvent(lane.number, kind, text, whose=lane.shared_worker), time.monotonic() + TELL_WITHIN_S
    told = lane.mailbox.put.remote(event)
    while not ray.wait([told], timeout=TURN_S)[0]:
        if time.monotonic() > end:
            return  # it comes when it can
    ray.get(told)

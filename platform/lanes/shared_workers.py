"""The workers that train trials of a sweep together, kept up as long as the sweep goes on.

In: how many, and how many trials each may have. Out: places for trials; a worker that ends is followed by another, and
the launcher is told why.
"""

import contextlib
import functools
import threading
import time
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from platform.cluster.nodes import Departures
from platform.cluster.threads import in_thread
from platform.lanes.lane import Lane, LaneMember
from platform.lanes.lone_worker import PAUSE_S, Node, Preempted, Stalled, Start, tell
from platform.lanes.mailbox import ANSWER_S, Message
from platform.lanes.places import Places
from platform.lanes.shared_worker import SharedWorker
from platform.text import first_line


class SharedWorkers:
    """Those of one launch, each followed by a thread of this process until `close`.

    Args:
        count: how many; `add` has more.
        each: trials that one trains together at most.
        gpus: of each worker.
        member: stands for all trials: what its config says of workers is the same for all.
        mailbox: Ray's handle of a Mailbox.
    """

    def __init__(self, count: int, each: int, gpus: int, member: LaneMember, mailbox: Any) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.places: Any = ray.remote(Places).options(num_cpus=0, scheduling_strategy=here).remote(each)
        self.count, self.each = 0, each
        self._gpus, self._member, self._mailbox = gpus, member, mailbox
        self._departures, self._is_over = Departures(), threading.Event()
        self._starts: dict[int, SharedWorkerStart] = {}
        self.add(count)

    def add(self, count: int) -> None:
        """Have so many more, whose places are open once they are there."""
        for number in range(self.count, self.count + count):
            lane = Lane(-1 - number, [self._member], self._mailbox, shared_worker=f"shared worker {number}")
            in_thread(functools.partial(self._keep_up, number, lane))
        self.count += count

    def steps_together(self) -> int:
        """How many steps of trials were made together with others', as far as is known."""
        with contextlib.suppress(RayError):
            return ray.get(self.places.steps_together.remote(), timeout=ANSWER_S)
        return 0

    def close(self) -> None:
        """End them all."""
        self._is_over.set()
        for start in list(self._starts.values()):
            start.end()

    def _keep_up(self, number: int, lane: Lane) -> None:
        """Have a worker, and another one where it ends."""
        while not self._is_over.is_set():
            start = self._starts[number] = SharedWorkerStart(lane, self._gpus, self._departures, self, number)
            try:
                start.begin()
                if self._is_over.is_set():  # `close` came before there was a worker to end
                    start.end()
                    return
                start.wait()
            except (RayError, Stalled, Preempted) as error:
                self.places.close.remote(number)
                if not self._is_over.is_set():
                    tell(lane, "lost" if start.came_to_life else "failed", start.reason(error))
                start.end()
            except Exception as error:  # trials would wait for a place for ever
                text = f"no worker can be kept up: {type(error).__name__}: {first_line(error)}"
                lane.mailbox.put.remote(Message(lane.shared_worker, "fatal", text=text))
                raise
            if not start.came_to_life:
                time.sleep(PAUSE_S)


class SharedWorkerStart(Start):
    """One shared worker, from the request for its resources to its end."""

    def __init__(self, lane: Lane, gpus: int, departures: Departures, workers: SharedWorkers, number: int) -> None:
        super().__init__(lane, gpus, departures)
        self._places, self._each, self._number = workers.places, workers.each, number

    def _calls(self) -> int:
        return 2 * self._each + 3  # each trial trains, and may be told to leave; the worker's own

    def _made(self, options: dict[str, Any]) -> Any:
        return ray.remote(SharedWorker).options(**options).remote(self._gpus)

    def _put_to_work(self) -> Any:
        self._places.open.remote(self._number, self._worker)
        return super()._put_to_work()

    def _look_for_a_departure(self, node: Node) -> None:
        before = self._leaves_at
        super()._look_for_a_departure(node)
        if self._leaves_at and not before:
            self._places.refuse.remote(self._number)

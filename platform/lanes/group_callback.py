"""What Ray Train does with a lane's worker group, told to the launcher: why it starts it again, and with how many.

Runs in Ray Train's controller, where an error would end the whole lane: nothing raises, nothing waits long.
"""

import contextlib
import time
from typing import Any

import ray
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.controller.state import (
    PreemptingState,
    ReschedulingState,
    ResizingState,
    RestartingState,
)
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError

from platform.cluster.nodes import held_s, lost_nodes
from platform.lanes.mailbox import GroupEvent
from platform.lanes.reasons import lost_a_peer, out_of_memory, ranks_of
from platform.text import first_line

ASK_EVERY_S = 0.2


class GroupWatch(ControllerCallback, WorkerGroupCallback):
    """A callback of Ray Train for one lane.

    Args:
        mailbox: the launcher's.
        lane: its number.
        grace_s: how long a resize waits for a checkpoint.
    """

    def __init__(self, mailbox: Any, lane: int, grace_s: float) -> None:
        self._mailbox, self._lane, self._grace_s = mailbox, lane, grace_s
        self._nodes: dict[int, tuple[str, str]] = {}  # rank -> (Ray's id of its node, address)
        self._notified: object = None
        self._asked_at = time.monotonic()  # for what the workers are to hold

    def before_worker_group_start(self, worker_group_context: Any) -> None:
        """Note when Ray is asked for the workers' resources: it does so next, and waits for them."""
        self._asked_at = time.monotonic()

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Note where the workers are, and tell the mailbox what they hold."""
        with contextlib.suppress(Exception):
            self._nodes = {
                worker.distributed_context.world_rank: (worker.metadata.node_id, worker.metadata.node_ip)
                for worker in worker_group.get_workers()
            }
            reserved = worker_group._worker_group_state.placement_group_handle.placement_group
            since_asked_s = time.monotonic() - self._asked_at
            self._mailbox.group_started.remote(self._lane, reserved.id.hex(), held_s(reserved, since_asked_s))

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Called at every turn of the controller's loop, whether or not the state is another."""
        with contextlib.suppress(Exception):
            match current_state:
                case RestartingState():
                    self._tell("failed", self._reason(current_state.training_failed_error))
                case ReschedulingState() if type(previous_state) is not ReschedulingState:
                    self._tell("waiting", self._reason(current_state.training_failed_error))
                case ResizingState():
                    size = getattr(current_state.scaling_decision, "num_workers", 0)
                    self._tell("resized", f"resized from {len(self._nodes)} to {size} workers")
                    self._save_first()
                case PreemptingState() if type(previous_state) is not PreemptingState:
                    nodes = ", ".join(
                        sorted({self._nodes[r][1] for r in current_state.preemption_info.preempted_ranks})
                    )
                    self._tell("preempted", f"{nodes} will be taken away")

    def _save_first(self) -> None:
        """Ray Train ends the group without a notice; this hook makes it wait, and the workers go on meanwhile."""
        number = ray.get(self._mailbox.ask_for_checkpoints.remote(), timeout=5)
        end = time.monotonic() + self._grace_s
        while time.monotonic() < end:
            if ray.get(self._mailbox.is_answered.remote(number, self._lane), timeout=5):
                return
            time.sleep(ASK_EVERY_S)

    def _addresses(self, ranks: list[int]) -> str:
        return ", ".join(sorted({self._nodes[rank][1] for rank in ranks}))

    def _tell(self, kind: str, text: str) -> None:
        self._mailbox.put.remote(GroupEvent(self._lane, kind, text))

    def _reason(self, error: BaseException) -> str:
        """Who failed, in a few words: a worker that died before one that only lost this peer."""
        if isinstance(error, PreemptionError):
            return f"preempted: {first_line(error)}"
        if isinstance(error, ControllerError):
            failure = error.controller_failure
            if isinstance(failure, WorkerGroupStartupTimeoutError):
                return f"the cluster has no room for {failure.num_workers} of them now"
            return first_line(failure)
        if not isinstance(error, WorkerGroupError):
            return first_line(error)
        failures = error.worker_failures
        if lost := set(lost_nodes(node for node, _ in self._nodes.values())):
            ranks = [rank for rank, (node, _) in self._nodes.items() if node in lost]
            return f"node {self._addresses(ranks)} was lost with {ranks_of(ranks)}"
        stuck = [rank for rank, each in failures.items() if isinstance(each, WorkerHealthCheckTimeoutError)]
        if stuck:
            return f"{ranks_of(stuck)} on {self._addresses(stuck)} stalled"
        died = {rank: each for rank, each in failures.items() if isinstance(each, WorkerHealthCheckFailedError)}
        if died:
            return f"{ranks_of(list(died))} died{out_of_memory(next(iter(died.values())).health_check_failure)}"
        own = {rank: each for rank, each in failures.items() if not lost_a_peer(each)}
        silent = sorted(self._nodes.keys() - failures.keys())
        if not own and silent:
            return f"{ranks_of(silent)} on {self._addresses(silent)} did not answer the others"
        rank, failure = next(iter((own or failures).items()))
        return f"rank {rank}: {type(failure).__name__}: {first_line(failure)}"

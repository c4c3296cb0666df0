"""A Ray cluster that is there, whose processes and nodes are killed by small Ray tasks on the nodes.

In: the cluster's address. Out: faults; lost nodes are replaced by whoever runs the cluster (KubeRay, an autoscaler).
"""

import os
import signal
import subprocess
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from platform.chaos import session
from platform.checkout import ROOT
from platform.cluster.interpreter import interpreter_there
from platform.cluster.ray_internals import RAY
from platform.config.checks import ConfigError

DRAIN_S = 30
T = TypeVar("T")


class RemoteCluster:
    """A context manager with the faults of `nodes.LocalCluster`, by Ray's ids of nodes."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __enter__(self) -> Self:
        import ray

        ray.init(address=self.address, runtime_env=interpreter_there(), log_to_driver=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        ray.shutdown()

    def signal_process(self, node_id: str, pid: int, number: int) -> None:
        """Send a signal to a worker's process."""

        def send() -> None:  # a nested function is pickled whole: the node need not have this module
            os.kill(pid, number)

        self._run(send, node_id)

    def kill_fork_server_of(self, node_id: str, pid: int) -> bool:
        """Kill the fork server that has forked a worker's process; False: it had ended already."""
        return self._run(session.fork_server_killer(pid), node_id)

    def kill_node_of(self, node_id: str, pid: int) -> str:
        """Kill the raylet of a worker's node; the beginning of the node's id.

        Raises:
            ConfigError: it is the node of this launcher, mostly the head, which has to go on.
        """
        import ray

        if node_id == ray.get_runtime_context().get_node_id():
            raise ConfigError(
                "chaos.targets has node, but a worker is on the head node; give the head no CPUs (num-cpus: 0)"
            )

        def kill_raylet() -> None:  # of this process, which runs on that node
            os.kill(int(os.environ["RAY_RAYLET_PID"]), signal.SIGKILL)

        self._run(kill_raylet, node_id)
        return node_id[:8]

    def drain_node_of(self, node_id: str, pid: int) -> str:
        """Drain a worker's node as if it were preempted; the beginning of the node's id."""
        command = [
            *RAY, "drain-node", f"--address={self.address}",
            f"--node-id={node_id}", "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=chaos",
            f"--deadline-remaining-seconds={DRAIN_S}",
        ]  # fmt: skip
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        return node_id[:8]

    def bring_back(self, node: str) -> None:
        """Do nothing: whoever runs the cluster replaces its nodes."""

    def _run(self, function: Callable[[], T], node_id: str) -> T:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        return ray.get(ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote())

"""Somebody's Ray cluster, whose processes and nodes are struck through Ray itself: small tasks on the nodes.

What comes back after a node is lost is up to whoever runs the cluster (KubeRay, an autoscaler, people).
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
    """A context manager; offers what `nodes.LocalCluster` does to strike."""

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
        def send() -> None:  # a function within one travels whole: the node need not have this module
            os.kill(pid, number)

        self._run(send, node_id)

    def kill_fork_server_of(self, node_id: str, pid: int) -> bool:
        """Kill the fork server that has made a worker's process; False: it had ended already."""
        return self._run(session.fork_server_killer(pid), node_id)

    def kill_node_of(self, node_id: str, pid: int) -> str:
        """Kill the raylet that a worker belongs to.

        Raises:
            ConfigError: it is the head's, or this launcher's, without which nothing goes on.
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
        command = [
            *RAY, "drain-node", f"--address={self.address}",
            f"--node-id={node_id}", "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=chaos",
            f"--deadline-remaining-seconds={DRAIN_S}",
        ]  # fmt: skip
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        return node_id[:8]

    def bring_back(self, node: str) -> None:
        """Not ours to do."""

    def _run(self, function: Callable[[], T], node_id: str) -> T:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        return ray.get(ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote())

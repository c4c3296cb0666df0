"""A Ray cluster on this machine whose nodes are processes: started, drained and killed like machines.

In: a folder for the nodes' output. Out: the cluster's address; nothing is left at the end.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from platform.chaos import session
from platform.checkout import ROOT
from platform.cluster.ray_internals import RAY
from platform.cluster.scratch import scratch_folder

OBJECT_STORE_BYTES = 100_000_000  # about Ray's minimum; a few messages are all that passes through it
START_TIMEOUT_S = 180.0  # a busy machine takes a minute
STARTED = "Ray runtime started."  # what `ray start` says once its node is in the cluster


@dataclass(frozen=True)
class Node:
    """One `ray start --block` and the processes it has started, which share its session even as orphans."""

    process: subprocess.Popen[bytes]
    log: Path

    def processes(self) -> list[psutil.Process]:
        return session.living(self.process.pid)

    def send(self, number: int) -> None:
        """Send a signal to the node's first process."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill all its processes."""
        session.kill(self.process.pid)
        self.process.wait()

    def wait_until_ended(self, timeout_s: float) -> bool:
        """Wait for the end of its processes; False: some are alive after `timeout_s`."""
        _, alive = psutil.wait_procs(self.processes(), timeout=timeout_s)
        return not alive


class LocalCluster:
    """A context manager that starts the nodes and kills them. Nodes have numbers, 0 is the head."""

    def __init__(
        self,
        folder: Path,
        nodes: int = 2,
        cpus: int = 1,
        *,
        head_cpus: int | None = None,
        dashboard: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Choose the nodes, which `with` starts.

        Args:
            folder: for the nodes' output.
            nodes: number of them, with the head.
            cpus: of each node, as Ray is told.
            head_cpus: of the head; 0: no worker runs there, so that any node with workers can be killed.
            dashboard: start the server that `ray job submit` needs, at `dashboard_url`.
            variables: more environment variables of its processes, and of drivers that join.
        """
        self._folder, self._count, self._cpus = folder, nodes, cpus
        self._head_cpus = cpus if head_cpus is None else head_cpus
        self._nodes: list[Node] = []
        self.scratch = Path()  # Ray's temporary folder
        self.address = ""
        self._dashboard, self.dashboard_url = dashboard, ""
        self._variables = dict(variables or {})

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for drivers that join: the cluster has no token."""
        return {"RAY_AUTH_MODE": "disabled"} | self._variables

    def __enter__(self) -> Self:
        self.scratch, _ = scratch_folder(below="/99")
        try:
            self._start_head()
            for _ in range(self._count - 1):
                self.start_node()  # one after another: at once they would choose the same names for their sockets
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in reversed(self._nodes):
            node.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def node(self, number: int) -> Node:
        return self._nodes[number]

    def start_node(self) -> int:
        """Add a node; returns its number once it is in the cluster."""
        node = self._start([f"--address={self.address}"], self._cpus)
        _wait_until_started(node)
        return len(self._nodes) - 1

    def kill_node(self, number: int) -> None:
        """Kill a node without warning, like a machine that loses power."""
        self._nodes[number].kill()

    def drain_node(self, number: int) -> None:
        """Send a node SIGTERM, like a preemptible machine that is taken away; does not wait for its end."""
        self._nodes[number].send(signal.SIGTERM)

    def signal_process(self, node_id: str, pid: int, number: int) -> None:
        """Send a signal to a worker's process. `node_id`, which `RemoteCluster` needs, is not used."""
        os.kill(pid, number)

    def kill_fork_server_of(self, node_id: str, pid: int) -> bool:
        """Kill the fork server that has forked a worker's process; False: it had ended already."""
        return session.fork_server_killer(pid)()

    def kill_node_of(self, node_id: str, pid: int) -> str:
        """Kill the node of a worker's process; the node's number as text."""
        number = self._number_of(pid)
        self.kill_node(number)
        return f"{number}"

    def drain_node_of(self, node_id: str, pid: int) -> str:
        """Drain the node of a worker's process; the node's number as text."""
        number = self._number_of(pid)
        self.drain_node(number)
        return f"{number}"

    def bring_back(self, node: str) -> None:
        """Start another node in place of one that was killed or drained."""
        self.start_node()

    def _number_of(self, pid: int) -> int:
        leader = os.getsid(pid)
        for number, node in enumerate(self._nodes):
            if node.process.pid == leader:
                return number
        raise ProcessLookupError(f"process {pid} is on none of the nodes")

    def _start_head(self) -> None:
        port, dashboard = _free_ports(2)
        self.dashboard_url = f"http://127.0.0.1:{dashboard}"
        options = [
            "--head", f"--port={port}",
            f"--include-dashboard={self._dashboard}".lower(), f"--dashboard-port={dashboard}",
        ]  # fmt: skip
        _wait_until_started(self._start(options, self._head_cpus))
        self.address = f"{_ip()}:{port}"

    def _start(self, options: list[str], cpus: int) -> Node:
        number = len(self._nodes)
        common = [
            f"--temp-dir={self.scratch / str(number)}",  # in a shared one they would overwrite each other's files
            f"--num-cpus={cpus}", f"--dashboard-agent-listen-port={_free_ports(1)[0]}", "--disable-usage-stats",
            "--min-worker-port=0", "--max-worker-port=0",  # any free ones: port ranges of several nodes would overlap
            f"--object-store-memory={OBJECT_STORE_BYTES}", "--block",
        ]  # fmt: skip
        log = self._folder / f"node-{number}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*RAY, "start", *options, *common], cwd=ROOT,
                env=os.environ | self.environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        node = Node(process, log)
        self._nodes.append(node)
        return node


def _wait_until_started(node: Node) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while STARTED not in node.log.read_text():
        if node.process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"a Ray node did not start: {node.log.read_text()[-2000:]}")
        time.sleep(0.05)


def _ip() -> str:
    """This machine's address as Ray finds it: Ray refuses 127.0.0.1 for clusters of several nodes."""
    from ray.util import get_node_ip_address

    return get_node_ip_address() or "127.0.0.1"


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]

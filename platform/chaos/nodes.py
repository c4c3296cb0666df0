"""A Ray cluster on this machine, of nodes that are processes: started, drained and killed like machines.

In: a folder for the nodes' output. Out: the cluster's address; nothing is left at the end, whatever was done to it.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
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
START_TIMEOUT_S = 60.0
STARTED = "Ray runtime started."  # what `ray start` says once its node is in the cluster


@dataclass(frozen=True)
class Node:
    """One `ray start --block` and all that came of it: they share its session, orphaned or not."""

    process: subprocess.Popen[bytes]
    log: Path

    def processes(self) -> list[psutil.Process]:
        return session.living(self.process.pid)

    def send(self, number: int) -> None:
        """Send a signal to the node's first process."""
        self.process.send_signal(number)

    def kill(self) -> None:
        session.kill(self.process.pid)
        self.process.wait()

    def wait_until_ended(self, timeout_s: float) -> bool:
        _, alive = psutil.wait_procs(self.processes(), timeout=timeout_s)
        return not alive


class LocalCluster:
    """Nodes by number, 0 is the head; a context manager."""

    def __init__(
        self, folder: Path, nodes: int = 2, cpus: int = 1, *, head_cpus: int | None = None, dashboard: bool = False
    ) -> None:
        """`head_cpus=0`: a head without work, so that every node that works can be killed. `dashboard`: also the server
        that `ray job submit` speaks to, at `dashboard_url`."""
        self._folder, self._count, self._cpus = folder, nodes, cpus
        self._head_cpus = cpus if head_cpus is None else head_cpus
        self._nodes: list[Node] = []
        self.scratch = Path()  # of Ray, while it lasts
        self.address = ""
        self._dashboard, self.dashboard_url = dashboard, ""

    @property
    def environment(self) -> dict[str, str]:
        """What drivers need to join: the cluster has no token."""
        return {"RAY_AUTH_MODE": "disabled"}

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
        node = self._start(self._worker_words(), self._cpus)
        _wait_until_started(node)
        return len(self._nodes) - 1

    def kill_node(self, number: int) -> None:
        """Without warning, as when a machine loses power."""
        self._nodes[number].kill()

    def drain_node(self, number: int) -> None:
        """With warning, as when a preemptible machine is taken away: it leaves when Ray lets it. Does not wait."""
        self._nodes[number].send(signal.SIGTERM)

    def signal_process(self, node_id: str, pid: int, number: int) -> None:
        """Send a signal to a worker's process; here, as in the next three, Ray's name of the node does not matter."""
        os.kill(pid, number)

    def kill_fork_server_of(self, node_id: str, pid: int) -> bool:
        """Kill the fork server that has made a worker's process; False: it had ended already."""
        return session.fork_server_killer(pid)()

    def kill_node_of(self, node_id: str, pid: int) -> str:
        """Kill the node of a worker's process; returns its name."""
        number = self._number_of(pid)
        self.kill_node(number)
        return f"{number}"

    def drain_node_of(self, node_id: str, pid: int) -> str:
        number = self._number_of(pid)
        self.drain_node(number)
        return f"{number}"

    def bring_back(self, node: str) -> None:
        """Another node in the place of one that went."""
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
        words = [
            "--head", f"--port={port}",
            f"--include-dashboard={self._dashboard}".lower(), f"--dashboard-port={dashboard}",
        ]  # fmt: skip
        _wait_until_started(self._start(words, self._head_cpus))
        self.address = f"{_ip()}:{port}"

    def _worker_words(self) -> list[str]:
        return [f"--address={self.address}"]

    def _start(self, words: list[str], cpus: int) -> Node:
        number = len(self._nodes)
        common = [
            f"--temp-dir={self.scratch / str(number)}",  # in one they would replace each other's copies of our files
            f"--num-cpus={cpus}", f"--dashboard-agent-listen-port={_free_ports(1)[0]}", "--disable-usage-stats",
            "--min-worker-port=0", "--max-worker-port=0",  # any free ones: ranges would meet those of other nodes
            f"--object-store-memory={OBJECT_STORE_BYTES}", "--block",
        ]  # fmt: skip
        log = self._folder / f"node-{number}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*RAY, "start", *words, *common], cwd=ROOT,
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
    """As Ray finds it, which refuses 127.0.0.1 for clusters of several nodes."""
    from ray.util import get_node_ip_address

    return get_node_ip_address() or "127.0.0.1"


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]

"""Nodes that are really started, drained and killed; nothing of them is left."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from platform.chaos.nodes import LocalCluster, session

pytestmark = pytest.mark.slow

# In a process of its own, as each process can join one cluster only. One word a line of input: the number of nodes.
COUNT = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
for line in sys.stdin:
    print(sum(node["Alive"] for node in ray.nodes()), int(ray.cluster_resources().get("CPU", 0)), flush=True)
"""


class Driver:
    """A process that has joined the cluster and counts its nodes and CPUs."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", COUNT, cluster.address], env=os.environ | cluster.environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def count(self) -> tuple[int, int]:
        assert self.process.stdin
        assert self.process.stdout
        print("count", file=self.process.stdin, flush=True)
        nodes, cpus = map(int, self.process.stdout.readline().split())
        return nodes, cpus

    def wait_for(self, nodes: int, cpus: int) -> None:
        end = time.monotonic() + 60
        while (found := self.count()) != (nodes, cpus):
            assert time.monotonic() < end, found
            time.sleep(0.2)


def test_nodes_come_and_go_and_nothing_is_left(tmp_path: Path):
    scratch = set(Path("/tmp").glob("ray-*"))
    with LocalCluster(tmp_path, nodes=2, cpus=1, head_cpus=0) as cluster:
        leaders = [cluster.node(number).process.pid for number in (0, 1)]
        driver = Driver(cluster)
        assert driver.count() == (2, 1)
        cluster.kill_node(1)
        assert cluster.node(1).processes() == []
        driver.wait_for(1, 0)
        assert cluster.start_node() == 2
        driver.wait_for(2, 1)
        cluster.drain_node(2)
        assert cluster.node(2).wait_until_ended(60)
        driver.wait_for(1, 0)
        driver.process.kill()
        driver.process.wait()
    leaders.append(cluster.node(2).process.pid)
    assert [process for leader in leaders for process in session(leader)] == []
    assert set(Path("/tmp").glob("ray-*")) <= scratch


def test_orphans_are_ended_too(tmp_path: Path):
    with LocalCluster(tmp_path, nodes=1) as cluster:
        node = cluster.node(0)
        psutil.Process(node.process.pid).kill()
        node.process.wait()
        pids = [process.pid for process in node.processes()]
    assert session(node.process.pid) == []
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def test_a_node_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("platform.chaos.nodes.OBJECT_STORE_BYTES", 1)
    with pytest.raises(RuntimeError, match="a Ray node did not start"), LocalCluster(tmp_path, nodes=1):
        pass

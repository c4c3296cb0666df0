"""Nodes that are really started, drained and killed; nothing of them is left."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from platform.chaos.nodes import LocalCluster

pytestmark = pytest.mark.slow

# A driver in a process of its own, as each process joins one cluster only; Ray prints between the counts.
COUNT = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
for line in sys.stdin:
    print("counted", sum(node["Alive"] for node in ray.nodes()), int(ray.cluster_resources().get("CPU", 0)), flush=True)
"""


@contextmanager
def _driver(cluster: LocalCluster) -> Iterator[Callable[[int, int], None]]:
    """Yields a function that waits until the cluster has so many nodes and CPUs."""
    process = subprocess.Popen(
        [sys.executable, "-c", COUNT, cluster.address], env=os.environ | cluster.environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip

    def count() -> str:
        assert process.stdin
        assert process.stdout
        print(file=process.stdin, flush=True)
        return next(line for line in process.stdout if line.startswith("counted"))

    def wait_for(nodes: int, cpus: int) -> None:
        end = time.monotonic() + 60
        while (found := count()) != f"counted {nodes} {cpus}\n":
            assert time.monotonic() < end, found
            time.sleep(0.2)

    try:
        yield wait_for
    finally:
        process.kill()
        process.communicate()


@pytest.mark.long
def test_nodes_come_and_go_and_nothing_is_left(tmp_path: Path):
    with LocalCluster(tmp_path, nodes=2, cpus=1, head_cpus=0) as cluster, _driver(cluster) as wait_for:
        wait_for(2, 1)
        cluster.kill_node(1)
        assert cluster.node(1).processes() == []
        wait_for(1, 0)
        assert cluster.start_node() == 2
        wait_for(2, 1)
        cluster.drain_node(2)
        assert cluster.node(2).wait_until_ended(60)
        wait_for(1, 0)
    assert [cluster.node(number).processes() for number in range(3)] == [[], [], []]
    assert not cluster.scratch.exists()


def test_orphans_are_ended_too(tmp_path: Path):
    with LocalCluster(tmp_path, nodes=1) as cluster:
        node = cluster.node(0)
        psutil.Process(node.process.pid).kill()
        node.process.wait()
        assert node.processes()
    assert node.processes() == []


def test_a_node_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("platform.chaos.nodes.OBJECT_STORE_BYTES", 1)
    with pytest.raises(RuntimeError, match="a Ray node did not start"), LocalCluster(tmp_path, nodes=1):
        pass

"""Processes of a cluster that is joined: each node has a fork server of its own, those that come later too."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import platform.cluster.connect as cluster
from platform.chaos import session
from platform.chaos.nodes import LocalCluster
from platform.cluster.fork_server.client import FORKED
from platform.config.cluster import ClusterConfig
from tests.cluster.actors import Actor

pytestmark = pytest.mark.slow


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path, nodes=2, cpus=2) as nodes:
        for name, value in nodes.environment.items():
            monkeypatch.setenv(name, value)
        cluster.connect(ClusterConfig(address=nodes.address))
        yield nodes
        cluster.disconnect()


def test_every_node_has_a_server_of_its_own_and_nothing_of_it_is_left(nodes: LocalCluster):
    nodes.start_node()
    actors = [_on(node["NodeID"]) for node in ray.nodes() for _ in range(2)]
    answers = ray.get([actor.how.remote() for actor in actors])
    assert {how for how, *_ in answers} == {FORKED}
    servers = [server for *_, server in answers]
    assert len(servers) == 6
    assert len(set(servers)) == 3
    assert len({os.getsid(server) for server in servers}) == 3
    struck = answers[-1][1]
    assert session.fork_server_killer(struck)()
    end = time.monotonic() + 20
    while session.fork_server_killer(struck)():  # the kernel takes its time
        assert time.monotonic() < end
    another = _on(ray.nodes()[-1]["NodeID"])  # an actor lives as long as its handle
    again = ray.get(another.how.remote())
    assert again[0] == FORKED
    left = [psutil.Process(server) for server in {*servers, again[2]} if psutil.pid_exists(server)]
    assert len(left) >= 3
    for number in range(3):
        nodes.kill_node(number)
    assert not psutil.wait_procs(left, timeout=20)[1]


def _on(node: str) -> Any:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    remote: Any = ray.remote(Actor)
    return remote.options(num_cpus=0, scheduling_strategy=there).remote()

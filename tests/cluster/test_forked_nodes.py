"""Processes of a cluster that is joined: each node has a fork server of its own, those that come later too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from platform.checkout import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.long]

# In a process of its own: Ray decides once in a process whether its clusters have tokens, and these nodes have none.
JOIN = """
import os, sys, time
from pathlib import Path

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import platform.cluster.connect as cluster
from platform.chaos import session
from platform.chaos.nodes import LocalCluster
from platform.cluster.fork_server.client import FORKED
from platform.config.cluster import ClusterConfig
from tests.cluster.actors import Actor

def on(node):
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(Actor).options(num_cpus=0, scheduling_strategy=there).remote()

with LocalCluster(Path(sys.argv[1]), nodes=2, cpus=2) as nodes:
    os.environ.update(nodes.environment)
    cluster.connect(ClusterConfig(address=nodes.address))
    nodes.start_node()
    actors = [on(node["NodeID"]) for node in ray.nodes() for _ in range(2)]
    answers = ray.get([actor.how.remote() for actor in actors])
    assert {how for how, *_ in answers} == {FORKED}, answers
    servers = [server for *_, server in answers]
    assert len(servers) == 6, answers
    assert len(set(servers)) == 3, answers
    assert len({os.getsid(server) for server in servers}) == 3, answers
    struck = answers[-1][1]
    assert session.fork_server_killer(struck)()
    end = time.monotonic() + 20
    while session.fork_server_killer(struck)():  # the kernel takes its time
        assert time.monotonic() < end
    another = on(ray.nodes()[-1]["NodeID"])  # an actor lives as long as its handle
    again = ray.get(another.how.remote())
    assert again[0] == FORKED, again
    left = [psutil.Process(server) for server in {*servers, again[2]} if psutil.pid_exists(server)]
    assert len(left) >= 3, left
    cluster.disconnect()
    for number in range(3):
        nodes.kill_node(number)
    assert not psutil.wait_procs(left, timeout=20)[1]
print("as it should be")
"""


def test_every_node_has_a_server_of_its_own_and_nothing_of_it_is_left(tmp_path: Path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}  # of tests before
    done = subprocess.run(
        [sys.executable, "-c", JOIN, str(tmp_path)], cwd=ROOT, env=clean | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["as it should be"], done.stdout + done.stderr

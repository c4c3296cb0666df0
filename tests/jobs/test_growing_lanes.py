"""Nodes that come after the head, and while members train: nobody waits for them in vain, and they are used."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from platform.chaos.nodes import LocalCluster
from platform.experiment.member_folder import FINISHED
from tests.jobs.conftest import Runner

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]
NAMES = ["a", "b", "c", "d"]
OVERRIDES = (f"{name}:['order_seed={seed}']" for seed, name in enumerate(NAMES))
MEMBERS = f"+ensemble.members={{{','.join(OVERRIDES)}}}"


@pytest.fixture
def head(launch: Runner) -> Iterator[LocalCluster]:
    with LocalCluster(launch.folder, nodes=1, head_cpus=0) as cluster:
        yield cluster


def seen_on_nodes(
    launch: Runner, process: subprocess.Popen[str], nodes: LocalCluster, name: str
) -> dict[str, set[str]]:
    """Which members of an experiment trained on each node. Another one comes when the first trains, and nothing else
    does."""
    seen: dict[str, set[str]] = {}
    live = launch.folder / "runs" / name / "live.json"
    with ThreadPoolExecutor(1) as thread:  # a busy machine takes a minute for a node, in which members come and go
        coming: Future[int] | None = None
        while process.poll() is None:
            workers = []
            with contextlib.suppress(FileNotFoundError):  # before the first beat, and after the last one's end
                workers = json.loads(live.read_text())
            for each in workers:
                seen.setdefault(each["node_id"], set()).add(each["member"])
            if seen and coming is None:
                coming = thread.submit(nodes.start_node)
            time.sleep(0.1)
        assert coming, "the experiment ended before a member was seen"
        coming.result()
    return seen


def test_a_node_that_comes_late_has_a_lane_of_its_own(launch: Runner, head: LocalCluster):
    head.start_node()
    process = launch.start(
        "cluster=ray", f"cluster.address={head.address}", "cluster.ship_code=false", "cluster.gpus_per_worker=0",
        "cluster.resize_check_s=1", "model.width=0.1", "evaluation.views=[1]", "training.epochs=20",
        "job=ensemble", "name=grows", MEMBERS, environment=head.environment,
    )  # fmt: skip
    seen = seen_on_nodes(launch, process, head, "grows")
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert "grows: 4 member(s) in 1 lane(s) on 2 node(s), 1 CPUs" in output
    assert output.count("1 lane(s) more: the cluster has 3 node(s), 2 CPUs, 0 GPUs now") == 1
    assert sorted(name for names in seen.values() for name in names) == NAMES  # each on one node, and on no other
    assert len(seen) == 2
    assert {launch.state("grows", name).state for name in NAMES} == {FINISHED}
    attempts = [launch.attempts("grows", name) for name in NAMES]
    assert [len(each) for each in attempts] == [1] * 4
    first, *others = sorted((each for (each,) in attempts), key=lambda each: each.began)
    assert all(each.began <= each.started for each in (first, *others))
    assert all(each.began > first.first_step_at for each in others)  # nobody holds a node that has not come yet


def test_a_head_without_workers_waits_for_those_that_are_expected(launch: Runner, head: LocalCluster):
    words = [
        "cluster=ray", f"cluster.address={head.address}", "cluster.ship_code=false", "cluster.gpus_per_worker=0",
        "cluster.expected_workers=1", "model.width=0.1", "evaluation.views=[1]", "training.epochs=0.2", "job=train",
        "name=waits",
    ]  # fmt: skip
    status, output = launch(*words, "cluster.expected_within_s=1", environment=head.environment)
    assert status == 1, output
    assert output.strip().splitlines()[-1].startswith("error: room for 0 of 1 expected worker(s) (1 node(s), 0 CPUs")
    process = launch.start(*words, environment=head.environment)
    assert process.stdout
    said = []
    for line in process.stdout:
        said.append(line)
        if "waiting up to" in line:
            head.start_node()
    assert process.wait() == 0, "".join(said)
    assert "all 1 expected worker(s) have room now, on 2 node(s)\n" in said

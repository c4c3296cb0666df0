"""Runs under fire, on a real cluster of two nodes whose processes are really killed, end as undisturbed ones do."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from platform.chaos.nodes import LocalCluster
from platform.checkout import ROOT

pytestmark = pytest.mark.slow

TWO = ["job=chaos", "cluster.workers=2", "checkpoint.every_s=1", "evaluation.views=[1]"]


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_run_whose_worker_node_launcher_tracker_storage_and_fork_server_are_killed_ends_as_an_undisturbed_one(launch):
    # Each comes up to two seconds late, the last at about step 110 where 10 to 16 are done in a second: of 528, so that
    # machines that are four times as fast have steps left for it.
    early = ["chaos.steps=[10,20,40,60,80,100]", "chaos.down_s=2", "training.epochs=12"]
    targets = ["worker", "node", "driver", "tracker", "storage", "fork_server"]
    status, output = launch(*TWO, *early, "name=fire", f"chaos.targets=[{','.join(targets)}]")
    assert status == 0, output
    for line in ("weights: the same", "samples: the same", "train/loss: the same", "left behind: nothing"):
        assert line in output
    assert "the run under fire ended as the undisturbed one did" in output
    report = json.loads((launch.folder / "runs" / "fire-chaos" / "chaos.json").read_text())
    assert {each["target"] for each in report["struck"]} == set(targets)
    assert "fork server of rank" in output
    assert "was gone already" not in output
    assert all(each["recovered_s"] for each in report["struck"] if each["target"] in ("worker", "node", "driver"))


@pytest.mark.endurance
def test_twenty_kills(launch):
    everything = "chaos.targets=[worker,node,drain,stall,driver,tracker,storage,fork_server]"
    status, output = launch(*TWO, "name=twenty", "training.epochs=30", "chaos.kills=20", everything)
    assert status == 0, output
    assert "weights: the same" in output
    assert "left behind: nothing" in output


@pytest.mark.endurance
def test_a_run_that_shrinks_and_grows_sees_the_same_samples(launch):
    words = ["cluster.workers={min:1,max:2}", "cluster.resize_check_s=5", "chaos.targets=[node,drain]", "chaos.kills=2"]
    status, output = launch(
        *TWO, *words, "name=elastic", "training.epochs=60", "chaos.down_s=60"
    )  # Ray learns of it within 40 s
    assert status == 0, output
    assert "samples: the same" in output
    sizes = [attempt.workers for attempt in launch.attempts("elastic-chaos", "model")]
    assert {1, 2} <= set(sizes)


def test_more_strikes_than_steps_is_said_before_anything_runs(launch):
    status, output = launch.here(*TWO, "name=short", "training.epochs=0.1", "chaos.kills=50")
    assert status == 2
    assert "chaos.kills is 50, more than 5 steps have room for" in output


def test_a_fork_server_that_is_off_is_no_target(launch):
    status, output = launch.here(*TWO, "name=off", "chaos.targets=[worker,fork_server]", "cluster.fork_server=false")
    assert status == 2
    assert "chaos.targets has fork_server, which is off (cluster.fork_server=false); take it out" in output


@pytest.mark.endurance
def test_somebody_elses_cluster_is_struck_through_ray(launch):
    with LocalCluster(launch.folder, nodes=3, head_cpus=0) as cluster:
        there = [f"cluster.address={cluster.address}", "chaos.targets=[worker,driver,fork_server]", "chaos.kills=3"]
        status, output = launch(*TWO, *there, "name=theirs", "training.epochs=6", environment=cluster.environment)
    assert status == 0, output
    assert "weights: the same" in output


@pytest.mark.endurance
def test_a_submitted_job_survives_a_killed_worker_and_is_stopped_and_submitted_again(launch):
    words = ["job=train", "name=submitted", "training.epochs=20", "checkpoint.every_s=1", "cluster.workers=2"]
    with LocalCluster(launch.folder, nodes=3, head_cpus=0, dashboard=True) as cluster:
        first = Submitted(cluster, launch.words(*words, "cluster.address=auto"))
        struck = first.wait_for_step(launch, 50)
        os.kill(struck, signal.SIGKILL)
        assert first.wait_for_step(launch, 100) != struck
        first.stop()
        assert {run.info.status for run in launch.runs("submitted").values()} == {"KILLED"}
        second = Submitted(cluster, launch.words(*words, "cluster.address=auto"))
        assert second.status_at_end() == "SUCCEEDED"
    reasons = [attempt.reason for attempt in launch.attempts("submitted", "model")]
    assert reasons[1:] == ["stopped by SIGTERM", "finished"]
    assert "died" in reasons[0]
    assert {run.info.status for run in launch.runs("submitted").values()} == {"FINISHED"}


class Submitted:
    """A job of Ray's job API."""

    def __init__(self, cluster: LocalCluster, words: list[str]) -> None:
        self._cluster = cluster
        self._id = f"job-{time.time_ns()}"
        self._ray("submit", "--no-wait", "--submission-id", self._id, "--working-dir", str(ROOT), "--", *words)

    def wait_for_step(self, launch, step: int) -> int:
        """The process of a worker that has done so many steps."""
        live = launch.folder / "runs" / "submitted" / "live.json"
        for _ in range(1200):
            with contextlib.suppress(FileNotFoundError, ValueError):
                workers = [worker for worker in json.loads(live.read_text()) if worker["rank"] == 1]
                if workers and workers[0]["step"] >= step:
                    return workers[0]["pid"]
            assert self._status() in ("PENDING", "RUNNING")
            time.sleep(0.1)
        raise AssertionError(f"no worker came to step {step}")

    def stop(self) -> None:
        self._ray("stop", self._id)

    def status_at_end(self) -> str:
        while (status := self._status()) in ("PENDING", "RUNNING"):
            time.sleep(0.5)
        return status

    def _status(self) -> str:
        with urllib.request.urlopen(f"{self._cluster.dashboard_url}/api/jobs/{self._id}") as answer:
            return json.load(answer)["status"]

    def _ray(self, *words: str) -> None:
        ray = str(Path(sys.executable).with_name("ray"))
        command = [ray, "job", words[0], "--address", self._cluster.dashboard_url, *words[1:]]
        subprocess.run(command, env=os.environ | self._cluster.environment, check=True, capture_output=True)

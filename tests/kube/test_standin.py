"""RayJobs that really run: every state, retries, limits, deletion, lost pods; nothing is left of them."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import requests

from platform.checkout import ROOT
from tests.kube.handmade import rayjob
from tests.kube.rendered import render
from tests.kube.standin.container import ManifestError, Secrets
from tests.kube.standin.derive import Manifest
from tests.kube.standin.operator import Operator
from tests.kube.standin.processes import MARK, matching

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
START_S = END_S = 300.0  # on a machine that has much else to do; a quiet one takes a tenth

WORDS = [
    "a b",
    "{x:1}",
    "[1,2]",
    "$HOME",
    "${oc:a}",
    "$(SHARDS)",
    "it's",
    'say "so"',
    "back\\slash",
    "*",
    "a;b|c&d",
    "#",
    "~",
    "",
]
LOOK = """
import json, os, sys, ray
ray.init(log_to_driver=False)
group = ray.get(ray.remote(lambda: os.environ["RAY_NODE_TYPE_NAME"]).remote())
seen = {"words": sys.argv[1:], "resources": ray.cluster_resources(), "folder": os.getcwd(), "group": group}
json.dump({**seen, "user": os.environ["USER_NAME"], "shards": os.environ["SHARDS"]}, open("seen.json", "w"))
"""
SECOND_TIME = """
import pathlib, sys
mark = pathlib.Path("tried")
print("tried before:", mark.exists())
if not mark.exists():
    mark.touch()
    sys.exit(3)
"""
SLEEP = """
import pathlib, signal, sys, time
def stop(*_):
    pathlib.Path("stopped").touch()
    sys.exit(9)
signal.signal(signal.SIGTERM, stop)
with open("starts", "a") as file:
    print("started", file=file)
print("asleep", flush=True)
while not pathlib.Path("awake").exists():
    time.sleep(0.2)
sys.exit(int(pathlib.Path("awake").read_text() or "0"))
"""


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    (folder / "look.py").write_text(LOOK)
    (folder / "sleep.py").write_text(SLEEP)
    return folder


class Start(Protocol):
    def __call__(
        self, manifest: Manifest, *, services: dict[str, str] | None = None, secrets: Secrets | None = None
    ) -> Operator: ...


@pytest.fixture
def start(volume: Path) -> Iterator[Start]:
    """Function: an operator for a manifest, of which nothing may be left afterwards."""
    operators: list[Operator] = []

    def make(manifest: Manifest, *, services: dict[str, str] | None = None, secrets: Secrets | None = None) -> Operator:
        given: dict[str, Any] = {
            "volumes": {"platform-data": volume},
            "logs": volume.parent / "logs",
            "submitter_delay_s": 1,
        }
        operators.append(Operator(manifest, services=services, secrets=secrets, **given))
        return operators[-1]

    yield make
    for operator in operators:
        _check_nothing_is_left(operator.machine.scratch)


def _check_nothing_is_left(scratch: Path) -> None:
    assert matching(lambda process: process.environ().get(MARK, "").startswith(f"{scratch}/")) == []
    assert not scratch.exists()


def _states(operator: Operator) -> list[str]:
    """Deployment states in their order, each once in a row."""
    states = [status.job_deployment_status for status in operator.history]
    return [state for index, state in enumerate(states) if index == 0 or state != states[index - 1]]


def _entrypoint(words: list[str]) -> str:
    """Quoted for the shell; dollars for Kubernetes, which expands $(VAR) and $$ before any shell."""
    return shlex.join(words).replace("$", "$$")


@pytest.mark.long
def test_a_job_runs_from_its_manifest_to_its_deletion(start: Start, volume: Path):
    rules = [
        {"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 1}},
        {"policy": "DeleteSelf", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 5}},
    ]
    words = ["python", "/mnt/platform/look.py", "/cache/shards", "tracking.uri=http://mlflow:5000", *WORDS]
    manifest = rayjob(_entrypoint(words), deletionStrategy={"deletionRules": rules})
    services, secrets = {"mlflow:5000": "127.0.0.1:4000"}, {"platform-credentials": {"USER_NAME": "me"}}
    with start(manifest, services=services, secrets=secrets) as operator:
        operator.wait_for("Running", timeout_s=START_S)
        _check_doors(operator)
        status = operator.run(timeout_s=START_S)
        assert status.job_status == "SUCCEEDED", operator.output()
        assert (status.succeeded, status.failed) == (1, 0)
        times = [status.start_time, status.job_start_time, status.job_end_time, status.end_time]
        assert times == sorted(time_s for time_s in times if time_s)
        cluster = operator.clusters[0]
        operator.wait(lambda: cluster.is_gone, timeout_s=END_S)
        assert operator.submitters[0].pods[0].phase == "Succeeded"
        operator.wait(lambda: operator.is_deleted, timeout_s=10)
        assert _states(operator) == ["Initializing", "Running", "Complete"]
        assert [each.job_status for each in operator.history][-1] == "SUCCEEDED"
    seen = json.loads((volume / "seen.json").read_text())
    assert seen["words"] == [seen["shards"], "tracking.uri=http://127.0.0.1:4000", *WORDS]
    assert seen["shards"].endswith("/volumes/cache/shards")
    assert (seen["folder"], seen["user"], seen["group"]) == (str(volume), "me", "workers")
    assert (seen["resources"]["CPU"], seen["resources"]["memory"]) == (1.0, 2 * 2**31)


def _check_doors(operator: Operator) -> None:
    """The dashboard wants the token; probes need none."""
    cluster, url = operator.clusters[0], f"{operator.clusters[0].dashboard}/api/jobs/"
    assert requests.get(url, timeout=5).status_code == 401
    assert requests.get(url, headers={"Authorization": "Bearer wrong"}, timeout=5).status_code in (401, 403)
    assert requests.get(url, headers={"Authorization": f"Bearer {cluster.token}"}, timeout=5).status_code == 200
    for pod in operator.nodes():
        agent = f"http://{operator.machine.address}:{pod.node.places.ports[52365]}"
        assert requests.get(f"{agent}/api/healthz", timeout=5).status_code == 200
    assert [(pod.group, pod.ready) for pod in operator.nodes()] == [("headgroup", True), ("workers", True)]


@pytest.mark.long
def test_a_failed_job_is_tried_again_as_another_job_on_a_new_cluster(start: Start, volume: Path):
    manifest = rayjob(_entrypoint(["python", "-c", SECOND_TIME]), backoffLimit=1)
    with start(manifest) as operator:
        retried = operator.wait_for("Retrying", timeout_s=START_S)
        assert (retried.reason, retried.job_status, retried.failed) == ("AppFailed", "FAILED", 1)
        assert "Job entrypoint command failed with exit code 3" in retried.message
        status = operator.run(timeout_s=START_S)
        assert status.job_status == "SUCCEEDED", operator.output()
        assert (status.failed, status.succeeded) == (1, 1)
        assert _states(operator) == ["Initializing", "Running", "Retrying", "", "Initializing", "Running", "Complete"]
        first, second = operator.clusters
        assert first.name != second.name
        assert first.is_gone
        assert first.token != second.token
        assert len({each.job_id for each in operator.history if each.job_id}) == 2
        assert "tried before: False" in operator.submitters[0].pods[0].output()
        assert "tried before: True" in operator.submitters[1].pods[0].output()


@pytest.mark.long
def test_a_deadline_fails_the_job_for_good_and_its_rule_ends_everything(start: Start, volume: Path):
    rules = [
        {"policy": "DeleteWorkers", "condition": {"jobStatus": "FAILED"}},  # does not apply: the job was running
        {"policy": "DeleteCluster", "condition": {"jobDeploymentStatus": "Failed", "ttlSeconds": 1}},
    ]
    manifest = rayjob("python sleep.py", backoffLimit=3, deletionStrategy={"deletionRules": rules})
    with start(manifest) as operator:
        operator.wait_for("RUNNING", timeout_s=START_S)
        started_s = operator.status.start_time
        assert started_s
        operator.rayjob["spec"]["activeDeadlineSeconds"] = int(time.time() - started_s) + 5
        status = operator.run(timeout_s=30)
        assert (status.job_deployment_status, status.reason) == ("Failed", "DeadlineExceeded")
        assert (status.job_status, status.failed) == ("RUNNING", 1)
        operator.wait(lambda: operator.clusters[0].is_gone, timeout_s=END_S)
        assert len(operator.clusters) == 1
        assert operator.is_deleted is False


@pytest.mark.long
def test_a_suspended_job_waits_without_pods_and_gives_them_back_when_suspended_again(start: Start, volume: Path):
    manifest = rayjob("python sleep.py", suspend=True, shutdownAfterJobFinishes=True)
    with start(manifest) as operator:
        operator.wait_for("Suspended", timeout_s=5)
        assert operator.clusters == []
        operator.suspend(is_suspended=False)
        operator.wait_for("RUNNING", timeout_s=START_S)
        operator.wait((volume / "starts").exists, timeout_s=END_S)
        operator.suspend(is_suspended=True)
        operator.wait_for("Suspended", timeout_s=END_S)
        assert operator.is_gone
        assert not (volume / "stopped").exists()  # nobody tells the job: what it has not saved is lost
        assert (operator.status.job_id, operator.status.failed) == ("", 0)
        states = ["Initializing", "Suspending", "Suspended", "", "Initializing", "Running", "Suspending", "Suspended"]
        assert _states(operator) == states


@pytest.mark.long
def test_lost_and_hanging_workers_are_replaced_and_deletion_stops_the_job_first(start: Start, volume: Path):
    manifest = rayjob("python sleep.py")
    group = manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    group["template"]["spec"]["containers"][0]["livenessProbe"] |= {
        "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 20
    }  # fmt: skip
    with start(manifest) as operator:
        operator.wait_for("RUNNING", timeout_s=START_S)
        operator.wait((volume / "starts").exists, timeout_s=END_S)
        lost = operator.workers()[0]
        operator.kill(lost)
        operator.wait(lambda: _has_other_worker(operator, [lost.name]), timeout_s=END_S)
        hanging = operator.workers()[0]
        for process in hanging.processes():
            process.suspend()
        operator.wait(lambda: _has_other_worker(operator, [lost.name, hanging.name]), timeout_s=END_S)
        operator.scale("workers", 9)
        operator.wait(lambda: len(operator.workers()) == 2 and operator.clusters[0].is_ready, timeout_s=END_S)
        operator.scale("workers", 1)
        operator.wait(lambda: len(operator.nodes()) == 2, timeout_s=END_S)
        assert operator.status.job_status == "RUNNING"
        operator.delete()
        operator.wait(lambda: operator.is_gone, timeout_s=END_S)
    assert (volume / "stopped").exists()
    assert (volume / "starts").read_text().count("started") == 1


def _has_other_worker(operator: Operator, names: list[str]) -> bool:
    return operator.clusters[0].is_ready and operator.workers()[0].name not in names


@pytest.mark.long
def test_a_lost_head_is_replaced_and_the_submitters_next_pod_submits_again(start: Start, volume: Path):
    with start(rayjob("python sleep.py")) as operator:
        operator.wait_for("RUNNING", timeout_s=START_S)
        operator.wait((volume / "starts").exists, timeout_s=END_S)
        old = operator.head.name
        operator.kill(operator.head)
        (volume / "awake").touch()
        status = operator.run(timeout_s=START_S)
        assert status.job_status == "SUCCEEDED", operator.output()
        assert status.failed == 0
        assert len(operator.clusters) == 1
        assert operator.head.name != old
        assert [pod.phase for pod in operator.submitters[0].pods] == ["Failed", "Succeeded"]
    assert (volume / "starts").read_text().count("started") == 2


@pytest.mark.long
def test_a_lost_head_costs_an_attempt_where_the_submitter_may_not_try_again(start: Start, volume: Path):
    manifest = rayjob("python sleep.py", backoffLimit=1, submitterConfig={"backoffLimit": 0})
    with start(manifest) as operator:
        operator.wait_for("RUNNING", timeout_s=START_S)
        operator.wait((volume / "starts").exists, timeout_s=END_S)
        operator.kill(operator.head)
        (volume / "awake").write_text("4")
        retried = operator.wait_for("Retrying", timeout_s=END_S)
        assert (retried.reason, retried.job_status, retried.failed) == ("SubmissionFailed", "RUNNING", 1)
        status = operator.run(timeout_s=START_S)
        assert (status.job_deployment_status, status.reason) == ("Failed", "AppFailed")  # no attempt is left
        assert "failed with exit code 4" in status.message
        assert (status.failed, len(operator.clusters)) == (2, 2)
        operator.wait(lambda: len(operator.workers()) == 1, timeout_s=END_S)  # no rule deletes the cluster


def test_each_attempt_has_its_own_time_to_start_and_the_next_is_tried(start: Start, volume: Path):
    words = ["+experiment=googlenet", "name=late", "cluster=kuberay_dev", "cluster.kube.start_timeout_s=60"]
    manifest = render(*words, "cluster.kube.retries=1")
    assert manifest["spec"]["preRunningDeadlineSeconds"] == 60
    manifest["spec"]["preRunningDeadlineSeconds"] = 1
    head = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    head["command"] = ["/bin/bash", "-c", "exec sleep 600 # in place of ray start"]  # as while an image is pulled
    with start(manifest) as operator:
        retried = operator.wait_for("Retrying", timeout_s=START_S)
        assert (retried.reason, retried.job_status, retried.failed) == ("PreRunningDeadlineExceeded", "", 1)
        status = operator.run(timeout_s=START_S)
        assert (status.job_deployment_status, status.reason) == ("Failed", "PreRunningDeadlineExceeded")
        assert (status.failed, len(operator.clusters)) == (2, 2)
        assert retried.start_time
        assert status.start_time
        assert status.end_time
        assert status.start_time >= retried.start_time + 1  # the second counts from its own start
        assert status.end_time >= status.start_time + 1
        assert operator.submitters == []


HOLD = """
import sys
from pathlib import Path
from tests.kube.handmade import rayjob
from tests.kube.standin.operator import Operator
with Operator(rayjob("sleep 600"), volumes={"platform-data": Path(sys.argv[1])}) as operator:
    operator.wait(lambda: operator.nodes() and operator.head.ready, timeout_s=300)
    print(operator.machine.scratch, flush=True)
    operator.wait(lambda: False, timeout_s=600)
"""


def test_nothing_is_left_of_a_test_run_that_was_killed(volume: Path):
    with subprocess.Popen([sys.executable, "-c", HOLD, volume], cwd=ROOT, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout
        scratch = Path(held.stdout.readline().strip())
        assert len(matching(lambda process: process.environ().get(MARK, "").startswith(f"{scratch}/"))) > 5
        os.kill(held.pid, signal.SIGKILL)
    end = time.monotonic() + 60
    while scratch.exists() and time.monotonic() < end:
        time.sleep(0.2)  # the guard is at work
    _check_nothing_is_left(scratch)


def test_a_manifest_that_refers_to_nothing_says_so(start: Start, volume: Path):
    manifest = rayjob("true")
    head = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    head["envFrom"] = [{"secretRef": {"name": "absent"}}]
    with start(manifest) as operator, pytest.raises(ManifestError, match="there is no secret absent"):
        operator.wait_for("Running", timeout_s=START_S)

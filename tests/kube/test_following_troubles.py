"""What goes wrong while a job is followed is said once, with its cause; the job's end is always told."""

import threading
import time
from itertools import count as count_from

import pytest

from platform.kubernetes import logs, status
from platform.kubernetes.client import Patience
from platform.kubernetes.submit import submit
from platform.signals import INTERRUPTED
from tests.kube.apiserver import ApiServer
from tests.kube.apistore import ApiStore, Object, now
from tests.kube.rbac import role
from tests.kube.test_submit import (
    COMPLETE,
    FAILED,
    INITIALIZING,
    QUICK,
    RUNNING,
    Operator,
    count,
    looks_on,
    numbered,
    operator,
    rayjob,
    server,
    steps,
    submitter,
    succeed,
)  # fmt: skip

__all__ = ["operator", "server"]  # fixtures
KUBELET = (
    'Get "https://10.0.0.5:10250/containerLogs/platform/ens-1/ray-job-submitter?follow=true&timestamps=true": '
    "dial tcp 10.0.0.5:10250: connect: connection refused"
)
STOPPED = {**COMPLETE, "jobStatus": "STOPPED"}


def follow(job: Object | None = None, patience: Patience = QUICK) -> int:
    return submit(job or rayjob(), context=None, follow=True, patience=patience)


def test_a_kubelet_that_does_not_answer_is_named_once_and_asked_again(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        submitter(store, "ens-1", numbered(0, 5))
        store.wait_for(lambda: count(server, "GET", "ens-1/log") > 6)
        looks_on(server, "/ens")
        store.set_status("ens", COMPLETE)

    server.fail("ens-1/log", KUBELET, times=6)
    operator.plays(play)
    assert follow() == 0
    output = capsys.readouterr().out
    line = "no log of the job: the kubelet of node 10.0.0.5 (pod ens-1) does not answer (dial tcp 10.0.0.5:10250: "
    assert output.count(line) == output.count("no log of the job") == 1
    assert steps(output) == numbered(0, 5)


def test_a_submitter_whose_image_cannot_be_pulled_is_told_of_its_start_it_is_not(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        store.add_pod("ens-1", {"job-name": "ens"}, phase="Pending")
        looks_on(server, "ens-1/log")
        assert "no log" not in capsys.readouterr().out  # it starts: nothing to tell
        store.pods["platform", "ens-1"].object["status"]["waits"] = "trying and failing to pull image"
        looks_on(server, "ens-1/log")
        looks_on(server, "/ens")
        store.set_status("ens", {**FAILED, "reason": "SubmissionFailed"})

    operator.plays(play)
    assert follow() == 1
    told = (
        'no log of the job: container "main" in pod "ens-1" is waiting to start: trying and failing to pull image (400)'
    )
    assert capsys.readouterr().out.count(told) == 1


def test_a_submitter_that_is_on_no_node_yet_has_no_log_which_is_no_trouble(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        store.add_pod("ens-1", {"job-name": "ens"}, phase="Pending")
        store.wait_for(lambda: count(server, "GET", "ens-1/log") > 2)
        looks_on(server, "/ens")
        store.set_pod("ens-1", phase="Running")
        store.append_log("ens-1", "step 0")
        store.set_pod("ens-1", phase="Succeeded")
        store.set_status("ens", COMPLETE)

    operator.plays(play)
    assert follow() == 0
    output = capsys.readouterr().out
    assert steps(output) == ["step 0"]
    assert "no log of the job" not in output


def test_of_a_pod_with_a_mesh_beside_it_the_submitters_log_is_read(server: ApiServer, operator: Operator):
    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        store.add_pod("ens-1", {"job-name": "ens"}, phase="Succeeded")
        containers = [{"name": "istio-proxy"}, {"name": "ray-job-submitter"}]
        store.pods["platform", "ens-1"].object["spec"] = {"containers": containers}
        looks_on(server, "/ens")
        store.set_status("ens", COMPLETE)

    operator.plays(play)
    assert follow() == 0
    asked = [query.get("container") for _, path, query in server.asked if path.endswith("ens-1/log")]
    assert asked[-1] == "ray-job-submitter"


def test_workers_that_a_running_job_cannot_get_back_are_told_while_it_runs(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    message = 'FailedCreateWorkerPod\npods "ens-abc-workers-worker-z8" is forbidden: exceeded quota: gpus'
    refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreateWorkerPod", "message": message}

    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        counts = {"desiredWorkerReplicas": 7, "availableWorkerReplicas": 5}
        store.set_status("ens", {"rayClusterStatus": {**counts, "conditions": [refused]}})
        looks_on(server, "/ens")
        store.set_status("ens", {"rayClusterStatus": {**counts, "availableWorkerReplicas": 7, "conditions": []}})
        looks_on(server, "/ens")
        succeed(store)

    operator.plays(play)
    assert follow() == 0
    output = capsys.readouterr().out
    assert output.count("Running (RUNNING): 2 of 7 worker pods are missing: exceeded quota: gpus\n") == 1
    assert output.index("are missing") < output.rindex("Running (RUNNING)\n")


def test_a_head_that_does_not_answer_the_operator_is_told_with_what_its_pods_say(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    since = "2026-11-30T13:55:59Z"

    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        lost = [{"type": "Ready", "status": "False"}]
        store.add_pod("ens-abc-head", {"ray.io/cluster": "ens-abc"}, phase="Running", conditions=lost)
        store.add_warning("ens-abc-head", "NodeNotReady", "Node is not ready")
        store.set_status("ens", {"jobStatusCheckFailureStartTime": since})
        looks_on(server, "/ens")
        looks_on(server, "/ens")
        store.set_status("ens", {"jobStatusCheckFailureStartTime": None})
        looks_on(server, "/ens")
        succeed(store)

    monkeypatch.setattr(status, "_SILENCE_S", 0.0)
    operator.plays(play)
    assert follow() == 0
    output = capsys.readouterr().out
    silent = f"Running (RUNNING), the head has not answered KubeRay since {since}: waiting for 2 of 2 pods"
    assert output.count(f"{silent} (1 not ready: NodeNotReady: Node is not ready)\n") == 1
    assert output.index(silent) < output.rindex("Running (RUNNING)\n")


def test_a_head_that_is_lost_is_a_line_and_no_traceback_of_rays(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    closed = "INFO sdk.py:520 -- WebSocket closed for job ens-7x with close code {}"
    trace = ["Traceback (most recent call last):", "RuntimeError: WebSocket connection closed unexpectedly"]

    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        submitter(store, "ens-1", ["step 0", closed.format(1006), *trace], end="Failed")
        submitter(store, "ens-2", ["step 1", closed.format(1011), "done"])
        store.set_status("ens", COMPLETE)

    operator.plays(play)
    assert follow() == 0
    output = capsys.readouterr().out
    assert steps(output) == ["step 0", "step 1"]
    assert "ens-1 has lost its connection to the head, and ends; the next submitter goes on\n" in output
    assert "Traceback" not in output
    assert "unexpectedly" not in output
    assert "done\n" in output


def test_a_submitter_that_waits_for_ever_does_not_keep_the_end_from_being_told(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Of a head that is lost for good: the operator gives up, and the submitter goes on asking for a head."""
    waits = "Waiting for Ray Dashboard GCS to become healthy at http://ens-abc-head-svc:8265 ..."
    over = threading.Event()

    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        store.add_pod("ens-1", {"job-name": "ens"})
        store.append_log("ens-1", "step 0")
        for number in count_from(0):
            store.append_log("ens-1", waits)
            if number == 5:
                store.set_status("ens", {**FAILED, "reason": "JobStatusCheckTimeoutExceeded", "endTime": now()})
            if over.wait(0.02):
                return

    monkeypatch.setattr(logs, "AFTER_END_S", 0.0)
    operator.plays(play)
    try:
        assert follow() == 1
    finally:
        over.set()
    output = capsys.readouterr().out
    assert steps(output) == ["step 0"]
    assert output.count(waits) == 1
    assert "Failed: JobStatusCheckTimeoutExceeded" in output.splitlines()[-1]


def test_pods_that_may_not_be_listed_are_said_once_with_the_right(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", INITIALIZING)
        looks_on(server, "/ens")
        succeed(store)

    server.rules = [rule for rule in role()["rules"] if rule["resources"] != ["pods"]]
    operator.plays(play)
    assert follow() == 0
    output = capsys.readouterr().out
    assert (
        output.count("what the pods wait for is not shown: you (ann) may not list pods in namespace platform (403)")
        == 1
    )
    assert output.count("no log of the job: you (ann) may not list pods") == 1


def test_between_two_attempts_nobody_is_asked_whether_the_operator_is_there(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", INITIALIZING)
        time.sleep(0.5)  # longer than the patience with an operator
        looks_on(server, "/ens")
        store.set_status("ens", {**FAILED, "jobDeploymentStatus": "Retrying"})
        looks_on(server, "/ens")
        store.set_status("ens", {"jobDeploymentStatus": "", "jobStatus": "", "rayClusterName": "", "reason": ""})
        looks_on(server, "/ens")
        succeed(store)

    operator.plays(play)
    patient = Patience(connect_s=1, answer_s=1, poll_s=0.01, quiet_log_s=1, away_s=8, last_lines_s=3, operator_s=0.4)
    assert follow(patience=patient) == 0
    output = capsys.readouterr().out
    assert "New, attempt 2 of 4: waits for the KubeRay operator\n" in output
    assert "is the KubeRay operator there" not in output


def test_a_job_that_somebody_stopped_ends_as_interrupted_and_takes_its_pods_with_it(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    operator.plays(lambda store: store.set_status("ens", STOPPED))
    assert follow() == INTERRUPTED
    output = capsys.readouterr().out
    assert "Complete: somebody stopped the job (ray job stop, the dashboard); what it saved stays, and" in output
    assert output.endswith("rayjob platform/ens is deleted: a stop through Ray does not end its pods\n")
    assert server.store.job("ens") is None


def test_a_stopped_job_whose_pods_the_operator_ends_is_left_alone(server: ApiServer, operator: Operator):
    operator.plays(lambda store: store.set_status("ens", STOPPED))
    assert follow(rayjob(shutdownAfterJobFinishes=True, ttlSecondsAfterFinished=30)) == INTERRUPTED
    assert server.store.job("ens")


def test_who_may_not_delete_is_told_what_stays_of_a_stopped_job(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    rules = [rule for rule in role()["rules"] if rule["resources"] != ["rayjobs"]]
    server.rules = [*rules, {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["get", "create"]}]
    operator.plays(lambda store: store.set_status("ens", STOPPED))
    assert follow() == INTERRUPTED
    last = capsys.readouterr().out.splitlines()[-1]
    assert (
        "stay until kubectl -n platform delete rayjob ens --wait=false (you (ann) may not delete rayjobs.ray.io" in last
    )


def test_the_newest_warning_is_seen_among_thousands(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    """The server has events by the name of what they are about, and gives 500 at once."""

    def play(store: ApiStore) -> None:
        for number in range(1200):
            store.add_warning(f"another-{number}", "BackOff", "Back-off restarting failed container")
        store.add_pod("zzz-head", {"ray.io/cluster": "ens-abc"}, phase="Pending")
        store.add_warning("zzz-head", "FailedMount", "MountVolume.SetUp failed for volume data: no such claim")
        store.set_status("ens", INITIALIZING)
        looks_on(server, "/ens")
        succeed(store)

    operator.plays(play)
    assert follow() == 0
    assert "FailedMount: MountVolume.SetUp failed for volume data: no such claim" in capsys.readouterr().out
    limits = {query.get("limit") for _, path, query in server.asked if path.endswith("/events")}
    assert limits == {"500"}

"""RayJobs submitted to a real HTTPS server that behaves as an API server; a script plays the operator."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from platform.checkout import ROOT
from platform.config.checks import ConfigError
from platform.kubernetes.client import Patience
from platform.kubernetes.follow import LOST
from platform.kubernetes.states import ending
from platform.kubernetes.submit import submit
from platform.signals import INTERRUPTED
from tests.kube.apiserver import TOKEN, ApiServer
from tests.kube.apistore import ApiStore, Checks, Object
from tests.kube.rbac import queue_role, role

QUICK = Patience(connect_s=1, answer_s=1, poll_s=0.05, quiet_log_s=1, away_s=8, last_lines_s=3, operator_s=0.3)
ENTRYPOINT = "python -m platform.launch +experiment=googlenet_ens cluster=ray optim.lr=0.01"
INITIALIZING = {"jobDeploymentStatus": "Initializing", "rayClusterName": "ens-abc", "jobStatus": ""}
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
COMPLETE = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
FAILED = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed", "failed": 1}


def rayjob(entrypoint: str = ENTRYPOINT, **spec: Any) -> Object:
    worker = {"name": "ray-worker", "image": "platform:1", "resources": {"limits": {"cpu": "1"}}}
    template = {"spec": {"containers": [worker]}}
    cluster = {"workerGroupSpecs": [{"groupName": "workers", "replicas": 1, "template": template}]}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "ens", "namespace": "platform", "labels": {"app.kubernetes.io/part-of": "platform"}},
        "spec": {"entrypoint": entrypoint, "backoffLimit": 3, "rayClusterSpec": cluster, **spec},
    }


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    with ApiServer(tmp_path) as running:
        running.rules = queue_role()["rules"]  # whoever submits has this Role in all of these tests
        monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig))
        yield running


@pytest.fixture
def operator(server: ApiServer) -> "Iterator[Operator]":
    playing = Operator(server.store)
    yield playing
    playing.join()


class Operator:
    """What the operator does with the next RayJob: a function, in a thread."""

    def __init__(self, store: ApiStore) -> None:
        self._store, self._threads, self._errors = store, [], []
        store.on_create(lambda _: self._play())
        self._plays: list[Callable[[ApiStore], None]] = []

    def plays(self, play: Callable[[ApiStore], None]) -> None:
        self._plays.append(play)

    def starts(self, play: Callable[[ApiStore], None]) -> None:
        """Now: the RayJob is there."""
        self._threads.append(threading.Thread(target=self._guarded, args=(play,)))
        self._threads[-1].start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        assert not self._errors

    def _play(self) -> None:
        if self._plays:
            self.starts(self._plays.pop(0))

    def _guarded(self, play: Callable[[ApiStore], None]) -> None:
        try:
            play(self._store)
        except BaseException as error:
            self._errors.append(error)
            raise


def submitter(store: ApiStore, name: str, lines: list[str], owner: str = "first", end: str = "Succeeded") -> None:
    """A submitter's pod that says these lines, a little apart, and ends."""
    store.add_pod(name, {"job-name": "ens"}, owner=owner)
    for line in lines:
        store.append_log(name, line)
        time.sleep(0.02)
    store.set_pod(name, phase=end)


def numbered(first: int, last: int) -> list[str]:
    return [f"step {number}" for number in range(first, last)]


def steps(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("step ")]


def succeed(store: ApiStore) -> None:
    store.set_status("ens", {**INITIALIZING, **RUNNING})
    submitter(store, "ens-1", numbered(0, 5))
    store.set_status("ens", COMPLETE)


@pytest.mark.slow
def test_a_job_that_succeeds_shows_its_states_and_its_log_and_gives_0(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", INITIALIZING)
        condition = {"type": "PodScheduled", "status": "False", "message": UNSCHEDULABLE}
        store.add_pod("ens-abc-head", {"ray.io/cluster": "ens-abc"}, phase="Pending", conditions=[condition])
        store.wait_for(lambda: count(server, "GET", "/events") > 2)
        store.set_pod("ens-abc-head", phase="Running", conditions=[])
        store.set_status("ens", RUNNING)
        submitter(store, "ens-1", numbered(0, 20))
        store.set_status("ens", COMPLETE)

    operator.plays(play)
    assert submit(rayjob(), context=None, follow=True, patience=QUICK) == 0
    output = capsys.readouterr().out
    assert steps(output) == numbered(0, 20)
    assert "Initializing: waiting for 2 of 2 pods (1 pending: Insufficient nvidia.com/gpu)" in output
    assert output.count("Running (RUNNING)") == 1
    assert re.search(r"\d\d:\d\d Complete: the job succeeded\n$", output)
    assert output.count("MLflow     platform/mlflow: to forward its port takes the operator's rights") == 1
    assert output.count("stop it    kubectl -n platform delete rayjob ens --wait=false") == 1
    assert server.store.job("ens")["spec"] == rayjob()["spec"]  # pyright: ignore[reportOptionalSubscript]


UNSCHEDULABLE = (
    "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. "
    "preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
)


def count(server: ApiServer, method: str, end: str, **query: str) -> int:
    return sum(
        asked == method and path.endswith(end) and query.items() <= words.items() for asked, path, words in server.asked
    )


def looks_on(server: ApiServer, end: str) -> None:
    """Wait until the client has asked for this anew, and shown what it was answered."""
    before = count(server, "GET", end)
    server.store.wait_for(lambda: count(server, "GET", end) > before + 2)


def test_what_is_made_was_tried_before_with_unknown_fields_refused(server: ApiServer):
    assert submit(rayjob(), context="test", follow=False, patience=QUICK) == 0
    tries = [words for method, path, words in server.asked if method == "POST" and "/rayjobs" in path]
    assert [(words.get("dryRun"), words["fieldValidation"]) for words in tries] == [("All", "Strict"), (None, "Strict")]


def test_a_failed_job_gives_the_exit_code_of_its_command_and_one_line(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    message = "Job entrypoint command failed with exit code 2, last available logs (truncated to 20,000 chars):\nboom\n"

    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        submitter(store, "ens-1", ["step 0", "error: data.classes is 1; give at least 2"], end="Failed")
        store.set_status("ens", {**FAILED, "message": message})

    operator.plays(play)
    assert submit(rayjob(), context=None, follow=True, patience=QUICK) == 2
    output = capsys.readouterr().out
    assert "error: data.classes is 1; give at least 2\n" in output
    assert output.endswith("Failed: AppFailed: Job entrypoint command failed with exit code 2\n")


@pytest.mark.parametrize(
    ("status", "code", "line"),
    [
        ({**FAILED, "reason": "DeadlineExceeded", "message": "too long"}, 1, "Failed: DeadlineExceeded: too long"),
        (
            {**FAILED, "reason": "JobStatusCheckTimeoutExceeded", "message": "no answer"}, 1,
            "which is not retried: its node may be gone; the same command makes a new cluster and resumes",
        ),
        ({**FAILED, "message": "Job entrypoint command failed with exit code -9. No logs"}, 137, "exit code -9"),
        ({**FAILED, "reason": "", "message": ""}, 1, "Failed: no reason is given"),
        ({"jobDeploymentStatus": "ValidationFailed", "message": "name too long"}, 1, "ValidationFailed: name too long"),
    ],
)  # fmt: skip
def test_every_other_end_is_named_in_a_line(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str], status: Object, code: int, line: str
):
    operator.plays(lambda store: store.set_status("ens", status))
    assert submit(rayjob(), context=None, follow=True, patience=QUICK) == code
    assert line in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.slow
def test_a_retry_has_a_submission_of_its_own_whose_lines_all_come(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        submitter(store, "ens-1", numbered(0, 5), owner="first", end="Failed")
        store.wait_for(lambda: count(server, "GET", "ens-1/log") > 0)
        time.sleep(0.3)
        store.set_status("ens", {**FAILED, "jobDeploymentStatus": "Retrying", "message": "the head died"})
        time.sleep(0.3)
        store.delete_pod("ens-1")  # as KubeRay does
        store.set_status("ens", {**INITIALIZING, "reason": "", "message": ""})
        store.set_status("ens", RUNNING)
        submitter(store, "ens-2", numbered(3, 10), owner="second")
        store.set_status("ens", COMPLETE)

    operator.plays(play)
    assert submit(rayjob(), context=None, follow=True, patience=QUICK) == 0
    output = capsys.readouterr().out
    assert steps(output) == numbered(0, 5) + numbered(3, 10)
    assert "Retrying: attempt 1 of 4 failed (AppFailed: the head died); the next one resumes" in output
    assert "Running (RUNNING), attempt 2 of 4" in output


@pytest.mark.slow
def test_a_second_submitter_of_the_same_submission_does_not_repeat_what_the_first_said(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        submitter(store, "ens-1", ["waiting for the cluster", *numbered(0, 5), "", "step 4"], end="Failed")
        submitter(store, "ens-2", ["the job is there", *numbered(0, 5), "", "step 4", *numbered(5, 9), "step 4"])
        store.set_status("ens", COMPLETE)

    operator.plays(play)
    assert submit(rayjob(), context=None, follow=True, patience=QUICK) == 0
    assert steps(capsys.readouterr().out) == [*numbered(0, 5), "step 4", *numbered(5, 9), "step 4"]


@pytest.mark.slow
def test_a_server_that_is_away_for_a_while_costs_no_line_and_no_line_twice(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        store.add_pod("ens-1", {"job-name": "ens"}, owner="first")
        for number in range(200):
            store.append_log("ens-1", f"step {number}")
            time.sleep(0.02)
            if number == 50:
                server.away(1.5)
        store.set_pod("ens-1", phase="Succeeded")
        store.set_status("ens", COMPLETE)

    operator.plays(play)
    assert submit(rayjob(), context=None, follow=True, patience=QUICK) == 0
    output = capsys.readouterr().out
    assert steps(output) == numbered(0, 200)
    away, back = output.count("cannot be reached: "), output.count("the API server answers again")
    assert away == back >= 1, "a busy machine may be away a second time"


@pytest.mark.slow
def test_logs_that_break_in_the_middle_of_a_line_go_on_there(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        store.add_pod("ens-1", {"job-name": "ens"}, owner="first")
        for number in range(60):  # three with the same time, as fast programs have
            store.append_log("ens-1", f"step {number}", at=f"2026-11-22T10:00:{number // 6:02}.{number // 3 % 2}Z")
            time.sleep(0.01)
            if number % 7 == 0:
                asked = count(server, "GET", "ens-1/log")
                server.break_logs()
                store.wait_for(lambda asked=asked: count(server, "GET", "ens-1/log") > asked)
        store.set_pod("ens-1", phase="Succeeded")
        store.set_status("ens", COMPLETE)

    operator.plays(play)
    assert submit(rayjob(), context=None, follow=True, patience=QUICK) == 0
    output = capsys.readouterr().out
    assert steps(output) == numbered(0, 60)
    assert "half" not in output


def test_a_log_whose_pod_is_on_a_dead_node_does_not_keep_the_next_from_being_read(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        store.add_pod("ens-1", {"job-name": "ens"}, owner="first")
        submitter(store, "ens-2", numbered(0, 5))
        store.set_status("ens", COMPLETE)

    server.fail("ens-1/log", 500, times=1000)
    operator.plays(play)
    assert submit(rayjob(), context=None, follow=True, patience=QUICK) == 0
    assert steps(capsys.readouterr().out) == numbered(0, 5)


@pytest.mark.slow
def test_answers_that_hang_or_break_or_fail_do_not_end_the_following(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        for how in ("hang", 500, 503, 429, "reset", 401):
            server.fail("GET .*/rayjobs/ens$", how)
            server.fail("GET .*/log$", how)
        time.sleep(0.5)
        succeed(store)

    operator.plays(play)
    assert submit(rayjob(), context=None, follow=True, patience=QUICK) == 0
    assert steps(capsys.readouterr().out) == numbered(0, 5)


@pytest.mark.slow
def test_a_server_that_stays_away_ends_the_following_and_says_that_the_job_goes_on(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(_: ApiStore) -> None:
        time.sleep(0.6)  # the answer that the RayJob is made has gone out
        server.away(4)

    operator.plays(play)
    brief = Patience(connect_s=1, answer_s=1, poll_s=0.05, away_s=1)
    assert submit(rayjob(), context=None, follow=True, patience=brief) == LOST
    output = capsys.readouterr().out
    said = "the job goes on: the same command follows it again, kubectl -n platform get rayjob ens shows it"
    assert output.splitlines()[-1].endswith(said)


@pytest.mark.slow
def test_no_operator_no_log_rights_and_refused_pods_are_said_once(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        time.sleep(0.6)
        looks_on(server, "/ens")
        store.set_status("ens", INITIALIZING)
        store.add_warning("ens-abc", "FailedToCreateHeadPod", 'pods "x" is forbidden: exceeded quota: gpus')
        looks_on(server, "/events")
        succeed(store)

    server.rules = [rule for rule in role()["rules"] if rule["resources"] != ["pods/log"]]
    operator.plays(play)
    assert submit(rayjob(), context=None, follow=True, patience=QUICK) == 0
    output = capsys.readouterr().out
    assert output.count("is the KubeRay operator there?") == 1
    assert output.count("no pods yet (2 of 2 pods: exceeded quota: gpus)") == 1
    assert output.count("no log of the job: you (ann) may not get pods/log in namespace platform (403)") == 1
    assert "kubectl -n platform auth can-i get pods --subresource=log tells\n" in output


SHORT = "couldn't assign flavors to pod set workers: insufficient unused quota for nvidia.com/gpu in flavor spot"


@pytest.mark.parametrize("version", ["v1beta2", "v1beta1"])
def test_a_job_that_waits_in_a_queue_says_in_which_and_why(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str], version: str
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", {"jobDeploymentStatus": "Suspended"})
        job = store.job("ens")
        assert job
        server.objects.add(f"kueue.x-k8s.io/{version}", "workloads", workload(job, SHORT))
        store.wait_for(lambda: SHORT in (said := said_so_far()) and bool(said))
        succeed(store)

    lines: list[str] = []

    def said_so_far() -> str:
        lines.append(capsys.readouterr().out)
        return "".join(lines)

    operator.plays(play)
    assert submit(queued(), context=None, follow=True, patience=QUICK) == 0
    assert said_so_far().count(f"Suspended: waits in Kueue's queue gpus: {SHORT}\n") == 1


def test_a_job_in_a_queue_whose_workload_may_not_be_seen_says_so_once(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    lines: list[str] = []

    def said_so_far() -> str:
        lines.append(capsys.readouterr().out)
        return "".join(lines)

    def play(store: ApiStore) -> None:
        store.set_status("ens", {"jobDeploymentStatus": "Suspended"})
        store.wait_for(lambda: "why it waits is not shown" in said_so_far())
        succeed(store)

    operator.plays(play)
    server.rules = role()["rules"]  # without that of a queue
    assert submit(queued(), context=None, follow=True, patience=QUICK) == 0
    output = said_so_far()
    assert output.count("Suspended: waits in Kueue's queue gpus\n") == 1
    assert output.count("why it waits is not shown: you (jane) may not list workloads.kueue.x-k8s.io in namespace") == 1
    assert "the Role platform-submitter (k8s/components/submitters-queue) gives it" in output


def queued() -> Object:
    job = rayjob(suspend=True)
    job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpus"
    return job


def workload(job: Object, message: str) -> Object:
    """As Kueue makes it for a RayJob that does not fit."""
    labels = {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}
    pending = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": message}
    meta = {"name": "rayjob-ens-1a2b3", "namespace": "platform", "labels": labels}
    return {"metadata": meta, "status": {"conditions": [pending]}}


def test_the_same_command_attaches_to_a_job_that_runs_and_tells_its_log_from_the_beginning(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    submit(rayjob(), context=None, follow=False, patience=QUICK)
    made = server.store.job("ens")
    operator.starts(succeed)
    assert submit(rayjob(), context=None, follow=True, patience=QUICK) == 0
    output = capsys.readouterr().out
    assert "rayjob platform/ens is there already, with the same command: following it" in output
    assert steps(output) == numbered(0, 5)
    after = server.store.job("ens")
    assert made
    assert after
    assert made["metadata"]["uid"] == after["metadata"]["uid"]


def test_nobody_who_only_submits_is_told_that_it_is_followed(server: ApiServer, capsys: pytest.CaptureFixture[str]):
    for _ in range(2):
        assert submit(rayjob(), context=None, follow=False, patience=QUICK) == 0
    output = capsys.readouterr().out
    assert "is there already, with the same command\n" in output
    assert "delete rayjob ens --wait=false   (cluster.kube.follow=true follows it)" in output
    assert "following it" not in output
    assert "Ctrl-C" not in output


def test_a_job_that_runs_with_another_command_is_not_touched(server: ApiServer):
    submit(rayjob(), context=None, follow=False, patience=QUICK)
    server.store.set_status("ens", RUNNING)
    with pytest.raises(ConfigError) as refused:
        submit(rayjob(ENTRYPOINT.replace("0.01", "0.1")), context="test", follow=True, patience=QUICK)
    assert str(refused.value) == (
        "rayjob platform/ens is there (Running (RUNNING)) and differs: entrypoint -optim.lr=0.01 +optim.lr=0.1; choose "
        "another name=, or end it first: kubectl --context test -n platform delete rayjob ens --wait=false"
    )
    assert server.store.job("ens")["spec"]["entrypoint"] == ENTRYPOINT  # pyright: ignore[reportOptionalSubscript]


def test_a_job_that_runs_with_other_resources_is_refused_with_the_difference(server: ApiServer):
    submit(rayjob(), context=None, follow=False, patience=QUICK)
    other = rayjob()
    worker = other["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    worker["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = 8
    worker["template"]["spec"]["containers"][0]["image"] = "platform:2"
    del other["spec"]["backoffLimit"]
    with pytest.raises(ConfigError) as refused:
        submit(other, context=None, follow=True, patience=QUICK)
    assert "backoffLimit 3 -> none; " in str(refused.value)
    assert "containers.ray-worker.image platform:1 -> platform:2; " in str(refused.value)
    assert "limits.nvidia.com/gpu none -> 8; " in str(refused.value)


def test_what_the_server_filled_in_and_the_queue_added_is_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def filled_in(job: Object) -> Object:
        return job | {"spec": {"submissionMode": "K8sJobMode", "ttlSecondsAfterFinished": 0, **job["spec"]}}

    def admitted(job: Object) -> Object:
        job = filled_in(job)
        if job["metadata"]["name"] == "ens":  # what is there, less what is tried
            template = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]
            template["spec"] = template["spec"] | {"nodeSelector": {"pool": "gpu"}}
            job["spec"]["suspend"] = False
        return job

    job = rayjob(suspend=True)
    job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpus"
    with ApiServer(tmp_path, checks=Checks(filled_in=admitted)) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
        assert submit(job, context=None, follow=False, patience=QUICK) == 0
        assert submit(job, context=None, follow=False, patience=QUICK) == 0


@pytest.mark.slow
@pytest.mark.parametrize("status", [COMPLETE, FAILED])
def test_the_same_command_makes_a_finished_job_anew_once_all_of_the_old_one_is_gone(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str], status: Object
):
    submit(rayjob(), context=None, follow=False, patience=QUICK)
    server.store.set_status("ens", status)
    before = server.store.job("ens")
    server.store.holds_deletions = True
    server.store.on_delete(lambda _: threading.Timer(0.7, server.store.release, ["ens"]).start())
    operator.plays(succeed)
    started = time.monotonic()
    assert submit(rayjob(), context=None, follow=True, patience=QUICK) == 0
    assert time.monotonic() - started > 0.7
    output = capsys.readouterr().out
    assert "has ended before" in output
    if status.get("failed"):
        assert "attempt 1 of " in output
    after = server.store.job("ens")
    assert before
    assert after
    assert before["metadata"]["uid"] != after["metadata"]["uid"]


@pytest.mark.parametrize(("words", "goes_on"), [("", "resumes"), (" fresh=true", "starts over (fresh=true)")])
def test_a_command_that_starts_over_is_not_said_to_resume(
    server: ApiServer, capsys: pytest.CaptureFixture[str], words: str, goes_on: str
):
    job = rayjob(ENTRYPOINT + words)
    submit(job, context=None, follow=False, patience=QUICK)
    server.store.set_status("ens", FAILED)
    submit(job, context=None, follow=False, patience=QUICK)
    assert f": it is made anew, and {goes_on}\n" in capsys.readouterr().out
    for status in (
        {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"},
        {**FAILED, "reason": "JobStatusCheckTimeoutExceeded"},
    ):
        assert ending(job | {"status": status})[1].endswith(f" {goes_on}")


def test_a_finished_job_stays_when_its_successor_would_be_refused(server: ApiServer):
    submit(rayjob(), context=None, follow=False, patience=QUICK)
    server.store.set_status("ens", COMPLETE)
    server.rules = [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["get"]}]
    with pytest.raises(ConfigError, match=r"you \(ann\) may not create rayjobs\.ray\.io"):
        submit(rayjob(), context=None, follow=True, patience=QUICK)
    assert server.store.job("ens")
    assert count(server, "DELETE", "/ens") == 0


def test_a_job_deleted_by_somebody_ends_the_following(
    server: ApiServer, operator: Operator, capsys: pytest.CaptureFixture[str]
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", {**INITIALIZING, **RUNNING})
        submitter(store, "ens-1", numbered(0, 3))
        store.wait_for(lambda: count(server, "GET", "ens-1/log") > 0)
        store.release("ens")

    operator.plays(play)
    assert submit(rayjob(), context=None, follow=True, patience=QUICK) == 1
    output = capsys.readouterr().out
    assert steps(output) == numbered(0, 3)
    assert "the RayJob was deleted before its end" in output


NO_GPU = Checks(
    unknown=lambda job: ["spec.entrypiont"] if "entrypiont" in job["spec"] else [],
    invalid=lambda job: (
        [("spec.backoffLimit", 'Invalid value: "string"'), ("spec.x", "y")]
        if not isinstance(job["spec"].get("backoffLimit", 0), int)
        else []
    ),
)
DEAD_WEBHOOK = (
    'Internal error occurred: failed calling webhook "mrayjob.kb.io": failed to call webhook: Post "https://kueue-webhook-service.kueue-system.svc'
    ':443/mutate-ray-io-v1-rayjob?timeout=10s": dial tcp 10.96.12.7:443: connect: connection refused'
)
QUOTA = 'rayjobs.ray.io "ens" is forbidden: exceeded quota: jobs, requested: count/rayjobs.ray.io=1'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        ("unknown field", r"finds the RayJob invalid: .*unknown field \"spec\.entrypiont\""),
        ("wrong type", r'finds the RayJob invalid: spec\.backoffLimit: Invalid value: "string" \(and 1 more\)$'),
        ("no namespace", r"namespace research does not exist on https://.*; is it the right cluster"),
        ("no KubeRay", r"knows no RayJobs; install KubeRay: helm repo add kuberay .* --version 1\.7\.0"),
        ("wrong token", r"does not take your credentials \(401\); log in .*: kubectl -n platform auth whoami"),
        (
            "no right",
            r"^you \(ann\) may not create rayjobs\.ray\.io in namespace platform \(403\); the Role platform-submitter "
            r"\(k8s/components/submitters\) gives it, .*: kubectl -n platform auth can-i create rayjobs\.ray\.io tell",
        ),
        (
            "other namespace",
            r"^you \(ann\) may not get rayjobs\.ray\.io in namespace research .* -n research auth can-i get rayjobs",
        ),
        ("quota", r"the cluster's rules forbid this RayJob \(403\): .*exceeded quota: jobs"),
        ("store of the server", r"answers 500: etcdserver: request timed out; "),
        (
            "webhook",
            r"^the cluster's webhook mrayjob\.kb\.io \(service kueue-webhook-service in namespace kueue-system\) does "
            r"not answer, .* your network is fine: .* kubectl -n kueue-system get pods,endpointslices shows .*refused",
        ),
        ("conflict", r"rayjob platform/ens was made by somebody just now"),
        ("lost answer", r"cannot be reached: .*; whether the RayJob was made is not known; the same command finds out"),
        ("hangs", r"takes the connection and says nothing; is the address right"),
        ("nobody", r"https://127\.0\.0\.1:\d+ cannot be reached: .*refused.*; is the address right"),
        ("other authority", r"cannot be reached: .*certificate verify failed"),
        ("no kubeconfig", r"there is no kubeconfig at .*absent; set KUBECONFIG"),
        ("broken kubeconfig", r"kubeconfig .*: .*; kubectl config get-contexts"),
        ("no context", r"Expected object with name production .*; kubectl config get-contexts lists its contexts"),
    ],
)
def test_every_trouble_is_one_line_with_its_remedy_and_comes_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], trouble: str, line: str
):
    job, context = rayjob(), None
    with ApiServer(tmp_path, checks=NO_GPU, has_crds=trouble != "no KubeRay") as server:
        path = server.kubeconfig
        match trouble:
            case "unknown field":
                job["spec"]["entrypiont"] = job["spec"]["entrypoint"]
            case "wrong type":
                job["spec"]["backoffLimit"] = "three"
            case "no namespace":
                job["metadata"]["namespace"] = "research"
            case "wrong token":
                path = server.write_kubeconfig(tmp_path / "other", token="another-secret")
            case "other namespace":
                job["metadata"]["namespace"], server.rules = "research", role()["rules"]
            case "no right":
                server.rules = [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["get"]}]
            case "quota":
                server.forbidden["create rayjobs"] = QUOTA
            case "store of the server" | "webhook":
                server.fail("POST", DEAD_WEBHOOK if trouble == "webhook" else 500)
            case "conflict":
                _let_somebody_be_faster(server.store, job)
            case "lost answer":
                threading.Thread(target=_lose_second_post, args=(server,)).start()
            case "hangs":
                server.fail("GET", "hang")
            case "nobody":
                path = server.write_kubeconfig(tmp_path / "other", port=1)
            case "other authority":
                (tmp_path / "2").mkdir()
                with ApiServer(tmp_path / "2") as other:
                    path = other.write_kubeconfig(tmp_path / "other", port=server.port)
            case "no kubeconfig":
                path = tmp_path / "absent"
            case "broken kubeconfig":
                path = tmp_path / "broken"
                path.write_text("clusters: [")
            case "no context":
                context = "production"
        monkeypatch.setenv("KUBECONFIG", str(path))
        started = time.monotonic()
        with pytest.raises(ConfigError) as error:
            submit(job, context=context, follow=True, patience=QUICK)
        assert time.monotonic() - started < 20  # of a busy machine; nothing waits for more than its second
    message = str(error.value)
    assert re.search(line, message), message
    assert "\n" not in message
    said = message + "".join(capfd.readouterr())
    assert TOKEN not in said
    assert "another-secret" not in said
    assert "Traceback" not in said


def _let_somebody_be_faster(store: ApiStore, job: Object) -> None:
    """The same is submitted between the dry run and the creation."""
    real = store.create

    def create(namespace: str, given: Object, *, strict: bool, dry_run: bool) -> Object:
        made = real(namespace, given, strict=strict, dry_run=dry_run)
        if dry_run:
            real(namespace, job, strict=False, dry_run=False)
        return made

    store.create = create  # pyright: ignore[reportAttributeAccessIssue]


def _lose_second_post(server: ApiServer) -> None:
    while count(server, "POST", "/rayjobs") == 0:
        time.sleep(0.001)
    server.fail("POST", "reset")


DRIVER = """
import json
import sys
from platform.kubernetes.client import Patience
from platform.kubernetes.submit import submit
sys.exit(submit(json.loads(sys.argv[1]), context=None, follow=True, patience=Patience(poll_s=0.1)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_asks_nothing_and_leaves_the_job_running(server: ApiServer, number: signal.Signals):
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(rayjob())],
        cwd=ROOT,
        env={**os.environ, "KUBECONFIG": str(server.kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        server.store.wait_for(lambda: server.store.job("ens"), 60)
        server.store.set_status("ens", {**INITIALIZING, **RUNNING})
        server.store.add_pod("ens-1", {"job-name": "ens"}, owner="first")
        server.store.append_log("ens-1", "step 0")
        assert process.stdout
        seen = []
        while not seen or seen[-1] != "step 0\n":
            seen.append(process.stdout.readline())
            assert seen[-1], seen
        process.send_signal(number)
        rest = process.communicate(timeout=30)[0]
    finally:
        process.kill()
    assert process.returncode == INTERRUPTED
    assert "no longer following; the job goes on\n" in rest
    assert "follow it again  the same command\n" in rest
    assert "look             kubectl -n platform get rayjob ens\n" in rest
    assert "stop it          kubectl -n platform delete rayjob ens --wait=false\n" in rest
    assert "Traceback" not in rest
    job = server.store.job("ens")
    assert job
    assert "deletionTimestamp" not in job["metadata"]
    assert count(server, "DELETE", "/ens") == 0

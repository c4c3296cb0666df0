"""A real cluster, for whoever has one: `make cluster CONTEXT=kind-kind`. It has the operator, an overlay of `k8s/` and
the jobs' account, as k8s/README.md makes them up to its step 4; skipped without PLATFORM_TEST_CONTEXT.

RayJobs of the tests are deleted; their folders stay on the volume, under runs/try-....
"""

import copy
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform.checkout import ROOT
from tests.kube import test_submitters_policy as policy
from tests.kube.apistore import Object

CONTEXT = os.environ.get("PLATFORM_TEST_CONTEXT", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not CONTEXT, reason="no cluster: PLATFORM_TEST_CONTEXT is not set (make cluster CONTEXT=...)"),
]
NAMESPACE = "platform"


def kubectl(*words: str, given: Object | None = None) -> tuple[int, str]:
    """Status and output."""
    command = ["kubectl", f"--context={CONTEXT}", "--namespace", NAMESPACE, *words]
    text = None if given is None else json.dumps(given)
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    return done.returncode, done.stdout + done.stderr


def tried(given: Object) -> tuple[int, str]:
    """What the server says of an object, which is not made."""
    given = copy.deepcopy(given)
    given.setdefault("apiVersion", "ray.io/v1")
    given["metadata"] = {"name": "try", **given["metadata"], "namespace": NAMESPACE}
    given["metadata"].pop("deletionTimestamp", None)
    return kubectl("create", "--dry-run=server", "-f", "-", given=given)


class Launched:
    """`python -m platform.launch` with this cluster; its output so far."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", "platform.launch", "+experiment=smoke", "cluster=kuberay_dev"]
        command += [f"cluster.kube.context={CONTEXT}", *words]
        self.output = ""
        self._process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    def read_until(self, condition: Callable[[str], bool]) -> str:
        """Read its output to a line that fulfils the condition, which is returned; fails at the output's end."""
        assert self._process.stdout
        for line in self._process.stdout:
            self.output += line
            if condition(line):
                return line
        raise AssertionError(self.output)

    def end(self) -> int:
        """Its exit status; the rest of its output is read."""
        rest, _ = self._process.communicate()
        self.output += rest
        return self._process.returncode

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()


@pytest.fixture
def name() -> Iterator[str]:
    """Of an experiment, whose RayJob is deleted at the end."""
    name = f"try-{secrets.token_hex(3)}"
    yield name
    kubectl("delete", "rayjob", name, "--ignore-not-found", "--wait=false")


@pytest.mark.parametrize("path", policy.RENDERED, ids=lambda path: path.stem)
def test_the_server_takes_what_is_rendered(path: Path):
    job = policy.rendered(path.stem)
    for each in (job, {"kind": "RayCluster", "metadata": {}, "spec": job["spec"]["rayClusterSpec"]}):
        status, said = tried(each)
        assert status == 0, said


@pytest.mark.parametrize("number", range(len(policy.CHANGES)))
def test_the_servers_policy_refuses_what_reaches_mlflow(number: int):
    if kubectl("get", "validatingadmissionpolicies", "platform-jobs")[0]:
        pytest.skip("the overlay is without components/submitters")
    change, message = policy.CHANGES[number]
    job = policy.rendered("queued")
    change(job)
    status, said = tried(job)
    assert status == 1
    assert message in said


def test_the_check_finds_nothing_that_makes_the_job_fail():
    check = Launched("job=check")
    assert check.end() == 0, check.output
    assert "nothing that is sure to make the job fail was found" in check.output


def test_a_killed_head_is_waited_for_with_its_workers_and_the_job_goes_on_where_it_was(name: str):
    job = Launched(f"name={name}", "training.epochs=40", "checkpoint.every_s=5")
    try:
        job.read_until(lambda line: line.startswith("model") and "epoch" in line and "  epoch   1" not in line)
        time.sleep(10)  # for a checkpoint
        head = ("pods", "-l", f"ray.io/node-type=head,app.kubernetes.io/instance={name}")
        status, said = kubectl("delete", *head, "--grace-period=0", "--force")
        assert status == 0, said
        job.read_until(lambda line: "all 2 expected worker(s) have room now" in line)
        again = job.read_until(lambda line: line.startswith("model") and "%" in line and " 0%" not in line)
        assert job.end() == 0, job.output
    finally:
        job.kill()
    assert "Complete: the job succeeded" in job.output
    assert "attempt 2" not in job.output, "the cluster is the same, nothing of the retries is used"
    assert float(again.split("epoch")[1].split()[0]) > 1, "it began anew"


def test_two_experiments_whose_names_kubernetes_cannot_tell_apart_have_a_rayjob_each(name: str):
    jobs: set[str] = set()
    try:
        for experiment in (f"{name}.a", f"{name}_a"):
            launched = Launched(f"name={experiment}", "cluster.kube.follow=false")
            jobs.add(launched.read_until(lambda line: "is submitted" in line).split("/")[1].split()[0])
            assert launched.end() == 0, launched.output
        assert len(jobs) == 2
    finally:
        for each in jobs:
            kubectl("delete", "rayjob", each, "--wait=false")

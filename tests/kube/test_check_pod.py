"""The pod of `job=check`: what it may be, what it sees, that it is gone afterwards; and what is known without it."""

import json
import os
import signal
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from platform.kubernetes.check import pod
from platform.kubernetes.check.finding import MISSING, OK, UNKNOWN, WARNING
from platform.kubernetes.check.from_within import from_within
from platform.kubernetes.check.run import ask_cluster
from platform.kubernetes.client import Away
from platform.signals import INTERRUPTED
from tests.kube import builtin, lint
from tests.kube.apiserver import ApiServer
from tests.kube.apistore import Pod
from tests.kube.checking import ENSEMBLE, QUICK, found, job_of, with_subject
from tests.kube.kubelet import Kubelet
from tests.kube.web import serving

pytestmark = pytest.mark.slow
SHORT = "cluster.kube.check_pod_s=1"
ACCOUNT = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "battery horse"}


class MlflowAccounts(BaseHTTPRequestHandler):
    """Answers as MLflow with accounts does, and a proxy before it that takes tokens."""

    status: ClassVar[int] = 0  # 0: by the account
    location: ClassVar[str] = ""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        known = self.headers.get("Authorization") in ("Basic YW5uOmJhdHRlcnkgaG9yc2U=", "Bearer t0p")  # battery horse
        self.send_response(self.status or (200 if known else 401))
        self.send_header("Content-Length", "0")
        if self.location:
            self.send_header("Location", self.location)
        self.end_headers()

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(MlflowAccounts, "asked", [])
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), MlflowAccounts)) as address:
        yield address


@pytest.fixture
def node(good_cluster: ApiServer, mlflow: str, tmp_path: Path) -> Kubelet:
    """A node that runs the pod, with the volume, the account and MLflow."""
    (tmp_path / "volume").mkdir()
    good_cluster.objects.kubelet = Kubelet(
        good_cluster.store,
        volumes={"platform-data": tmp_path / "volume"},
        services={"mlflow:5000": mlflow},
        secrets={"platform-credentials": ACCOUNT},
    )
    return good_cluster.objects.kubelet


def seen(*words: str) -> dict[str, tuple[str, str]]:
    """State and text of the findings, by what they are about."""
    return {about: (state, text) for about, state, text in with_subject(from_within, SHORT, *words)}


def waits(reason: str, message: str = "") -> Any:
    """A kubelet that gets no further."""

    def keep(made: Pod) -> None:
        state = {"waiting": {"reason": reason, "message": message}}
        made.object["status"]["containerStatuses"] = [{"name": "check", "state": state}]

    return keep


def test_the_pod_is_taken_by_the_restricted_standard_and_has_no_token():
    job = job_of(*ENSEMBLE, "cluster.kube.pull_secrets=[registry]")
    made = pod.manifest(job, {"variables": []}, mounted=True)
    assert builtin.errors(made) == []
    assert [line for line in lint.findings(made, "pod") if "Probe" not in line] == []  # it ends by itself
    spec = made["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["containers"][0]["image"] == job.kube.image
    assert not any("nvidia" in resource for resource in spec["containers"][0]["resources"]["limits"])
    worker = job.worker.template["metadata"]["labels"]
    same = ("app.kubernetes.io/part-of", "app.kubernetes.io/component")
    assert {key: made["metadata"]["labels"][key] for key in same} == {key: worker[key] for key in same}


def test_it_pulls_writes_and_logs_in_and_is_gone(good_cluster: ApiServer, node: Kubelet, tmp_path: Path):
    said = seen()
    assert {state for state, _ in said.values()} == {OK}
    assert said["image"][1].startswith("platform:0.1.0-ray2.60.0 was pulled and started within")
    assert said["volume"] == (OK, "pods write to /mnt/platform (claim platform-data)")
    assert said["MLflow"] == (OK, "http://mlflow:5000 answers, and takes the account")
    assert said["environment"][1].endswith(
        "Secrets and cluster.kube.env hold MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD"
    )
    assert MlflowAccounts.asked == ["/api/2.0/mlflow/experiments/get-by-name?experiment_name=platform"]
    assert len(good_cluster.objects.pods_made) == 1
    assert not good_cluster.store.pods
    assert list((tmp_path / "volume").iterdir()) == []


def test_no_value_of_a_secret_is_printed(
    good_cluster: ApiServer, node: Kubelet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    logs: list[str] = []
    forget = good_cluster.store.delete_pod

    def keep(name: str, namespace: str) -> None:
        logs.append(str(good_cluster.store.pods[namespace, name].lines))
        forget(name, namespace)

    monkeypatch.setattr(good_cluster.store, "delete_pod", keep)
    said = str(seen()) + capsys.readouterr().out
    assert "MLFLOW_TRACKING_PASSWORD" in logs[0]
    for value in ACCOUNT.values():
        assert value not in said
        assert value not in str(logs)


def test_a_volume_that_cannot_be_written_to(good_cluster: ApiServer, node: Kubelet, tmp_path: Path):
    (tmp_path / "volume").rmdir()
    (tmp_path / "volume").touch()
    state, text = seen()["volume"]
    assert state == MISSING
    assert text.startswith("user 1000 cannot write to /mnt/platform (claim platform-data): Not a directory; the class")


def test_a_volume_that_is_not_bound_is_not_mounted(good_cluster: ApiServer, node: Kubelet):
    good_cluster.objects.one("persistentvolumeclaims", "platform-data")["status"] = {"phase": "Pending"}
    assert "volume" not in seen()
    (made,) = good_cluster.objects.pods_made
    assert [volume["name"] for volume in made["spec"]["volumes"]] == ["tmp"]


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_cannot_be_pulled(good_cluster: ApiServer, reason: str):
    good_cluster.objects.kubelet = waits(reason, "pull access denied")
    said = seen()
    assert said["image"][0] == MISSING
    assert f"platform:0.1.0-ray2.60.0 cannot be pulled: {reason}: pull access denied" in said["image"][1]
    assert said["MLflow"][0] == OK  # by its Service
    assert not good_cluster.store.pods


def test_a_pod_that_does_not_start_in_time(good_cluster: ApiServer):
    def unschedulable(made: Pod) -> None:
        message = "0/9 nodes are available: 9 Insufficient memory. preemption: no new claims to deallocate"
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        made.object["status"]["conditions"] = [condition]

    good_cluster.objects.kubelet = unschedulable
    state, text = seen()["image"]
    assert (state, "Insufficient memory" in text) == (UNKNOWN, True)
    assert not good_cluster.store.pods


@pytest.mark.parametrize(
    ("why", "state", "is_alike"),
    [
        ('violates PodSecurity "restricted:v1.34"', MISSING, True),
        ('error looking up service account platform/platform-worker: serviceaccount "x" not found', MISSING, True),
        ("exceeded quota: platform, requested: pods=1, used: pods=64, limited: pods=64", UNKNOWN, False),
        ("failed quota: disks: must specify limits.ephemeral-storage for: check", UNKNOWN, False),
        ("[minimum cpu usage per Container is 500m, but request is 100m]", UNKNOWN, False),
        ("insufficient quota to match these scopes: [{PriorityClass In [high]}]", UNKNOWN, False),
        ('admission webhook "validate.kyverno.svc-fail" denied the request: probes are required', WARNING, False),
    ],
)
def test_a_pod_that_admission_refuses(good_cluster: ApiServer, why: str, state: str, is_alike: bool):
    """Only a rule that is for the job's pods as well says that these are refused."""
    good_cluster.objects.refuses = lambda made: why
    said = seen()
    assert (said["image"][0], why in said["image"][1]) == (state, True)
    assert ("the job's pods are refused alike" in said["image"][1]) == is_alike
    assert said["MLflow"][0] == OK  # by its Service


def test_requests_that_are_not_answered_do_not_end_the_pod(good_cluster: ApiServer, node: Kubelet):
    good_cluster.fail("GET .*/pods/check-[^/]*$", 503, times=2)
    good_cluster.fail("GET .*/log", 500)
    said = {about: state for about, state, _ in with_subject(from_within, "cluster.kube.check_pod_s=60")}
    assert set(said.values()) == {OK}
    assert not good_cluster.store.pods


def test_a_server_that_stays_away_ends_the_pod(good_cluster: ApiServer, node: Kubelet):
    good_cluster.fail("GET .*/pods/check-[^/]*$", 503, times=100)
    with pytest.raises(Away, match="503"):
        seen()
    assert not good_cluster.store.pods


def test_a_server_that_does_not_show_the_pod_has_not_refused_it(good_cluster: ApiServer, node: Kubelet):
    good_cluster.fail("GET .*/pods/check-[^/]*$", 401)
    state, text = seen()["image"]
    assert (state, "the API server does not show it" in text, "alike" in text) == (UNKNOWN, True, False)


def test_sigterm_deletes_the_pod(good_cluster: ApiServer, capsys: pytest.CaptureFixture[str]):
    """A handler of the test's stands for the default, which would end this process."""
    missed: list[int] = []
    good_cluster.objects.kubelet = lambda made: os.kill(os.getpid(), signal.SIGTERM)
    before = signal.signal(signal.SIGTERM, lambda number, _: missed.append(number))
    try:
        job = job_of(*ENSEMBLE, SHORT)
        assert ask_cluster(job.manifest, job.config, QUICK) == INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    assert missed == []
    assert len(good_cluster.objects.pods_made) == 1
    assert not good_cluster.store.pods
    assert "stopped by SIGTERM" in capsys.readouterr().out


def test_an_image_that_is_another(good_cluster: ApiServer):
    def fails(made: Pod) -> None:
        name = made.object["metadata"]["name"]
        good_cluster.store.append_log(name, 'exec: "python": executable file not found in $PATH')
        good_cluster.store.set_pod(name, phase="Failed", reason="StartError")

    good_cluster.objects.kubelet = fails
    state, text = seen()["image"]
    assert (state, 'StartError: exec: "python": executable file not found' in text) == (WARNING, True)
    assert not good_cluster.store.pods


def test_a_pod_that_never_started_and_one_that_is_gone(good_cluster: ApiServer):
    def evicted(made: Pod) -> None:
        good_cluster.store.set_pod(made.object["metadata"]["name"], phase="Failed", reason="Evicted")

    good_cluster.objects.kubelet = evicted
    good_cluster.fail("GET .*/log", 404)
    assert seen()["image"] == (
        WARNING,
        "a pod of platform:0.1.0-ray2.60.0 failed: Evicted; is it built from the Dockerfile?",
    )
    good_cluster.objects.kubelet = lambda made: good_cluster.store.delete_pod(made.object["metadata"]["name"])
    state, text = seen()["image"]
    assert (state, "somebody deleted it" in text) == (WARNING, True)


@pytest.mark.parametrize("right", ["create pods", "delete pods", "get pods/log"])
def test_without_the_rights_no_pod_is_made(good_cluster: ApiServer, right: str):
    good_cluster.objects.hidden.add(right)
    said = seen()
    assert said["image"] == (
        UNKNOWN,
        f"whether platform:0.1.0-ray2.60.0 can be pulled needs the rights to {right} in namespace platform",
    )
    assert said["MLflow"][1].startswith("2 server(s) behind Service mlflow are ready")
    assert good_cluster.objects.pods_made == []


def test_a_setting_makes_no_pod(good_cluster: ApiServer):
    assert [state for state, _ in found(from_within)] == [UNKNOWN, OK]
    assert good_cluster.objects.pods_made == []


def test_policies_that_are_not_enforced(good_cluster: ApiServer, node: Kubelet, mlflow: str):
    """Without the gpu overlay's way to a store no policy lets workers out to the API server: whether they are tells."""
    host, _, port = mlflow.partition(":")
    node.variables = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    assert "enforcement" not in seen()
    good_cluster.objects.remove("networkpolicies", "to-store")
    state, text = seen()["enforcement"]
    assert (state, text.partition(":")[0]) == (
        WARNING,
        "a pod with a worker's labels reaches the API server, which no policy allows",
    )
    node.variables = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "1"}
    assert seen()["enforcement"][0] == OK
    node.variables = {}
    assert "enforcement" not in seen()


def test_the_questions_are_json_without_a_secret():
    made = pod.manifest(job_of(*ENSEMBLE), {"variables": ["A"]}, mounted=False)
    assert json.loads(made["spec"]["containers"][0]["command"][-1]) == {"variables": ["A"]}
    assert made["spec"]["containers"][0]["envFrom"] == [
        {"secretRef": {"name": "platform-credentials", "optional": True}}
    ]

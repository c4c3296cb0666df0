"""Kubernetes' rules for a container's variables, what one machine changes in its words, and when things are deleted."""

from pathlib import Path

import pytest

from platform.checkout import ROOT
from tests.kube.standin.container import ManifestError, expand, resolve
from tests.kube.standin.derive import Manifest
from tests.kube.standin.machine import Places, free_ports, mounts
from tests.kube.standin.status import Status, due_deletions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("$(A)$(B)-$(C)", "12-$(C)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$", "$"),
        ("cost $", "cost $"),
        ("${A} $A $", "${A} $A $"),
        ("$(A", "$(A"),
        ("'$$' stays in no quotes", "'$' stays in no quotes"),
    ],
)
def test_variables_are_expanded_as_kubernetes_does_it(text: str, expected: str):
    assert expand(text, {"A": "1", "B": "2"}) == expected


def _pod(**container: object) -> Manifest:
    labels = {"ray.io/group": "workers"}
    return {"metadata": {"name": "w-1", "labels": labels}, "spec": {"containers": [{"name": "w", **container}]}}


def test_later_variables_see_earlier_ones_and_secrets():
    pod = _pod(
        envFrom=[{"secretRef": {"name": "login"}}, {"secretRef": {"name": "none", "optional": True}}],
        env=[
            {"name": "URL", "value": "http://$(USER)@$(LATER)"},
            {"name": "LATER", "value": "later"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "GROUP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['ray.io/group']"}}},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "WORD"}}},
            {"name": "LATER", "value": "last"},
        ],
        command=["echo", "$(URL)"],
        args=["$(GROUP)"],
        workingDir="/mnt",
        resources={"limits": {"cpu": "1500m"}},
    )
    command = resolve(pod, pod["spec"]["containers"][0], {"login": {"USER": "me", "WORD": "$(URL)"}})
    assert command.variables == {
        "USER": "me", "WORD": "$(URL)", "URL": "http://me@$(LATER)", "LATER": "last", "NAME": "w-1",
        "GROUP": "workers", "CPUS": "2",
    }  # fmt: skip
    assert command.words == ["echo", "http://me@$(LATER)", "workers"]
    assert command.folder == "/mnt"


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"envFrom": [{"secretRef": {"name": "absent"}}]}, "there is no secret absent"),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "login", "key": "x"}}}]}, "has no key x"),
        ({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {}}}]}, "does not know"),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]}, "no field spec.nodeName"),
    ],
)
def test_a_reference_to_nothing_is_an_error(container: Manifest, message: str):
    pod = _pod(**container)
    with pytest.raises(ManifestError, match=message):
        resolve(pod, pod["spec"]["containers"][0], {"login": {}})


PLACES = Places(
    paths={"/mnt/platform": "/tmp/v", "/cache": "/tmp/c", "/tmp": "/tmp/own"},
    names={"mlflow:5000": "127.0.0.1:4000", "mlflow.platform:5000": "127.0.0.1:4000", "head-svc": "10.0.0.1"},
    ports={6379: 1, 8265: 2, 10001: 3, 52365: 4, 8080: 5},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "storage.cache=/cache tracking.uri=http://mlflow:5000",
            "storage.cache=/tmp/c tracking.uri=http://127.0.0.1:4000",
        ),
        ("'/mnt/platform/runs/a b'", "'/tmp/v/runs/a b'"),
        ("/data/mnt/platform /mnt/platform2 /mnt/platform-old", "/data/mnt/platform /mnt/platform2 /mnt/platform-old"),
        ("s3://cache/x file:///mnt/platform/x", "s3://cache/x file:///tmp/v/x"),
        (
            "http://mlflow:50001 my.mlflow:5000 mlflow.platform:5000",
            "http://mlflow:50001 my.mlflow:5000 127.0.0.1:4000",
        ),
        ("[/cache,/mnt/platform]{/tmp/a}", "[/tmp/c,/tmp/v]{/tmp/own/a}"),
        ("head-svc:6379 my-head-svc", "10.0.0.1:6379 my-head-svc"),
    ],
)
def test_whole_paths_and_names_are_replaced_once(text: str, expected: str):
    assert PLACES.localize(text) == expected


def test_a_start_gets_ports_of_its_own_and_keeps_its_other_words():
    start = "ulimit -n 1; ray start --head --block --dashboard-agent-listen-port=52365 --num-cpus=0"
    assert PLACES.localize_start(start, head=True, scratch=Path("/s")) == (
        "ulimit -n 1; ray start --head --port=1 --dashboard-port=2 --ray-client-server-port=3 --metrics-export-port=5 "
        "--temp-dir=/s --min-worker-port=0 --max-worker-port=0 --object-store-memory=100000000 --block "
        "--dashboard-agent-listen-port=4 --num-cpus=0"
    )
    start = "ray start --address=head-svc:6379 --metrics-export-port=8080 --object-store-memory=9"
    assert PLACES.localize_start(start, head=False, scratch=Path("/s")) == (
        "ray start --dashboard-agent-listen-port=4 --temp-dir=/s --min-worker-port=0 --max-worker-port=0 "
        "--address=10.0.0.1:6379 --metrics-export-port=5 --object-store-memory=9"
    )


def test_folders_that_need_quotes_are_refused():
    with pytest.raises(ValueError, match="plain letters"):
        Places(paths={"/mnt": "/tmp/a b"})


def test_claims_are_given_and_empty_folders_are_made(tmp_path: Path):
    pod = _pod(
        volumeMounts=[
            {"name": "data", "mountPath": "/mnt/platform"},
            {"name": "data", "mountPath": "/mnt/sub/", "subPath": "sub"},
            {"name": "cache", "mountPath": "/cache"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ]
    )
    pod["spec"]["volumes"] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "mine"}},
        {"name": "cache", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    scratch, own = tmp_path / "s", tmp_path / "s" / "0"
    assert mounts(pod, pod["spec"]["containers"][0], {"mine": tmp_path}, scratch, own) == {
        "/tmp": str(own),
        "/opt/platform": str(ROOT),
        "/mnt/platform": str(tmp_path),
        "/mnt/sub": str(tmp_path / "sub"),
        "/cache": str(scratch / "volumes" / "cache"),
    }
    with pytest.raises(ManifestError, match="no persistent volume claim mine"):
        mounts(pod, pod["spec"]["containers"][0], {}, scratch, own)


def test_free_ports_differ():
    assert len(set(free_ports(range(20)).values())) == 20


RULES = [
    {"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 60}},
    {"policy": "DeleteSelf", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 100}},
    {"policy": "DeleteWorkers", "condition": {"jobStatus": "FAILED"}},
    {"policy": "DeleteCluster", "condition": {"jobDeploymentStatus": "Failed", "ttlSeconds": 10}},
]


@pytest.mark.parametrize(
    ("states", "after_s", "due"),
    [
        (("Complete", "SUCCEEDED"), 59, []),
        (("Complete", "SUCCEEDED"), 60, ["DeleteCluster"]),
        (("Complete", "SUCCEEDED"), 100, ["DeleteSelf", "DeleteCluster"]),
        (("Failed", "FAILED"), 0, ["DeleteWorkers"]),
        (("Failed", "FAILED"), 10, ["DeleteCluster", "DeleteWorkers"]),
        (("Failed", "RUNNING"), 9, []),  # a deadline: Ray's own state is no FAILED
        (("Failed", "RUNNING"), 10, ["DeleteCluster"]),
        (("Running", "SUCCEEDED"), 1000, []),
        (("Complete", "STOPPED"), 1000, []),
    ],
)
def test_rules_apply_by_state_and_time(states: tuple[str, str], after_s: float, due: list[str]):
    status = Status(job_deployment_status=states[0], job_status=states[1], end_time=1000.0)
    spec = {"deletionStrategy": {"deletionRules": RULES}}
    assert due_deletions(spec, status, 1000.0 + after_s) == due


def test_shutdown_after_the_end_deletes_the_cluster_when_its_time_has_come():
    status = Status(job_deployment_status="Failed", end_time=1000.0)
    spec = {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 5}
    assert due_deletions(spec, status, 1004.0) == []
    assert due_deletions(spec, status, 1005.0) == ["DeleteCluster"]
    assert due_deletions({"ttlSecondsAfterFinished": 5}, status, 9000.0) == []


def test_a_status_reads_as_an_api_server_shows_it():
    document = Status(job_id="a-1", job_status="RUNNING", start_time=0.0, failed=1).document()
    assert document["jobStatus"] == "RUNNING"
    assert document["startTime"] == "1970-01-01T00:00:00Z"
    assert "endTime" not in document
    assert document["failed"] == 1

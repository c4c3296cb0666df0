"""The lint finds nothing in a right manifest, and each fault of a wrong one with its field and remedy."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform.checkout import ROOT
from tests.kube.lint import findings
from tests.kube.manifests import RAYJOB, REMOVED, changed, rayjob

JOB = "spec"
CLUSTER = "spec/rayClusterSpec"
HEAD = f"{CLUSTER}/headGroupSpec"
HEAD_POD = f"{HEAD}/template/spec"
WORKERS = f"{CLUSTER}/workerGroupSpecs/0"
POD = f"{WORKERS}/template/spec"
RAY = f"{POD}/containers/0"
SUBMITTER = "spec/submitterPodTemplate"
RULES = "spec/deletionStrategy/deletionRules"
SECRET = "is a secret written down; "

Slips = dict[str, tuple[str, object, str]]

OPERATOR: Slips = {
    "a mode there is none of": (
        "spec/submissionMode",
        "K8SJobMode",
        "spec.submissionMode is 'K8SJobMode'; choose one of",
    ),
    "rules and shutdown": (
        "spec/shutdownAfterJobFinishes",
        True,
        "shutdownAfterJobFinishes is True; leave it out: deletion",
    ),
    "rules and a time to live": (
        "spec/ttlSecondsAfterFinished",
        60,
        "ttlSecondsAfterFinished is 60; leave it out: the",
    ),
    "a negative time to live": (
        "spec/ttlSecondsAfterFinished",
        -1,
        "spec.ttlSecondsAfterFinished is -1; write 0 or more",
    ),
    "the same rule twice": (f"{RULES}/2/policy", "DeleteCluster", "keep one rule of DeleteCluster for SUCCEEDED"),
    "a rule out of order": (
        f"{RULES}/2/condition/ttlSeconds",
        5,
        "ttlSeconds is 5; write 60 or more: DeleteCluster comes",
    ),
    "workers deleted from the autoscaler": (
        f"{RULES}/0/policy",
        "DeleteWorkers",
        "policy is 'DeleteWorkers'; write Delete",
    ),
    "a failed job's cluster stays": (
        f"{RULES}/1",
        REMOVED,
        "deletionRules is without Failed; add a rule of DeleteCluster",
    ),
    "nobody ends the cluster": (
        "spec/deletionStrategy",
        REMOVED,
        "spec.shutdownAfterJobFinishes is missing; write true, or",
    ),
    "suspended, never shut down": (
        "spec/suspend",
        True,
        "spec.shutdownAfterJobFinishes is missing; write true: a susp",
    ),
    "no deadline": ("spec/activeDeadlineSeconds", REMOVED, "spec.activeDeadlineSeconds is missing; bound it"),
    "a deadline of no time": ("spec/activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds is 0; write 1 or more"),
    "negative retries": ("spec/backoffLimit", -1, "spec.backoffLimit is -1; write 0 or more"),
    "nothing to run": ("spec/entrypoint", " ", "spec.entrypoint is ' '; write the command that is run"),
    "no submitter of ours": (SUBMITTER, REMOVED, "spec.submitterPodTemplate is missing; give one: Pod Security"),
    "a submitter for ever": (
        f"{SUBMITTER}/spec/restartPolicy",
        "Always",
        "restartPolicy is 'Always'; write Never: it is a",
    ),
    "no authentication": (f"{CLUSTER}/authOptions", REMOVED, "authOptions.mode is missing; write token"),
    "a Ray without tokens": (f"{CLUSTER}/rayVersion", "2.51.1", "rayVersion is '2.51.1'; write 2.52.0 or newer"),
    "no version for the token": (f"{CLUSTER}/rayVersion", REMOVED, "rayVersion is missing; write 2.52.0 or newer"),
    "tokens of Kubernetes": (
        f"{CLUSTER}/authOptions/enableK8sTokenAuth",
        True,
        "enableK8sTokenAuth is True; leave it out",
    ),
    "an autoscaler of the old kind": (f"{CLUSTER}/autoscalerOptions/version", "v1", "version is 'v1'; write v2"),
    "its variable beside the option": (
        f"{HEAD_POD}/containers/0/env/-",
        {"name": "RAY_enable_autoscaler_v2", "value": "1"},
        "write autoscalerOptions.v",
    ),
    "containers that start again": (
        f"{POD}/restartPolicy",
        "Always",
        "restartPolicy is 'Always'; write Never: autoscaler",
    ),
    "a restart policy left out": (f"{HEAD_POD}/restartPolicy", REMOVED, "spec.restartPolicy is missing; write Never"),
    "too short to drain": (
        f"{POD}/terminationGracePeriodSeconds",
        30,
        "PeriodSeconds is 30; write more than 60: time to",
    ),
    "the default time to drain": (
        f"{HEAD_POD}/terminationGracePeriodSeconds",
        REMOVED,
        "Seconds is missing; write more",
    ),
    "work on the head": (f"{HEAD}/rayStartParams/num-cpus", "2", "num-cpus is '2'; write '0': what works on the head"),
    "more workers than the most": (f"{WORKERS}/replicas", 5, "workerGroupSpecs[0].replicas is 5; write 1 to 2"),
    "the least above the most": (f"{WORKERS}/minReplicas", 3, "minReplicas is 3; write at most maxReplicas, 2"),
    "workers called head": (f"{WORKERS}/groupName", "head", "groupName is 'head'; give each group a name of its own"),
    "resources twice": (f"{HEAD}/resources", {"CPU": "1"}, "write resources here or in rayStartParams, not both"),
    "labels as a parameter": (
        f"{WORKERS}/rayStartParams/labels",
        "a=b",
        "rayStartParams.labels is 'a=b'; write them as",
    ),
    "probes of a web server": (f"{RAY}/livenessProbe/httpGet/port", 8000, "ask the agent of the node: /api/healthz on"),
    "probes by command": (
        f"{RAY}/readinessProbe",
        {"exec": {"command": ["true"]}},
        "readinessProbe.httpGet is missing; ask",
    ),
    "an image of another Ray": (
        f"{RAY}/image",
        "platform:0.1.0-ray2.59.0",
        "use an image of Ray 2.60.0, as rayVersion says",
    ),
    "shared memory of 64 MiB": (
        f"{RAY}/volumeMounts/2/mountPath",
        "/shm",
        "without /dev/shm; mount an emptyDir of medium M",
    ),
    "shared memory on disk": (f"{POD}/volumes/2/emptyDir/medium", "", "emptyDir.medium is ''; write Memory"),
    "more shared memory than memory": (
        f"{POD}/volumes/2/emptyDir/sizeLimit",
        "8Gi",
        "write less than the container's memo",
    ),
    "a name of 48 characters": ("metadata/name", "g" * 48, "use at most 47 characters, not 48"),
    "a name that begins with a digit": (
        "metadata/name",
        "7-models",
        "metadata.name is '7-models'; use lower-case letters",
    ),
    "Redis without its option": (
        f"{HEAD_POD}/containers/0/env/-",
        {"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"},
        "use gcsFaultToleranceOptio",
    ),
    "a pod no policy knows": (
        f"{WORKERS}/template/metadata/labels/app.kubernetes.io~component",
        "x",
        "write worker: netw",
    ),
    "a queue and no suspension": (
        "metadata/labels/kueue.x-k8s.io~queue-name",
        "gpu",
        "spec.suspend is missing; write true",
    ),
}

CHECKLIST: Slips = {
    "a token for everybody": (
        f"{POD}/automountServiceAccountToken",
        REMOVED,
        "automountServiceAccountToken is missing; write f",
    ),
    "the default account": (
        f"{POD}/serviceAccountName",
        "default",
        "serviceAccountName is 'default'; name an account of",
    ),
    "the node's network": (f"{HEAD_POD}/hostNetwork", True, "hostNetwork is True; leave it out"),
    "the node's processes": (f"{HEAD_POD}/hostPID", True, "hostPID is True; leave it out"),
    "a folder of the node": (f"{POD}/volumes/0", {"name": "data", "hostPath": {"path": "/"}}, "volumes[0].hostPath is"),
    "memory without a bound": (
        f"{POD}/volumes/2/emptyDir/sizeLimit",
        REMOVED,
        "emptyDir.sizeLimit is missing; bound it",
    ),
    "the autoscaler's token in Ray's container": (
        f"{HEAD_POD}/containers/0/volumeMounts/-",
        {"name": "autoscaler-token", "mountPath": "/token"},
        "volumeMounts[4].name is 'autoscaler-token'; only the autoscaler's container",
    ),
    "a mount of nothing": (f"{RAY}/volumeMounts/0/name", "dta", "volumeMounts[0].name is 'dta'; name one of the pod's"),
    "root": (f"{POD}/securityContext/runAsUser", 0, "securityContext.runAsUser is 0; choose another user than root"),
    "root, if the image says so": (
        f"{POD}/securityContext/runAsNonRoot",
        REMOVED,
        "runAsNonRoot is missing; write true",
    ),
    "every system call": (
        f"{POD}/securityContext/seccompProfile/type",
        "Unconfined",
        "type is 'Unconfined'; write Runtime",
    ),
    "more privileges later": (
        f"{RAY}/securityContext/allowPrivilegeEscalation",
        REMOVED,
        "Escalation is missing; write fa",
    ),
    "a writable image": (
        f"{RAY}/securityContext/readOnlyRootFilesystem",
        False,
        "readOnlyRootFilesystem is False; write true",
    ),
    "capabilities kept": (f"{RAY}/securityContext/capabilities", REMOVED, "capabilities.drop is missing; write [ALL]"),
    "a capability more": (
        f"{RAY}/securityContext/capabilities/add",
        ["SYS_PTRACE"],
        "capabilities.add is ['SYS_PTRACE']; le",
    ),
    "privileged": (f"{RAY}/securityContext/privileged", True, "securityContext.privileged is True; leave it out"),
    "a privileged autoscaler": (
        f"{CLUSTER}/autoscalerOptions/securityContext/privileged",
        True,
        "Options.securityContext.pr",
    ),
    "nowhere to write": (f"{RAY}/volumeMounts/1", REMOVED, "volumeMounts is without /tmp; mount an emptyDir there"),
    "no memory asked for": (f"{RAY}/resources/requests/memory", REMOVED, "requests.memory is missing; say how much"),
    "no limit of processors": (f"{RAY}/resources/limits/cpu", REMOVED, "limits.cpu is missing; say how much"),
    "more asked for than the limit": (
        f"{RAY}/resources/requests/cpu",
        "1500m",
        "requests.cpu is '1500m'; ask for at most",
    ),
    "a GPU asked for and not limited": (
        f"{RAY}/resources/requests/nvidia.com~gpu",
        "1",
        "gpu] is missing; devices need a",
    ),
    "an autoscaler without bounds": (
        f"{CLUSTER}/autoscalerOptions/resources/limits/memory",
        REMOVED,
        "Options.resources.lim",
    ),
    "any version": (f"{RAY}/image", "registry:5000/platform", "image is 'registry:5000/platform'; pin a version"),
    "the latest version": (
        f"{SUBMITTER}/spec/containers/0/image",
        "platform:latest",
        "image is 'platform:latest'; pin a",
    ),
    "health unseen": (
        f"{RAY}/livenessProbe",
        REMOVED,
        "containers[0].livenessProbe is missing; say how its health is seen",
    ),
    "a port of the node": (
        f"{HEAD_POD}/containers/0/ports/0/hostPort",
        6379,
        "ports[0].hostPort is 6379; leave it out",
    ),
    "no namespace": ("metadata/namespace", REMOVED, "metadata.namespace is missing; write one"),
    "a label that is none": (
        f"{WORKERS}/template/metadata/labels/run",
        "a b",
        "labels.run is 'a b'; use letters, digits",
    ),
    "a password as a variable": (
        f"{RAY}/env/-",
        {"name": "MLFLOW_TRACKING_PASSWORD", "value": "hunter2"},
        f"env[1].value {SECRET}take MLFLOW_TRACK",
    ),
    "a password in an address": (
        f"{RAY}/env/-",
        {"name": "DB", "value": "postgresql://me:pw@db/x"},
        f"env[1].value {SECRET}",
    ),
    "a password as an argument": (
        f"{RAY}/args",
        ["--db=postgresql://me:pw@db/x"],
        f"containers[0].args[0] {SECRET}take it",
    ),
    "a password in the command": (
        "spec/entrypoint",
        "python -m x tracking.password=hunter2",
        f"spec.entrypoint {SECRET}",
    ),
    "an address with one in the command": (
        "spec/entrypoint",
        "x tracking.uri=http://me:pw@mlflow:5000",
        "spec.entrypoint is a",
    ),
    "a password in the runtime environment": (
        "spec/runtimeEnvYAML",
        "env_vars: {AWS_SECRET_ACCESS_KEY: abc}",
        f"spec.runtimeEnvYAML {SECRET}take AWS_SECRET_ACC",
    ),
    "a runtime environment that is none": ("spec/runtimeEnvYAML", "a: [", "spec.runtimeEnvYAML is 'a: ['; write YAML"),
    "Redis's password": (
        f"{CLUSTER}/gcsFaultToleranceOptions",
        {"redisPassword": {"value": "x"}},
        f"Password.value {SECRET}",
    ),
}


def test_nothing_is_wrong_with_the_rayjob_written_by_hand() -> None:
    assert findings(rayjob(), "rayjob.yaml") == []


@pytest.mark.parametrize("slip", [*OPERATOR, *CHECKLIST])
def test_a_fault_is_found_with_file_field_value_and_remedy(slip: str) -> None:
    path, value, said = (OPERATOR | CHECKLIST)[slip]
    found = findings(changed(rayjob(), path, value), "rayjob.yaml")
    assert any(said in line for line in found), found
    assert len(found) <= 4, found  # a name is in the labels of three pods
    for line in found:
        file, _, rest = line.partition(": ")
        field, _, remedy = rest.partition(" is ")
        assert file == "rayjob.yaml"
        assert field
        assert "; " in remedy
        assert "\n" not in line


@pytest.mark.parametrize("secret", ["hunter2", "pw@", "abc"])
def test_a_secret_is_never_repeated_in_what_is_said_about_it(secret: str) -> None:
    for path, value, said in CHECKLIST.values():
        if SECRET in said and secret in str(value):
            found = findings(changed(rayjob(), path, value), "rayjob.yaml")
            assert found
            assert not any(secret in line for line in found)


def test_an_existing_cluster_takes_neither_suspension_nor_retries() -> None:
    job = changed(rayjob(), "spec/clusterSelector", {"ray.io/cluster": "mine"})
    job = changed(changed(job, "spec/suspend", True), "spec/rayClusterSpec", REMOVED)
    said = "\n".join(findings(job, "rayjob.yaml"))
    assert "spec.suspend is True; leave it out: clusterSelector excludes it" in said
    assert "spec.backoffLimit is 3; write 0: clusterSelector excludes retries" in said
    assert "deletionRules[0].policy is 'DeleteCluster'; write DeleteSelf" in said


def test_a_queued_job_is_suspended_shut_down_and_of_one_size() -> None:
    job = queued(rayjob())
    (elastic,) = findings(job, "rayjob.yaml")
    assert "enableInTreeAutoscaling is True; write false, or annotate kueue.x-k8s.io/elastic-job" in elastic
    assert findings(changed(job, "metadata/annotations/kueue.x-k8s.io~elastic-job", "true"), "rayjob.yaml") == []
    assert findings(changed(job, f"{CLUSTER}/enableInTreeAutoscaling", False), "rayjob.yaml") == []


NEAR = f"{WORKERS}/template/metadata/annotations/kueue.x-k8s.io~podset-preferred-topology"


def test_only_a_queued_job_of_one_size_asks_kueue_for_a_topology() -> None:
    one_size = changed(queued(rayjob()), f"{CLUSTER}/enableInTreeAutoscaling", False)
    assert findings(changed(one_size, NEAR, "example.com/rack"), "x") == []
    (found,) = findings(changed(one_size, NEAR, "a b"), "x")
    assert "podset-preferred-topology] is 'a b'; use 1 to 63" in found
    both = changed(changed(one_size, NEAR, "a"), NEAR.replace("preferred", "required"), "a")
    assert len([line for line in findings(both, "x") if "keep one of" in line]) == 2
    (found,) = findings(changed(rayjob(), NEAR, "example.com/rack"), "x")
    assert "leave it out, or label the job kueue.x-k8s.io/queue-name" in found
    scaled = changed(queued(rayjob()), "metadata/annotations/kueue.x-k8s.io~elastic-job", "true")
    (found,) = findings(changed(scaled, NEAR, "example.com/rack"), "x")
    assert "Kueue chooses nodes for jobs of one size" in found


def queued(job: dict[str, Any]) -> dict[str, Any]:
    for path, value in {
        "metadata/labels/kueue.x-k8s.io~queue-name": "gpu",
        "spec/suspend": True,
        "spec/shutdownAfterJobFinishes": True,
        "spec/ttlSecondsAfterFinished": 600,
        "spec/deletionStrategy": REMOVED,
    }.items():
        job = changed(job, path, value)
    return job


def test_a_nightly_job_is_checked_through_its_template() -> None:
    spec = rayjob()["spec"]
    nightly = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCronJob",
        "metadata": {"name": "googlenet-ens", "namespace": "platform"},
    }
    nightly["spec"] = {"schedule": "0 2 * * *", "jobTemplate": spec}
    assert findings(nightly, "nightly.yaml") == []
    wrong = changed(changed(nightly, "spec/schedule", "TZ=UTC 0 2 * * *"), "spec/jobTemplate/submissionMode", "x")
    wrong = changed(wrong, "metadata/name", "n" * 37)
    said = "\n".join(findings(wrong, "nightly.yaml"))
    assert "spec.schedule is 'TZ=UTC 0 2 * * *'; take the time zone out" in said
    assert "spec.jobTemplate.submissionMode is 'x'; choose one of" in said
    assert "use at most 36 characters, not 37" in said


def test_a_secret_object_with_values_is_refused_and_a_password_in_a_config_map_too() -> None:
    metadata = {"name": "x", "namespace": "platform"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": "hunter2"}}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"uri": "postgresql://a:b@c/d"}}
    assert findings(secret, "x.yaml") == [
        "x.yaml: stringData.password is a secret written down; make it with kubectl create secret, never in a file"
    ]
    assert findings(settings, "x.yaml") == [
        "x.yaml: data.uri is a secret written down; put it into a Secret and refer to that"
    ]


def lint(*files: str, text: str = "") -> tuple[int, str, str]:
    command = [sys.executable, "-m", "tests.kube.lint", *files]
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT, env=os.environ, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_the_command_reads_files_and_standard_input_and_its_status_says_what_it_found(tmp_path: Path) -> None:
    assert lint(str(RAYJOB)) == (0, "", "")
    broken = yaml.safe_dump_all([rayjob(), changed(rayjob(), "spec/submissionMode", "x")])
    status, said, _ = lint("-", text=broken)
    assert status == 1
    assert said == (
        "- (RayJob googlenet-ens): spec.submissionMode is 'x'; "
        "choose one of K8sJobMode, HTTPMode, InteractiveMode, SidecarMode\n"
    )
    (tmp_path / "no.yaml").write_text("a: [")
    status, _, said = lint(str(tmp_path / "no.yaml"), str(tmp_path / "absent.yaml"))
    assert status == 2
    assert said.startswith(f"{tmp_path}/no.yaml: while parsing")
    assert said.count("\n") == 1
    assert lint()[0] == 2

"""What RayJobs of people who submit may name: what is rendered passes, what reaches MLflow's Secrets does not."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform.checkout import ROOT
from tests.kube import builtin
from tests.kube.admission import refusals
from tests.kube.components import with_component

FILE = ROOT / "k8s" / "components" / "submitters" / "policy.yaml"
POLICY, BINDING, PODS, PODS_BINDING = yaml.safe_load_all(FILE.read_text())
RENDERED = sorted((ROOT / "k8s" / "jobs").glob("*.yaml"))
ACCOUNT, LABEL, SECRETS, TOKEN, WAYS, VOLUMES = (each["message"] for each in POLICY["spec"]["validations"])
Object = dict[str, Any]


def rendered(name: str) -> Object:
    (manifest,) = yaml.safe_load_all((ROOT / "k8s" / "jobs" / f"{name}.yaml").read_text())
    if manifest["kind"] == "RayCronJob":  # the operator makes RayJobs of it
        manifest = {"kind": "RayJob", "metadata": {}, "spec": manifest["spec"]["jobTemplate"]}
    return manifest


@pytest.mark.parametrize("name", [path.stem for path in RENDERED])
def test_what_is_rendered_is_allowed(name: str) -> None:
    job = rendered(name)
    assert refusals(POLICY, job) == []
    cluster = {"kind": "RayCluster", "metadata": {}, "spec": job["spec"]["rayClusterSpec"]}
    assert refusals(POLICY, cluster) == []


def head(job: Object) -> Object:
    return job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]


def worker(job: Object) -> Object:
    return job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]


def submitter(job: Object) -> Object:
    return job["spec"]["submitterPodTemplate"]


REFERENCE = {"secretKeyRef": {"name": "mlflow-auth", "key": "MLFLOW_AUTH_ADMIN_PASSWORD"}}
CLONE = {"volumeClaimTemplate": {"spec": {"dataSource": {"kind": "PersistentVolumeClaim", "name": "platform-backup"}}}}
TAKEN = {"volumeClaimTemplate": {"spec": {"volumeName": "pvc-of-the-backup"}}}


def of_pods(template: Callable[[Object], Object]) -> list[tuple[Callable[[Object], Any], str]]:
    def volume(**source: Any) -> Callable[[Object], Any]:
        return lambda job: template(job)["spec"].setdefault("volumes", []).append({"name": "more", **source})

    def container(field: str, value: Object) -> Callable[[Object], Any]:
        return lambda job: template(job)["spec"]["containers"][0].setdefault(field, []).append(value)

    return [
        (lambda job: template(job)["spec"].update(serviceAccountName="mlflow"), ACCOUNT),
        (lambda job: template(job)["spec"].pop("serviceAccountName"), ACCOUNT),
        (lambda job: template(job)["metadata"]["labels"].update({"app.kubernetes.io/name": "mlflow"}), LABEL),
        (container("env", {"name": "A", "valueFrom": REFERENCE}), SECRETS),
        (container("envFrom", {"secretRef": {"name": "mlflow-database"}}), SECRETS),
        (
            lambda job: template(job)["spec"].update(
                initContainers=[{"name": "first", "image": "a", "env": [{"name": "A", "valueFrom": REFERENCE}]}]
            ),
            SECRETS,
        ),
        (volume(secret={"secretName": "mlflow-auth"}), VOLUMES),
        (volume(projected={"sources": [{"secret": {"name": "mlflow-auth"}}]}), VOLUMES),
        (volume(persistentVolumeClaim={"claimName": "platform-backup"}), VOLUMES),
        (volume(ephemeral=CLONE), VOLUMES),
        (volume(ephemeral=TAKEN), VOLUMES),
        (volume(csi={"driver": "a", "nodePublishSecretRef": {"name": "mlflow-auth"}}), VOLUMES),
    ]


def of_the_cluster(**more: Any) -> Callable[[Object], Any]:
    return lambda job: job["spec"]["rayClusterSpec"].update(more)


def of_the_head(**more: Any) -> Callable[[Object], Any]:
    return lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"].update(more)


COLLECTOR = {"collectorOptions": {"image": "a", "env": [{"name": "A", "valueFrom": REFERENCE}]}}
CHANGES = [
    *of_pods(head),
    *of_pods(worker),
    *of_pods(submitter),
    (of_the_cluster(autoscalerOptions={"envFrom": [{"secretRef": {"name": "mlflow-auth"}}]}), SECRETS),
    (of_the_cluster(gcsFaultToleranceOptions={"redisPassword": {"valueFrom": REFERENCE}}), SECRETS),
    (of_the_cluster(gcsFaultToleranceOptions={"redisUsername": {"valueFrom": REFERENCE}}), SECRETS),
    (of_the_cluster(gcsFaultToleranceOptions={"storage": {"claimName": "platform-backup"}}), VOLUMES),
    (of_the_cluster(historyServerOptions=COLLECTOR), SECRETS),
    (of_the_cluster(authOptions={"secretName": "mlflow-auth"}), TOKEN),
    (of_the_cluster(networkPolicy={"head": {"egressRules": [{}]}}), WAYS),
    (of_the_head(labels={"app.kubernetes.io/name": "mlflow"}), LABEL),
    (of_the_head(enableIngress=True), WAYS),
    (of_the_head(ingressOptions={"host": "mlflow.example.com"}), WAYS),
    (of_the_head(headService={"spec": {"externalIPs": ["10.0.0.1"]}}), WAYS),
    (of_the_head(serviceType="LoadBalancer"), WAYS),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_what_reaches_mlflow_is_refused_with_what_is_allowed(number: int) -> None:
    change, message = CHANGES[number]
    job = rendered("queued")
    before = copy.deepcopy(job)
    change(job)
    assert job != before
    assert refusals(POLICY, job) == [message]
    assert refusals(POLICY, job, before) == [message]
    job["metadata"]["deletionTimestamp"] = "2026-11-29T00:00:00Z"
    assert refusals(POLICY, job, job) == [], "its finalizers may go"
    assert refusals(POLICY, job, before) == [message], "the operator makes pods of what is being deleted, too"


def test_the_accounts_of_jobs_change_no_pods():
    pod = {"kind": "Pod", "metadata": {"name": "mlflow"}}
    (message,) = (each["message"] for each in PODS["spec"]["validations"])
    for account in ("platform-head", "platform-worker"):
        assert refusals(PODS, pod, pod, user=f"system:serviceaccount:platform:{account}") == [message]
    for user in ("system:serviceaccount:kuberay-system:kuberay-operator", "system:node:a", "ada"):
        assert refusals(PODS, pod, pod, user=user) == []
    (rule,) = PODS["spec"]["matchConstraints"]["resourceRules"]
    assert {"pods", "pods/*"} == {*rule["resources"]}
    assert "UPDATE" in rule["operations"]


def test_a_password_of_redis_in_a_secret_of_the_jobs_is_allowed() -> None:
    job = rendered("queued")
    password = {"valueFrom": {"secretKeyRef": {"name": "platform-redis", "key": "password"}}}
    of_the_cluster(gcsFaultToleranceOptions={"redisAddress": "redis:6379", "redisPassword": password})(job)
    assert refusals(POLICY, job) == []


def test_a_job_on_a_cluster_that_is_there_is_looked_at_too() -> None:
    job = rendered("queued")
    del job["spec"]["rayClusterSpec"]
    assert refusals(POLICY, job) == []
    submitter(job)["spec"]["serviceAccountName"] = "mlflow"
    assert refusals(POLICY, job) == [ACCOUNT]


def test_it_holds_in_the_namespace_and_an_overlay_builds_it(tmp_path: Path) -> None:
    built = with_component("gpu", "submitters", tmp_path)
    (namespace,) = built.of("Namespace")
    for name, source in (("platform-jobs", POLICY), ("platform-pods", PODS)):
        policy, binding = built.one(POLICY["kind"], name), built.one(BINDING["kind"], name)
        assert builtin.errors(policy) == []
        assert builtin.errors(binding) == []
        assert policy["spec"] == source["spec"]
        assert binding["spec"]["policyName"] == policy["metadata"]["name"]
        selector = binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"]
        assert selector == {"kubernetes.io/metadata.name": namespace["metadata"]["name"]}
        assert "namespace" not in policy["metadata"]

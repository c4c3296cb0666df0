"""Base and overlays build, and everything in them fits: schemas, checklist, references, selectors, network, quota."""

import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform.checkout import ROOT
from tests.kube import builtin
from tests.kube.kueue import KUEUE, kueue_errors
from tests.kube.lint import WITHOUT_NAMESPACE, findings
from tests.kube.manifests import REMOVED, changed, rayjob
from tests.kube.overlays import BELOW, FOLDERS, OVERLAYS, Build, build
from tests.kube.pods import PodAt, pods
from tests.kube.quantities import quantity
from tests.kube.reach import Peer, reaches, selects

CREATED = re.compile(r"kubectl (?:-n platform )?create (secret generic|configmap|namespace) ([\w-]+)")


@pytest.fixture(params=FOLDERS)
def built(request: pytest.FixtureRequest) -> Build:
    return build(request.param)


@pytest.mark.slow
def test_every_object_is_valid_and_no_name_is_taken_twice(built: Build) -> None:
    for each in built.objects:
        if each["apiVersion"] == KUEUE:
            assert kueue_errors(each) == [], each["metadata"]["name"]
        else:
            assert builtin.errors(each) == [], each["metadata"]["name"]
    names = Counter((each["kind"], each["metadata"]["name"]) for each in built.objects)
    assert set(names.values()) == {1}


def test_the_lint_finds_nothing(built: Build) -> None:
    assert [line for each in built.objects for line in findings(each, f"k8s/{built.name}")] == []


def test_everything_is_in_the_namespace_and_says_what_it_is_part_of(built: Build) -> None:
    for each in built.objects:
        namespace = each["metadata"].get("namespace")
        assert namespace == (None if each["kind"] in WITHOUT_NAMESPACE else "platform"), each["metadata"]["name"]
        assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "platform", each["metadata"]["name"]
    for pod in built_pods(built):
        assert pod.template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "platform"


def test_the_namespace_refuses_pods_that_could_harm_their_node(built: Build) -> None:
    labels = built.one("Namespace", "platform")["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
        assert labels[f"pod-security.kubernetes.io/{mode}-version"] == f"v{builtin.KUBERNETES}"


def test_no_account_has_a_token_and_no_object_a_secret(built: Build) -> None:
    accounts = built.of("ServiceAccount")
    assert {each["metadata"]["name"] for each in accounts} >= {"platform-head", "platform-worker", "mlflow"}
    assert all(each["automountServiceAccountToken"] is False for each in accounts)
    assert built.of("Secret") == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_a_pod_refers_to_is_there_or_people_are_told_to_create_it(name: str) -> None:
    built, created = build(name), told(name)
    there = {(each["kind"], each["metadata"]["name"]) for each in built.objects}
    for pod in [*built_pods(built), *ray_pods()]:
        for kind, reference, optional in references(pod):
            assert (kind, reference) in there | created or optional, f"{kind} {reference}"
    assert {name for kind, name in created if kind == "Secret"} >= {"mlflow-database", "mlflow-auth"}


def told(name: str) -> set[tuple[str, str]]:
    """What the head of an overlay's kustomization.yaml (and of those below it) tells people to create."""
    names = (name, BELOW[name]) if name in BELOW else (name,)
    texts = [(FOLDERS[each] / "kustomization.yaml").read_text() for each in names]
    kinds = {"secret generic": "Secret", "configmap": "ConfigMap", "namespace": "Namespace"}
    return {(kinds[kind], each) for kind, each in CREATED.findall("\n".join(texts))}


def references(pod: PodAt) -> Iterator[tuple[str, str, bool]]:
    """(kind, name, whether it may be absent) of what a pod cannot start without."""
    yield "ServiceAccount", pod.spec["serviceAccountName"], False
    if "priorityClassName" in pod.spec:
        yield "PriorityClass", pod.spec["priorityClassName"], False
    for volume in pod.spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], False
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"], volume["secret"].get("optional", False)
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], False
    for container in containers(pod):
        for source in container.get("envFrom", []):
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if key in source:
                    yield kind, source[key]["name"], source[key].get("optional", False)
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if key in source:
                    yield kind, source[key]["name"], source[key].get("optional", False)


def containers(pod: PodAt) -> list[dict[str, Any]]:
    return [*pod.spec.get("initContainers", []), *pod.spec["containers"]]


def built_pods(built: Build) -> list[PodAt]:
    return [pod for each in built.objects for pod in pods(each)]


def ray_pods() -> list[PodAt]:
    return list(pods(rayjob()))


def test_what_becomes_the_environment_holds_variables_and_no_files(built: Build) -> None:
    for pod in built_pods(built):
        for container in containers(pod):
            for source in container.get("envFrom", []):
                name = source.get("configMapRef", {}).get("name")
                found = [each["data"] for each in built.of("ConfigMap") if each["metadata"]["name"] == name]
                assert all(re.fullmatch("[A-Z][A-Z_]*", key) for data in found for key in data), name


def labels(pod: PodAt) -> dict[str, str]:
    return pod.template["metadata"]["labels"]


def test_services_budgets_and_workloads_select_the_pods_they_mean(built: Build) -> None:
    for each in [*built.of("Deployment"), *built.of("StatefulSet")]:
        (pod,) = pods(each)
        assert selects(each["spec"]["selector"], labels(pod))
        assert sum(selects(each["spec"]["selector"], labels(other)) for other in built_pods(built)) == 1
    for each in built.of("PodDisruptionBudget"):
        assert any(selects(each["spec"]["selector"], labels(pod)) for pod in built_pods(built))
    for each in built.of("Service"):
        (pod,) = [pod for pod in built_pods(built) if selects({"matchLabels": each["spec"]["selector"]}, labels(pod))]
        offered = {port["name"]: port["containerPort"] for one in containers(pod) for port in one.get("ports", [])}
        for port in each["spec"]["ports"]:
            assert offered[port["targetPort"]] == port["port"]


def test_probes_ask_ports_that_containers_have(built: Build) -> None:
    for pod in built_pods(built):
        for container in containers(pod):
            offered = {port["name"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = container.get(probe, {}).get("httpGet")
                assert asked is None or asked["port"] in offered


def test_every_network_policy_is_about_pods_there_are(built: Build) -> None:
    known = [labels(pod) for pod in [*built_pods(built), *ray_pods()]]
    for each in built.of("NetworkPolicy"):
        spec = each["spec"]
        rules = [*spec.get("ingress", []), *spec.get("egress", [])]
        peers = [peer for rule in rules for peer in [*rule.get("from", []), *rule.get("to", [])]]
        near = [peer["podSelector"] for peer in peers if "podSelector" in peer and "namespaceSelector" not in peer]
        for selector in (spec["podSelector"], *near):
            assert any(selects(selector, one) for one in known), (each["metadata"]["name"], selector)


# from, to, port, whether it passes; "api", "web" and "metadata" are addresses outside
WAYS = [
    ("worker", "worker", 40123, True), ("worker", "head", 6379, True), ("head", "worker", 21000, True),
    ("submitter", "head", 8265, True), ("submitter", "head", 6379, False), ("submitter", "mlflow", 5000, False),
    ("submitter", "worker", 40123, False), ("submitter", "api", 443, False),
    ("operator", "head", 8265, True), ("operator", "head", 52365, True), ("operator", "head", 6379, False),
    ("operator", "worker", 52365, False), ("stranger", "head", 8265, False), ("stranger", "mlflow", 5000, False),
    ("head", "mlflow", 5000, True), ("worker", "mlflow", 5000, True), ("mlflow", "head", 8265, False),
    ("mlflow", "worker", 40123, False), ("head", "api", 6443, True), ("head", "api", 443, True),
    ("worker", "api", 6443, False), ("head", "metadata", 443, False), ("worker", "metadata", 80, False),
    ("head", "web", 80, False), ("mlflow", "web", 80, False), ("mlflow", "metadata", 80, False),
    ("mlflow", "dns", 53, True), ("worker", "dns", 53, True), ("submitter", "dns", 53, True),
    ("mlflow", "dns cache", 53, True), ("worker", "dns cache", 53, True),
]  # fmt: skip
WAYS_OF = {
    "dev": [
        ("mlflow", "postgres", 5432, True), ("mlflow", "store", 7070, True),
        ("worker", "store", 7070, True), ("head", "store", 7070, True), 
        ("worker", "postgres", 5432, False), ("head", "postgres", 5432, False),
        ("submitter", "store", 7070, False), ("stranger", "postgres", 5432, False), ("postgres", "web", 443, False),
        ("store", "web", 443, False), ("worker", "web", 443, False), ("mlflow", "web", 443, False),
    ],
    "gpu": [
        ("mlflow", "web", 5432, True), ("mlflow", "web", 443, True),
        ("worker", "web", 443, True), ("head", "web", 443, True), ("worker", "web", 5432, False),
        ("submitter", "web", 443, False),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", ["dev", "gpu"])
def test_the_network_lets_through_what_is_needed_and_nothing_else(name: str) -> None:
    built = build(name)
    ends = peers(built)
    policies = built.of("NetworkPolicy")
    for source, target, port, passes in WAYS + WAYS_OF[name]:
        protocol = "UDP" if target.startswith("dns") else "TCP"
        assert reaches(policies, ends[source], ends[target], port, protocol) is passes, (source, target, port)


def peers(built: Build) -> dict[str, Peer]:
    found = {pod.role: Peer.pod(labels(pod)) for pod in ray_pods()}
    for pod in built_pods(built):
        one = labels(pod)
        component = one["app.kubernetes.io/component"]
        name = one["app.kubernetes.io/name"] if component in ("server", "database", "store") else component
        found[name] = Peer.pod(one)
    return found | {
        "operator": Peer.pod({"app.kubernetes.io/name": "kuberay-operator"}, "kuberay-system"),
        "stranger": Peer.pod({"app.kubernetes.io/name": "kuberay-operator"}, "default"),
        "dns": Peer.pod({"k8s-app": "kube-dns"}, "kube-system"),
        "dns cache": Peer.pod({"k8s-app": "node-local-dns"}, "kube-system"),
        "api": Peer(address="203.0.113.7"),
        "web": Peer(address="198.51.100.9"),
        "metadata": Peer(address="169.254.169.254"),
    }


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_quota_holds_what_is_built_and_a_rayjob_of_two_workers(name: str) -> None:
    built = build(name)
    hard = built.one("ResourceQuota", "platform")["spec"]["hard"]
    for kind in ("requests", "limits"):
        for resource in ("cpu", "memory"):
            needed = sum(asked(pod, kind, resource) * count for pod, count in running(built))
            assert needed <= quantity(hard[f"{kind}.{resource}"]), (kind, resource, needed)


def running(built: Build) -> Iterator[tuple[PodAt, int]]:
    """Pods and how many run at most: a Deployment's while it is replaced, a RayJob's workers."""
    for each in built.objects:
        count = each.get("spec", {}).get("replicas", 1) + (each["kind"] == "Deployment")
        yield from ((pod, count) for pod in pods(each))
    yield from ((pod, 2 if pod.role == "worker" else 1) for pod in ray_pods())


def asked(pod: PodAt, kind: str, resource: str) -> Decimal:
    """What a quota counts of a pod: its containers together, or its greediest initial one."""
    together = sum(quantity(each["resources"][kind].get(resource, 0)) for each in pod.spec["containers"])
    alone = [quantity(each["resources"][kind].get(resource, 0)) for each in pod.spec.get("initContainers", [])]
    return max([Decimal(together), *alone])


@pytest.mark.parametrize("file", sorted((ROOT / "k8s" / "jobs").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_example_fits_its_overlays_quota_at_its_largest_and_finds_what_it_names(file: Path) -> None:
    overlay = "dev" if file.stem.endswith("-dev") else "queue"
    built = build(overlay)
    job = yaml.safe_load(file.read_text())
    hard = built.one("ResourceQuota", "platform")["spec"]["hard"]
    for resource in ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "requests.nvidia.com/gpu"):
        kind, _, name = resource.partition(".")
        needed = sum(asked(pod, kind, name) * most for pod, most in largest(job))
        assert needed <= quantity(hard.get(resource, 0)), (resource, needed)
    there = {(each["kind"], each["metadata"]["name"]) for each in built.objects}
    for pod in pods(job):
        for kind, reference, optional in references(pod):
            provided = kind == "ConfigMap" and reference == "kube-root-ca.crt"  # every namespace has it
            assert provided or optional or (kind, reference) in there | told(overlay), (kind, reference)
    marks = job["metadata"]["labels"]
    for key, kind in (("queue-name", "LocalQueue"), ("priority-class", "WorkloadPriorityClass")):
        named = marks.get(f"kueue.x-k8s.io/{key}")
        assert named is None or (kind, named) in there


def largest(job: dict[str, Any]) -> Iterator[tuple[PodAt, int]]:
    """A job's pods and how many there are at most."""
    for pod in pods(job):
        group: Any = job
        for step in pod.path[:-1]:
            group = group[step]
        yield pod, group.get("maxReplicas", 1) if pod.role == "worker" else 1


def test_gpus_and_priorities_are_said_where_there_are_gpus() -> None:
    assert build("gpu").one("ResourceQuota", "platform")["spec"]["hard"]["requests.nvidia.com/gpu"] == "64"
    names = {each["metadata"]["name"]: each["value"] for each in build("gpu").of("PriorityClass")}
    assert sorted(names, key=lambda name: -names[name]) == ["platform-high", "platform-normal", "platform-low"]
    assert build("gpu").one("PersistentVolumeClaim", "platform-data")["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "10Ti"}},
        "storageClassName": "platform-shared",
    }


def test_mlflow_and_its_migration_are_one_version_and_know_the_same_databases(built: Build) -> None:
    (version,) = re.findall(r"^mlflow==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert built.of("Job") == []  # their pods cannot change with the image
    images = {each["image"].rpartition("/")[2] for pod in built_pods(built) for each in containers(pod)}
    assert [image for image in images if image.startswith("platform-mlflow")] == [
        f"platform-mlflow:{project_version()}-mlflow{version}"
    ]
    databases = built.one("ConfigMap", "mlflow-databases")["data"]
    accounts = built.one("ConfigMap", "mlflow-accounts")["data"]["basic_auth.ini"]
    assert f"database_uri = {databases['MLFLOW_AUTH_DATABASE_URI']}\n" in accounts
    assert databases["MLFLOW_AUTH_DATABASE_URI"] != databases["MLFLOW_BACKEND_STORE_URI"]


def project_version() -> str:
    (version,) = re.findall(r'^version = "(\S+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    return version


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"),
    [
        (
            "Deployment",
            "spec/replica",
            2,
            "spec is wrong; Additional properties are not allowed ('replica' was unexpected)",
        ),
        ("Deployment", "spec/replicas", "two", "spec.replicas is wrong; 'two' is not of type 'integer'"),
        ("Service", "spec/ports/0/port", REMOVED, "spec.ports[0] is wrong; 'port' is a required property"),
        ("NetworkPolicy", "spec/podselector", {}, "('podselector' was unexpected)"),
        ("StatefulSet", "spec/template/spec/containers/0/envfrom", [], "('envfrom' was unexpected)"),
    ],
)
def test_a_typo_in_a_manifest_is_named_with_its_field(kind: str, path: str, value: object, said: str) -> None:
    (error,) = builtin.errors(changed(build("dev").of(kind)[0], path, value))
    assert said in error

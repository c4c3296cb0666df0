"""The overlays of GKE, EKS and AKS: addresses, storage, registry, database, identities."""

import pytest

from tests.kube.overlays import build
from tests.kube.reach import Peer, reaches
from tests.kube.test_overlays import WAYS, built_pods, containers, peers

# From, to an address, port, whether it passes.
CLOUDS = {
    "gke": [
        ("mlflow", "10.20.0.3", 5432, True), ("worker", "10.20.0.3", 5432, False), ("mlflow", "10.20.0.4", 5432, False),
        ("worker", "199.36.153.9", 443, True), ("mlflow", "199.36.153.9", 443, True), ("head", "172.16.0.2", 443, True),
        ("worker", "169.254.169.252", 988, True), ("mlflow", "169.254.169.254", 80, True),
        ("submitter", "169.254.169.254", 80, False), ("worker", "172.16.0.2", 443, False),
        ("worker", "198.51.100.9", 443, False), ("mlflow", "198.51.100.9", 443, False),
    ],
    "eks": [
        ("mlflow", "10.0.33.7", 5432, True), ("worker", "10.0.33.7", 5432, False),
        ("mlflow", "198.51.100.9", 443, True),
        ("worker", "198.51.100.9", 443, True), ("worker", "169.254.169.254", 80, False),
        ("mlflow", "169.254.169.254", 80, False), ("head", "10.0.5.5", 443, True),
        ("head", "172.20.0.1", 443, True), ("worker", "172.20.0.1", 80, False), ("submitter", "172.20.0.1", 443, False),
        ("submitter", "10.0.5.5", 443, False),
    ],
    "aks": [
        ("mlflow", "10.224.32.4", 5432, True), ("worker", "10.224.32.4", 5432, False),
        ("worker", "198.51.100.9", 443, False), ("mlflow", "198.51.100.9", 443, False),
        ("head", "203.0.113.10", 443, True), ("worker", "203.0.113.10", 443, False),
        ("mlflow", "169.254.169.254", 80, False),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CLOUDS)
def test_in_a_cloud_each_address_is_open_to_those_who_need_it(name: str) -> None:
    built = build(name)
    ends, policies = peers(built), built.of("NetworkPolicy")
    for source, address, port, passes in CLOUDS[name]:
        target = Peer(address=address)
        assert reaches(policies, ends[source], target, port) is passes, (source, address, port)
    for source, target, port, passes in WAYS:
        if target not in ("api", "web", "metadata"):
            protocol = "UDP" if target == "dns" else "TCP"
            assert reaches(policies, ends[source], ends[target], port, protocol) is passes, (source, target, port)


IDENTITIES = {"gke": "iam.gke.io/gcp-service-account", "eks": "eks.amazonaws.com/role-arn"}


@pytest.mark.parametrize("name", CLOUDS)
def test_a_cloud_brings_its_storage_class_registry_database_and_identities(name: str) -> None:
    built = build(name)
    (storage,) = built.of("StorageClass")
    claims = built.of("PersistentVolumeClaim")
    assert {each["spec"]["storageClassName"] for each in claims} == {storage["metadata"]["name"]}
    assert all(each["spec"]["accessModes"] == ["ReadWriteMany"] for each in claims)
    assert storage["reclaimPolicy"] == "Retain"
    (image,) = {each["image"] for pod in built_pods(built) for each in containers(pod)}
    assert not image.startswith("registry.example.com/")
    assert {"PGHOST", "PGSSLMODE"} <= built.one("ConfigMap", "mlflow-databases")["data"].keys()
    for account in built.of("ServiceAccount"):
        identity = account["metadata"].get("annotations", {}).get(IDENTITIES.get(name, ""))
        assert (identity is not None) == (name in IDENTITIES), account["metadata"]["name"]
    destination = built.one("ConfigMap", "mlflow-site")["data"]["MLFLOW_ARTIFACTS_DESTINATION"]
    assert destination.partition("/")[0] == {"gke": "gs:", "eks": "s3:", "aks": ""}[name]


def test_files_on_a_volume_are_where_the_server_writes() -> None:
    built = build("aks")
    pod = built.one("Deployment", "mlflow")["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    destination = built.one("ConfigMap", "mlflow-site")["data"]["MLFLOW_ARTIFACTS_DESTINATION"]
    (mount,) = [each for each in server["volumeMounts"] if each["mountPath"] == destination]
    (volume,) = [each for each in pod["volumes"] if each["name"] == mount["name"]]
    assert volume["persistentVolumeClaim"]["claimName"] == "mlflow-files"

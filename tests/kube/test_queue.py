"""Kueue's objects fit each other, the namespace, and the labels of the nodes."""

from pathlib import Path
from typing import Any

import pytest

from platform.config.kubernetes import SPOT_LABELS, KubeConfig
from tests.kube.kueue import KUEUE, kueue_errors
from tests.kube.lint import findings
from tests.kube.overlays import build, on_top
from tests.kube.quantities import quantity
from tests.kube.reach import selects
from tests.kube.rendered import render


def test_queues_flavors_and_classes_fit_each_other_and_the_namespace() -> None:
    built = build("queue")
    queue = built.one("ClusterQueue", "platform")["spec"]
    assert selects(queue["namespaceSelector"], {"kubernetes.io/metadata.name": "platform"})
    assert built.one("LocalQueue", "platform")["spec"]["clusterQueue"] == "platform"
    label, value = SPOT_LABELS[KubeConfig().provider]  # what a job with capacity=spot asks of its nodes
    assert built.one("ResourceFlavor", "platform-spot")["spec"]["nodeLabels"] == {label: value}
    assert label not in built.one("ResourceFlavor", "platform-on-demand")["spec"]["nodeLabels"]
    flavors = {each["metadata"]["name"] for each in built.of("ResourceFlavor")}
    assert {flavor["name"] for group in queue["resourceGroups"] for flavor in group["flavors"]} == flavors
    hard = built.one("ResourceQuota", "platform")["spec"]["hard"]
    for resource in ("cpu", "memory", "nvidia.com/gpu"):
        quotas = [
            quantity(each["nominalQuota"])
            for group in queue["resourceGroups"]
            for flavor in group["flavors"]
            for each in flavor["resources"]
            if each["name"] == resource
        ]
        assert sum(quotas) <= quantity(hard[f"requests.{resource}"]), resource
    classes = {each["metadata"]["name"] for each in built.of("WorkloadPriorityClass")}
    assert classes == {each["metadata"]["name"] for each in built.of("PriorityClass")}


QUEUES = {"gke": "queue", "eks": "queue-eks", "aks": "queue-aks"}
# What a cloud's nodes carry, and the taint that its spot nodes have or may have.
REGULAR = {
    "gke": {"cloud.google.com/gke-provisioning": "standard"},
    "eks": {"eks.amazonaws.com/capacityType": "ON_DEMAND"},
    "aks": {"kubernetes.azure.com/mode": "user"},
}
TAINTS = {"gke": "cloud.google.com/gke-spot", "aks": "kubernetes.azure.com/scalesetpriority"}


@pytest.mark.slow
@pytest.mark.parametrize("cloud", QUEUES)
def test_flavors_are_of_the_clouds_own_nodes(cloud: str, tmp_path: Path) -> None:
    built = on_top(cloud, tmp_path, components=[QUEUES[cloud]])
    spot, regular = (built.one("ResourceFlavor", f"platform-{sort}")["spec"] for sort in ("spot", "on-demand"))
    label, value = SPOT_LABELS[cloud]
    assert spot["nodeLabels"] == {label: value}
    assert regular["nodeLabels"] == REGULAR[cloud]
    tolerated = [{each["key"] for each in flavor["tolerations"]} for flavor in (spot, regular)]
    assert tolerated == [{"nvidia.com/gpu", *([TAINTS[cloud]] if cloud in TAINTS else [])}, {"nvidia.com/gpu"}]


def test_a_job_of_all_gpus_that_the_page_of_sizes_promises_fits_one_flavor() -> None:
    """Kueue gives the pods of a group one flavor."""
    job = render("+experiment=googlenet_ens", "cluster.kube.queue=platform", *LARGEST)
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    asked = {name: quantity(value) * group["replicas"] for name, value in container["resources"]["requests"].items()}
    asked["nvidia.com/gpu"] = quantity(container["resources"]["limits"]["nvidia.com/gpu"]) * group["replicas"]
    assert asked["nvidia.com/gpu"] == 64
    (resources,) = build("queue").one("ClusterQueue", "platform")["spec"]["resourceGroups"]
    for flavor in resources["flavors"]:
        held = {each["name"]: quantity(each["nominalQuota"]) for each in flavor["resources"]}
        assert {name: value for name, value in asked.items() if value > held[name]} == {}, flavor["name"]


LARGEST = [
    "cluster.workers=8", "cluster.kube.workers_per_pod=8", "cluster.kube.memory_gb=256",
    "cluster.kube.shared_memory_gb=32", "cluster.kube.pods=8", "cluster.lanes=8",
]  # of docs/kubernetes-sizes.md  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", QUEUES)
def test_queue_and_topology_go_onto_any_cloud_and_a_job_names_one_of_its_levels(name: str, tmp_path: Path) -> None:
    built = on_top(name, tmp_path, components=[QUEUES[name], "topology"])
    ours = [each for each in built.objects if each["apiVersion"] == KUEUE]
    assert [error for each in ours for error in kueue_errors(each)] == []
    assert [line for each in built.objects for line in findings(each, name)] == []
    (topology,) = built.of("Topology")
    flavors = built.of("ResourceFlavor")
    assert [each["spec"]["topologyName"] for each in flavors] == [topology["metadata"]["name"]] * 2
    assert all("namespace" not in each["metadata"] for each in [topology, *flavors])
    level = topology["spec"]["levels"][1]["nodeLabel"]
    words = ["+experiment=googlenet", "cluster.kube.queue=platform", f"cluster.kube.topology_key={level}"]
    job = render(*words, *SPANS)
    assert level in worker(job)["metadata"]["annotations"].values()


def worker(job: dict[str, Any]) -> dict[str, Any]:
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    return group["template"]


SPANS = ["cluster.workers=8", "cluster.kube.workers_per_pod=4"]
LEVEL = "cluster.kube.topology_key=example.com/rack"
QUEUED = "cluster.kube.queue=platform"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "how"),
    [
        (["+experiment=googlenet", QUEUED, LEVEL, *SPANS], "required"),
        (["+experiment=googlenet_ens", QUEUED, LEVEL, *SPANS], "preferred"),
        (["+experiment=googlenet_ens", QUEUED, LEVEL], None),
        (["+experiment=googlenet_ens", LEVEL, *SPANS], None),
        (["+experiment=googlenet_ens", QUEUED, *SPANS], None),
        (["+experiment=googlenet_ens", QUEUED, LEVEL, *SPANS, "cluster.kube.pods={min:2,max:8}"], None),
    ],
    ids=["one member", "several", "within a pod", "no queue", "no level", "scaled"],
)
def test_kueue_chooses_near_nodes_for_members_that_span_pods(words: list[str], how: str | None) -> None:
    job = render(*words)
    template = worker(job)
    expected = {f"kueue.x-k8s.io/podset-{how}-topology": "example.com/rack"} if how else None
    assert template["metadata"].get("annotations") == expected
    assert ("podAffinity" in template["spec"].get("affinity", {})) == (how is None and LEVEL in words)
    assert findings(job, "x") == []

"""Kueue's objects fit each other, the namespace, and the labels of the nodes."""

from platform.config.kubernetes import SPOT_LABELS, KubeConfig
from tests.kube.overlays import build
from tests.kube.quantities import quantity
from tests.kube.reach import selects


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

"""What Kueue's definitions ask of the kinds that are used here; there are no schemas of them at hand."""

from typing import Any

from tests.kube.names import label_key_error
from tests.kube.quantities import quantity

KUEUE = "kueue.x-k8s.io/v1beta2"


def kueue_errors(manifest: dict[str, Any]) -> list[str]:
    """What Kueue's definitions ask of the kinds used here; there are no schemas of them at hand."""
    spec, kind = manifest.get("spec", {}), manifest["kind"]
    known = {
        "ResourceFlavor": {"nodeLabels", "nodeTaints", "tolerations", "topologyName"},
        "ClusterQueue": {
            "namespaceSelector", "queueingStrategy", "preemption", "resourceGroups", "cohortName", "flavorFungibility",
            "stopPolicy", "fairSharing", "admissionChecksStrategy",
        },
        "LocalQueue": {"clusterQueue", "stopPolicy"},
        "WorkloadPriorityClass": set(),
        "Topology": {"levels"},
    }  # fmt: skip
    found = [f"spec.{name} is unknown" for name in spec.keys() - known[kind]]
    if kind == "WorkloadPriorityClass" and not isinstance(manifest.get("value"), int):
        found.append(f"value is {manifest.get('value')!r}; write a number")
    if kind == "Topology":
        names = [each["nodeLabel"] for each in spec["levels"]]
        found += [f"spec.levels has {name!r}, no label" for name in names if label_key_error(name)]
        if len(set(names)) != len(names) or not 1 <= len(names) <= 16:
            found.append("spec.levels wants 1 to 16 different labels")
        if "kubernetes.io/hostname" in names[:-1]:
            found.append("spec.levels: kubernetes.io/hostname is the lowest level")
    if kind == "ResourceFlavor" and spec.get("topologyName") and not spec.get("nodeLabels"):
        found.append("spec.topologyName wants nodeLabels")
    if kind == "LocalQueue" and not spec.get("clusterQueue"):
        found.append("spec.clusterQueue is missing")
    if kind == "ClusterQueue":
        if spec.get("queueingStrategy") not in ("StrictFIFO", "BestEffortFIFO"):
            found.append(f"spec.queueingStrategy is {spec.get('queueingStrategy')}")
        if spec["preemption"].get("withinClusterQueue") not in ("Never", "LowerPriority", "LowerOrNewerEqualPriority"):
            found.append(f"spec.preemption.withinClusterQueue is {spec['preemption'].get('withinClusterQueue')}")
        for group in spec["resourceGroups"]:
            for flavor in group["flavors"]:
                if [each["name"] for each in flavor["resources"]] != group["coveredResources"]:
                    found.append(f"{flavor['name']} covers other resources than the group, or in another order")
                for each in flavor["resources"]:
                    quantity(each["nominalQuota"])
    return found

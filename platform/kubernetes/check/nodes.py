"""Nodes that a worker pod fits on: labels, GPUs, size, taints.

In: the job. Out: findings. A node autoscaler may add what is not there now: so nothing here is certain.
"""

from decimal import Decimal
from typing import Any

from platform.kubernetes.check.amounts import Amounts, amounts, of_pod, shown
from platform.kubernetes.check.finding import Findings, ok, warning
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import NODES, Live
from platform.kubernetes.client import Object

_LATER = "or a node autoscaler must add one"
_PRODUCT = "nvidia.com/gpu.product"  # of NVIDIA's feature discovery
_MIG = "nvidia.com/mig-"


def nodes(live: Live, job: Job) -> Findings:
    """Whether a worker fits on a node as it is when nothing else runs there, and how many fit at once."""
    there = [node for node in live.find(NODES) if not (node.get("spec") or {}).get("unschedulable")]
    spec, needed = job.worker.spec, of_pod(job.worker.spec, "requests")
    chosen = [node for node in there if _is_chosen(node, spec)]
    wanted = ", ".join(f"{key}={value}" for key, value in (spec.get("nodeSelector") or {}).items())
    if not chosen:
        what = f"labels {wanted}" if wanted else f"{job.kube.capacity} capacity of {job.kube.provider}"
        yield warning("nodes", f"none of {len(there)} nodes has {what}", f"kubectl get nodes --show-labels; {_LATER}")
        return
    tolerated = [node for node in chosen if not _refusing_taints(node, spec)]
    if not tolerated:
        taint = _refusing_taints(chosen[0], spec)[0]
        said = f"all {len(chosen)} nodes that fit have taints that workers do not tolerate, such as {taint}"
        yield warning("nodes", said, f"remove it, {_LATER}")
        return
    room = {node["metadata"]["name"]: _room(node, needed) for node in tolerated}
    together, (least, _) = sum(room.values()), job.workers
    if not together:
        yield warning("nodes", f"a worker pod takes {_short(tolerated, needed)}", f"lower it, {_LATER}")
    elif together < least:
        said = (
            f"{sum(map(bool, room.values()))} nodes have room for {together} worker pods at once, the job wants {least}"
        )
        yield warning("nodes", said, f"lower cluster.kube.pods or the size of a pod, {_LATER}")
    else:
        yield ok(
            "nodes",
            f"{sum(map(bool, room.values()))} nodes have room for {together} worker pods when nothing else runs",
        )


def gpus(live: Live, job: Job) -> Findings:
    """Whether nodes offer the GPUs."""
    resource = job.kube.gpu_resource
    if resource not in of_pod(job.worker.spec, "requests"):
        return
    there = live.find(NODES)
    offered = {node["metadata"]["name"]: _allocatable(node).get(resource, Decimal(0)) for node in there}
    number = sum(offered.values(), Decimal(0))
    if number:
        products = sorted({_labels(node)[_PRODUCT] for node in there if _PRODUCT in _labels(node)})
        what = f" ({', '.join(products)})" if products else ""
        yield ok("GPUs", f"{shown(resource, number)} {resource} on {sum(map(bool, offered.values()))} nodes{what}")
        return
    slices = sorted({each for node in there for each in _allocatable(node) if each.startswith(_MIG)})
    labelled = [node for node in there if _labels(node).get("nvidia.com/gpu.present") == "true"]
    if slices:
        remedy = f"cluster.kube.gpu_resource={slices[0]} takes one"
        yield warning("GPUs", f"no node offers {resource}, some offer {', '.join(slices)}", remedy)
    elif labelled:
        said = f"{len(labelled)} nodes have GPUs, and none offers {resource}"
        yield warning(
            "GPUs", said, "kubectl get pods -A | grep nvidia: the device plugin (GPU Operator) does not run there"
        )
    else:
        yield warning("GPUs", f"no node offers {resource}", f"add GPU nodes with NVIDIA's device plugin, {_LATER}")


def _is_chosen(node: Object, spec: Object) -> bool:
    """Whether a node has the labels that the pod's selector and affinity ask for."""
    labels = _labels(node)
    if not (spec.get("nodeSelector") or {}).items() <= labels.items():
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    terms = (affinity or {}).get("nodeSelectorTerms")
    return terms is None or any(all(_matches(labels, each) for each in term["matchExpressions"]) for term in terms)


def _matches(labels: dict[str, str], expression: Object) -> bool:
    is_in = labels.get(expression["key"]) in expression["values"]
    return is_in if expression["operator"] == "In" else not is_in


def _refusing_taints(node: Object, spec: Object) -> list[str]:
    """Taints that keep the pod away; all of ours are tolerated by key."""
    tolerated = {each.get("key") for each in spec.get("tolerations") or []}
    taints: list[dict[str, Any]] = (node.get("spec") or {}).get("taints") or []
    return [
        f"{taint['key']}:{taint['effect']}"
        for taint in taints
        if taint.get("effect") in ("NoSchedule", "NoExecute") and taint["key"] not in tolerated
    ]


def _room(node: Object, needed: Amounts) -> int:
    """How many such pods an empty node takes."""
    offered = _allocatable(node)
    return min(int(offered.get(each, Decimal(0)) // needed[each]) for each in needed if needed[each])


def _short(there: list[Object], needed: Amounts) -> str:
    """The resource that the largest node has too little of."""
    for resource in needed:
        largest = max(_allocatable(node).get(resource, Decimal(0)) for node in there)
        if largest < needed[resource]:
            return f"{resource} {shown(resource, needed[resource])}, the largest node has {shown(resource, largest)}"
    return "more of everything together than one node has"


def _allocatable(node: Object) -> Amounts:
    return amounts((node.get("status") or {}).get("allocatable"))


def _labels(node: Object) -> dict[str, str]:
    return node["metadata"].get("labels") or {}

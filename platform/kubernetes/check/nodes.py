"""Nodes that workers, head and submitter fit on: labels, GPUs, size, taints.

In: the job. Out: findings. A node autoscaler may add what is not there now: so nothing here is certain.
"""

from decimal import Decimal

from platform.kubernetes.check.amounts import of_pod, shown
from platform.kubernetes.check.finding import Findings, ok, warning
from platform.kubernetes.check.flavors import flavors_of
from platform.kubernetes.check.job import Job, PodGroup
from platform.kubernetes.check.live import NODES, Live
from platform.kubernetes.check.places import Places, allocatable, labels, places, required_terms, short

_LATER = "or a node autoscaler must add one"
_PRODUCT = "nvidia.com/gpu.product"  # of NVIDIA's feature discovery
_MIG = "nvidia.com/mig-"


def nodes(live: Live, job: Job) -> Findings:
    """Whether a worker fits on a node as it is when nothing else runs there, and how many fit at once."""
    there, (least, _) = places(live.find(NODES), job.worker.spec, flavors_of(live, job)), job.workers
    if why := _nowhere(live, job, job.worker, there):
        remedy = (
            "kubectl get nodes --show-labels" if not there.chosen else "lower it" if there.tolerated else "remove it"
        )
        yield warning("nodes", why, f"{remedy}, {_LATER}")
    elif there.together < least:
        said = f"{there.roomy} nodes have room for {there.together} worker pods at once, the job wants {least}"
        yield warning("nodes", said, f"lower cluster.kube.pods or the size of a pod, {_LATER}")
    else:
        yield ok("nodes", f"{there.roomy} nodes have room for {there.together} worker pods when nothing else runs")


def head_and_submitter(live: Live, job: Job) -> Findings:
    """Whether these two fit on a node: by themselves they tolerate no taint, and the head keeps off spot nodes."""
    for group in (job.head, job.submitter):
        there = places(live.find(NODES), group.spec, flavors_of(live, job))
        if not (why := _nowhere(live, job, group, there)):
            yield ok(group.name, f"{there.roomy} of {len(there.seen)} nodes have room for it when nothing else runs")
            continue
        needed, on_demand = of_pod(group.spec, "requests"), " on-demand" if required_terms(group.spec) else ""
        size = f"{shown('cpu', needed['cpu'])} CPUs and {shown('memory', needed['memory'])}"
        yield warning(group.name, f"{why}: the job waits", f"add an untainted{on_demand} node with {size}, {_LATER}")


def gpus(live: Live, job: Job) -> Findings:
    """Whether nodes offer the GPUs."""
    resource = job.kube.gpu_resource
    if resource not in of_pod(job.worker.spec, "requests"):
        return
    there = live.find(NODES)
    offered = {node["metadata"]["name"]: allocatable(node).get(resource, Decimal(0)) for node in there}
    number = sum(offered.values(), Decimal(0))
    if number:
        products = sorted({labels(node)[_PRODUCT] for node in there if _PRODUCT in labels(node)})
        what = f" ({', '.join(products)})" if products else ""
        yield ok("GPUs", f"{shown(resource, number)} {resource} on {sum(map(bool, offered.values()))} nodes{what}")
        return
    slices = sorted({each for node in there for each in allocatable(node) if each.startswith(_MIG)})
    labelled = [node for node in there if labels(node).get("nvidia.com/gpu.present") == "true"]
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


def _nowhere(live: Live, job: Job, group: PodGroup, there: Places) -> str:
    """Why no node takes one of these pods; "": some do."""
    is_worker = group.name == "worker"
    if not there.seen:
        return "there is no node that takes pods"
    if not there.chosen:
        return f"none of {len(there.seen)} nodes has {_wanted(live, job, group)}"
    if not there.tolerated:
        who = "workers do not" if is_worker else f"the {group.name} does not"
        return f"all {len(there.chosen)} nodes that fit have taints that {who} tolerate, such as {there.taint}"
    if not there.together:
        who = "a worker pod" if is_worker else f"the {group.name}"
        return f"{who} takes {short(there.tolerated, of_pod(group.spec, 'requests'))}"
    return ""


def _wanted(live: Live, job: Job, group: PodGroup) -> str:
    """What the labels of a node should say."""
    own = _shown(group.spec.get("nodeSelector") or {})
    wanted = [f"labels {own}"] if own else []
    if not own and required_terms(group.spec) is not None:
        of_worker = f"{job.kube.capacity} capacity of {job.kube.provider}"
        wanted += [of_worker if group.name == "worker" else "on-demand capacity"]
    if given := [_shown((each.get("spec") or {}).get("nodeLabels") or {}) for each in flavors_of(live, job)]:
        wanted += [f"the labels of a flavor of queue {job.kube.queue} ({'; or '.join(given)})"]
    return " and ".join(wanted)


def _shown(held: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in held.items())

"""The volume of runs and data, and the classes that make it and the caches.

In: the job. Out: findings.
"""

from platform.kubernetes.check.finding import Finding, Findings, missing, ok, unknown, warning
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import NODES, STORAGE_CLASSES, VOLUME_CLAIMS, Hidden, Live
from platform.kubernetes.client import Object

_DEFAULT = "storageclass.kubernetes.io/is-default-class"


def volume(live: Live, job: Job) -> Findings:
    """The claim `cluster.kube.claim`: bound, and for many nodes at once."""
    name = job.kube.claim
    claim = live.get(VOLUME_CLAIMS, name, job.namespace)
    if claim is None:
        remedy = "apply an overlay, or give the name of yours in cluster.kube.claim"
        yield missing("volume", f"claim {name} is not in namespace {job.namespace}", remedy)
        return
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    modes = spec.get("accessModes") or []
    if "ReadWriteMany" not in modes:
        yield _for_one_node(live, name, modes)
    match status.get("phase"):
        case "Bound":
            size = (status.get("capacity") or {}).get("storage", "?")
            yield ok(
                "volume", f"{name} is bound: {size}, {', '.join(modes)}, {spec.get('storageClassName') or 'no class'}"
            )
        case "Lost":
            yield missing("volume", f"{name} has lost its volume", "make the claim anew from a backup")
        case _:
            yield _pending(live, name, spec)


def cache_class(live: Live, job: Job) -> Findings:
    """The class of the pods' caches."""
    if (name := job.kube.cache_class) is None:
        return
    if live.get(STORAGE_CLASSES, name) is None:
        remedy = (
            "kubectl get storageclass lists what is there; without cluster.kube.cache_class the node's disk is used"
        )
        yield missing("cache", f"storage class {name} does not exist", remedy)
    else:
        yield ok("cache", f"storage class {name}")


def _for_one_node(live: Live, name: str, modes: list[str]) -> Finding:
    remedy = "a claim of a class that gives ReadWriteMany (NFS, CephFS, Filestore, EFS, Azure Files)"
    if modes == ["ReadWriteOncePod"]:
        return missing("volume", f"{name} is ReadWriteOncePod, and every pod writes to it", remedy)
    try:
        is_one = len(live.find(NODES)) == 1
    except Hidden:
        is_one = False
    if is_one:
        return ok("volume", f"{name} is {', '.join(modes)}, for one node, and there is one")
    return warning("volume", f"{name} is {', '.join(modes)}: pods on a second node wait for ever", remedy)


def _pending(live: Live, name: str, spec: Object) -> Finding:
    """Why a claim is not bound: its class does not exist, or waits for a pod."""
    wanted = spec.get("storageClassName")
    about = f"kubectl describe pvc {name} tells why"
    try:
        classes = live.find(STORAGE_CLASSES)
    except Hidden as hidden:
        return unknown("volume", f"{name} is not bound yet; whether it will be {hidden}", about)
    if wanted is None:
        marked = [each for each in classes if (each["metadata"].get("annotations") or {}).get(_DEFAULT) == "true"]
        if not marked:
            remedy = "name a class in your overlay (spec.storageClassName), or mark one as default"
            return missing("volume", f"{name} names no storage class, and there is no default", remedy)
        wanted = marked[0]["metadata"]["name"]
    found = [each for each in classes if each["metadata"]["name"] == wanted]
    if not found and wanted:
        said = f"{name} wants the storage class {wanted}, which does not exist"
        there = ", ".join(each["metadata"]["name"] for each in classes) or "none"
        return missing("volume", said, f"make it, or name one of those that are there: {there}")
    if found and found[0].get("volumeBindingMode") == "WaitForFirstConsumer":
        said = f"{name} is made by {wanted} with the first pod, and whether user 1000 may write to it is seen only then"
        return unknown("volume", said, "apply k8s/loader.yaml, and check again")
    return warning("volume", f"{name} is not bound: pods wait until it is", about)

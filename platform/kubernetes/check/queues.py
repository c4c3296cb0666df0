"""Priorities and Kueue's queues: there, active, and large enough for the job.

In: the job. Out: findings. Kinds and conditions are those of Kueue's v1beta2 (and v1beta1), apis/kueue.
"""

from decimal import Decimal

from platform.kubernetes.check.amounts import Amounts, of_pod, shown
from platform.kubernetes.check.finding import Findings, missing, ok, unknown, warning
from platform.kubernetes.check.flavors import GROUP, quotas_of, together
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.kueue import range_of_pods
from platform.kubernetes.check.live import PRIORITY_CLASSES, Hidden, Kind, Live
from platform.kubernetes.client import Object

INSTALL = "install Kueue 0.16 or newer, and add components/queue (EKS: queue-eks, AKS: queue-aks) to your overlay"
_LESS = "raise its quota, or lower cluster.kube.pods"


def priority_class(live: Live, job: Job) -> Findings:
    """The PriorityClass of the pods."""
    if (name := job.kube.priority_class) is None:
        return
    if live.get(PRIORITY_CLASSES, name) is None:
        remedy = "kubectl get priorityclass lists what is there"
        yield missing("priority", f"PriorityClass {name} does not exist: pods are refused", remedy)
    else:
        yield ok("priority", f"PriorityClass {name}")


def queue(live: Live, job: Job) -> Findings:
    """Kueue's LocalQueue, its ClusterQueue and the WorkloadPriorityClass."""
    if (name := job.kube.queue) is None:
        return
    versions = live.versions(GROUP)
    if not versions:
        yield missing(
            "queue", f"cluster.kube.queue is {name}, and Kueue is not installed: the job is never started", INSTALL
        )
        return
    found = live.get(Kind(GROUP, versions[0], "localqueues"), name, job.namespace)
    if found is None:
        remedy = f"kubectl -n {job.namespace} get localqueue lists what is there"
        yield missing("queue", f"LocalQueue {name} is not in namespace {job.namespace}: the job waits for ever", remedy)
        return
    waiting = (found.get("status") or {}).get("pendingWorkloads") or 0
    if (why := _inactive(found)) is not None:
        yield missing(
            "queue", f"LocalQueue {name} is not active: {why}", "kubectl describe it; nothing in it is started"
        )
    else:
        yield ok("queue", f"LocalQueue {name} is active, {waiting} job(s) wait in it")
    name = found["spec"].get("clusterQueue") or ""
    try:
        cluster_queue = live.get(Kind(GROUP, versions[0], "clusterqueues"), name) if name else None
    except Hidden as hidden:
        yield from range_of_pods(live, job, None)
        yield unknown("cluster queue", f"how much {name} has {hidden}")
        return
    yield from range_of_pods(live, job, cluster_queue)
    yield from _cluster_queue(job, name, cluster_queue)


def queue_priority(live: Live, job: Job) -> Findings:
    """Kueue's WorkloadPriorityClass."""
    name, versions = job.kube.queue_priority, live.versions(GROUP) if job.kube.queue_priority else []
    if name is None or not versions:
        return
    if live.get(Kind(GROUP, versions[0], "workloadpriorityclasses"), name) is None:
        remedy = "kubectl get workloadpriorityclass lists what is there"
        yield missing(
            "queue priority", f"WorkloadPriorityClass {name} does not exist: the job is never started", remedy
        )
    else:
        yield ok("queue priority", f"WorkloadPriorityClass {name}")


def counted(job: Job) -> Amounts:
    """What Kueue counts of the job: the requests of head, autoscaler, fewest workers and submitter."""
    return job.takes("requests", job.workers[0])


def _cluster_queue(job: Job, name: str, found: Object | None) -> Findings:
    if found is None:
        yield missing("cluster queue", f"ClusterQueue {name} does not exist: the job waits for ever", INSTALL)
        return
    if (why := _inactive(found)) is not None:
        yield missing(
            "cluster queue", f"ClusterQueue {name} is not active: {why}", f"kubectl describe clusterqueue {name}"
        )
        return
    spec, needed = found["spec"], counted(job)
    flavors = quotas_of(spec)
    quota = together(flavors)
    uncovered = sorted(each for each in needed if each not in quota and needed[each])
    short = [each for each in quota if needed.get(each, Decimal(0)) > quota[each]]
    borrows = spec.get("cohortName") or spec.get("cohort")
    if uncovered:
        said = f"ClusterQueue {name} does not cover {', '.join(uncovered)}, which the job asks for: it waits for ever"
        yield warning(
            "cluster queue", said, "add it to coveredResources, or to excludeResourcePrefixes of Kueue's configuration"
        )
    elif short:
        said = "; ".join(
            f"{each} {shown(each, quota[each])}, the job takes {shown(each, needed[each])}" for each in short
        )
        if borrows:
            yield warning("cluster queue", f"ClusterQueue {name} has {said}: it must borrow from cohort {borrows}")
        else:
            yield missing("cluster queue", f"ClusterQueue {name} has {said}: it is never started", _LESS)
    elif lacks := _lacks_of_each(flavors, job):
        said = f"the worker pods get one flavor of ClusterQueue {name}, and none has enough: {'; '.join(lacks)}"
        if borrows:
            yield warning("cluster queue", f"{said}; it must borrow from cohort {borrows}")
        else:
            yield missing("cluster queue", f"{said}; the job is never started", _LESS)
    else:
        yield ok("cluster queue", f"ClusterQueue {name} is active and covers what the job takes")


def _lacks_of_each(groups: list[dict[str, Amounts]], job: Job) -> list[str]:
    """What each flavor of a group has too little of for the fewest worker pods; none: one of each group has enough."""
    needed = {name: job.workers[0] * number for name, number in of_pod(job.worker.spec, "requests").items()}
    for flavors in groups:
        lacks = {
            name: [each for each, number in held.items() if needed.get(each, Decimal(0)) > number]
            for name, held in flavors.items()
        }
        if all(lacks.values()):
            return [
                f"{name} has {lack} {shown(lack, flavors[name][lack])} of {shown(lack, needed[lack])}"
                for name, (lack, *_) in lacks.items()
            ]
    return []


def _inactive(found: Object) -> str | None:
    """Why a queue is not active; None: it is."""
    for condition in (found.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Active":
            is_active = condition.get("status") == "True"
            return None if is_active else condition.get("message") or condition.get("reason") or "no reason is given"
    return "Kueue has not looked at it; is its controller running?"

"""Why a RayJob's pods do not run yet: the messages of scheduler, nodes and quota, shortened.

In: pods and events as plain dicts. Out: a part of a line.
"""

import re
from collections import Counter

from platform.kubernetes.client import Object
from platform.text import one_line

_USUAL = ("ContainerCreating", "PodInitializing", "")
_LONGEST = 160
_TRIED = "no new claims|still not|deallocation|preemption:"  # how the scheduler's message goes on after the causes
_CLUSTER_LABEL = "ray.io/cluster"
_USUAL_FAILURES = 12  # of a probe, every 5 s, while Ray starts in a pod
_ADDRESS = re.compile(r'(?:Get|Post) "[^"]*": |dial tcp \S+ |connect: ')


def situation(pods: list[Object], warnings: list[Object], wanted: int = 0, refusal: str = "") -> str:
    """Summarise what the pods wait for.

    Args:
        pods: of the RayJob.
        warnings: the namespace's, oldest first.
        wanted: number of pods that its RayCluster should have.
        refusal: why some of them were not made.

    Returns:
        such as `waiting for 4 of 9 pods (2 pending: Insufficient cpu; 2 of 8 pods: exceeded quota ...)`; "" if all run.
    """
    pods = _current(pods)
    said = {_about(event): event for event in warnings}  # the newest of each object
    waiting = [pod for pod in pods if not _is_ready(pod)]
    made = sum(map(_is_of_cluster, pods))
    missing = max(0, wanted - made)
    standing = Counter(text for pod in waiting if (text := _standing(pod, said.get(pod["metadata"]["name"]))))
    parts = [f"{count} {text}" for text, count in standing.most_common()]
    if refusal and (missing or not wanted):
        parts.append(f"{missing} of {wanted} pods: {refusal}" if missing else refusal)
    if not waiting and not missing and not parts:
        return ""
    what = f"waiting for {len(waiting) + missing} of {len(pods) + missing} pods" if pods else "no pods yet"
    return f"{what} ({'; '.join(parts)})" if parts else what


def _current(pods: list[Object]) -> list[Object]:
    """Those that are not being deleted; of the pods that submit, which follow one another, the newest."""
    alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    nodes = [pod for pod in alive if _is_of_cluster(pod)]
    submitters = [pod for pod in alive if not _is_of_cluster(pod)]
    return nodes + sorted(submitters, key=lambda pod: pod["metadata"].get("creationTimestamp") or "")[-1:]


def _is_of_cluster(pod: Object) -> bool:
    return _CLUSTER_LABEL in (pod["metadata"].get("labels") or {})


def _is_ready(pod: Object) -> bool:
    status = pod.get("status") or {}
    if status.get("phase") == "Succeeded":
        return True
    for condition in status.get("conditions") or []:  # False, too, where the node does not answer
        if condition.get("type") == "Ready":
            return condition.get("status") == "True"
    containers = status.get("containerStatuses") or []
    return status.get("phase") == "Running" and all(container.get("ready") for container in containers)


def _standing(pod: Object, event: Object | None) -> str:
    """How a pod that is not ready stands, and why; "": it is on its way."""
    status = pod.get("status") or {}
    reason, phase = _reason(status, event), status.get("phase")
    if phase == "Failed":
        return f"failed: {reason or status.get('reason') or 'no reason is given'}"
    if phase == "Running":
        return "starting" if event and _is_usual(event) else f"not ready: {reason}" if reason else ""
    return f"pending: {reason}" if reason else ""


def _is_usual(event: Object) -> bool:
    """Whether a probe has asked before Ray listens."""
    refused = event.get("reason") == "Unhealthy" and "connection refused" in str(event.get("message"))
    return refused and int(event.get("count") or 1) < _USUAL_FAILURES


def _reason(status: Object, event: Object | None) -> str:
    """What keeps a pod from running; "": nothing is said of it."""
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return unschedulable(condition)
        if condition.get("type") == "PodScheduled" and event and event.get("reason") == "FailedScheduling":
            event = None  # of before it had a node
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in containers:
        now = container.get("state") or {}
        waiting = now.get("waiting") or {}
        if waiting.get("reason", "") not in _USUAL:
            return one_line(": ".join(filter(None, (waiting["reason"], waiting.get("message")))), _LONGEST)
        ended = now.get("terminated") or {}
        if ended.get("exitCode"):
            return f"{container.get('name')} ended with {ended['exitCode']} ({ended.get('reason', 'Error')})"
    if event is None:
        return ""
    message = _ADDRESS.sub("", str(event.get("message") or ""))  # each pod has its own, and one line tells of all
    return one_line(f"{event.get('reason')}: {message}", _LONGEST)


def unschedulable(condition: Object) -> str:
    """The scheduler's `0/5 nodes are available: 2 node(s) ..., 3 Insufficient cpu. no new claims to deallocate, ...` as
    what to do something about: what is lacking first, no counts, nothing of claims and preemption."""
    message = str(condition.get("message") or condition.get("reason") or "unschedulable")
    found = re.search(
        r"nodes? are available: (.*?)\.?(?: (?:no new claims|still not|preemption:|deallocation).*)?$", message
    )
    causes = (found[1] if found else message).rstrip(". ").split(", ")
    plain = [re.sub(r"^\d+ (?:node\(s\) )?", "", cause) for cause in causes]
    plain.sort(key=lambda cause: not cause.startswith("Insufficient"))
    return one_line(", ".join(plain), _LONGEST)


def _about(event: Object) -> str:
    return str((event.get("involvedObject") or {}).get("name") or "")

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
    pods = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    said = {_about(event): event for event in warnings}  # the newest of each object
    waiting = [pod for pod in pods if not _is_ready(pod)]
    made = sum(_CLUSTER_LABEL in (pod["metadata"].get("labels") or {}) for pod in pods)
    missing = max(0, wanted - made)
    reasons = Counter(reason for pod in waiting if (reason := _reason(pod, said.get(pod["metadata"]["name"]))))
    parts = [f"{count} pending: {reason}" for reason, count in reasons.most_common()]
    if refusal and (missing or not wanted):
        parts.append(f"{missing} of {wanted} pods: {refusal}" if missing else refusal)
    if not waiting and not missing and not parts:
        return ""
    what = f"waiting for {len(waiting) + missing} of {len(pods) + missing} pods" if pods else "no pods yet"
    return f"{what} ({'; '.join(parts)})" if parts else what


def _is_ready(pod: Object) -> bool:
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    running = status.get("phase") == "Running" and all(container.get("ready") for container in containers)
    return running or status.get("phase") == "Succeeded"


def _reason(pod: Object, event: Object | None) -> str:
    """What keeps a pod from running; "": it is on its way."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return unschedulable(condition)
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in containers:
        now = container.get("state") or {}
        waiting = now.get("waiting") or {}
        if waiting.get("reason", "") not in _USUAL:
            return one_line(": ".join(filter(None, (waiting["reason"], waiting.get("message")))), _LONGEST)
        ended = now.get("terminated") or {}
        if ended.get("exitCode"):
            return f"{container.get('name')} ended with {ended['exitCode']} ({ended.get('reason', 'Error')})"
    return one_line(f"{event.get('reason')}: {event.get('message')}", _LONGEST) if event else ""


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

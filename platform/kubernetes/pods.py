"""Why a RayJob's pods do not run yet: the messages of scheduler, nodes and quota, shortened.

In: pods and events as plain dicts. Out: a part of a line.
"""

import re
from collections import Counter

from platform.kubernetes.client import Object
from platform.text import one_line

_USUAL = ("ContainerCreating", "PodInitializing", "")
_LONGEST = 160


def situation(pods: list[Object], warnings: list[Object], owners: set[str]) -> str:
    """Summarise what the pods wait for.

    Args:
        pods: of the RayJob.
        warnings: the namespace's, oldest first.
        owners: names of the objects that create the pods, whose refusals count.

    Returns:
        such as `waiting for 2 of 3 pods (2 pending: Insufficient cpu)`; "" if all run.
    """
    said = {_about(event): event for event in warnings}  # the newest of each object
    waiting = [pod for pod in pods if not _is_ready(pod)]
    reasons = Counter(reason for pod in waiting if (reason := _reason(pod, said.get(pod["metadata"]["name"]))))
    refused = [f"{event.get('reason')}: {event.get('message')}" for name, event in said.items() if name in owners]
    parts = [f"{count} pending: {reason}" for reason, count in reasons.most_common()]
    parts += [one_line(line, _LONGEST) for line in refused[-1:]] if len(waiting) == len(pods) else []
    if not waiting and not parts:
        return ""
    what = f"waiting for {len(waiting)} of {len(pods)} pods" if pods else "no pods yet"
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
            return _unschedulable(condition)
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


def _unschedulable(condition: Object) -> str:
    """`0/5 nodes are available: 3 Insufficient nvidia.com/gpu, 2 node(s) ... . preemption: ...` without the counts."""
    message = str(condition.get("message") or condition.get("reason") or "unschedulable")
    causes = message.partition(" available: ")[2].partition(" preemption: ")[0] or message
    return one_line(re.sub(r"(^|, )\d+ (?:node\(s\) )?", r"\1", causes).rstrip(". "), _LONGEST)


def _about(event: Object) -> str:
    return str((event.get("involvedObject") or {}).get("name") or "")

"""Whether the namespace's LimitRanges take the containers and pods of the job.

In: the job. Out: findings.
"""

from collections.abc import Iterator

from platform.kubernetes.check.amounts import Amounts, amounts, of_pod, shown
from platform.kubernetes.check.finding import Findings, missing, ok
from platform.kubernetes.check.job import Job, PodGroup
from platform.kubernetes.check.live import LIMIT_RANGES, Live
from platform.kubernetes.client import Object


def limit_ranges(live: Live, job: Job) -> Findings:
    """What they refuse."""
    found = live.find(LIMIT_RANGES, job.namespace)
    limits = [limit for each in found for limit in each["spec"].get("limits") or []]
    refused = [said for limit in limits for group in job.pods(1) for said in _refused(limit, group)]
    for said in dict.fromkeys(refused):
        remedy = f"change the size with cluster.kube, or the LimitRange in namespace {job.namespace}"
        yield missing("limit range", said, remedy)
    if found and not refused:
        yield ok("limit range", "every container and pod is within it")


def _refused(limit: Object, group: PodGroup) -> Iterator[str]:
    """What one item of a LimitRange has against a pod."""
    least, most = amounts(limit.get("min")), amounts(limit.get("max"))
    for name, requests, limits in _parts(str(limit.get("type")), group):
        for each in least.keys() & requests.keys():
            if requests[each] < least[each]:
                yield f"{name} asks for {each} {shown(each, requests[each])}, the least is {shown(each, least[each])}"
        for each in most.keys() & limits.keys():
            if limits[each] > most[each]:
                yield f"{name} may take {each} {shown(each, limits[each])}, the most is {shown(each, most[each])}"


def _parts(kind: str, group: PodGroup) -> Iterator[tuple[str, Amounts, Amounts]]:
    """Name, requests and limits of what an item of this type is about."""
    spec = group.spec
    if kind == "Pod":
        yield f"the {group.name}'s pod", of_pod(spec, "requests"), of_pod(spec, "limits")
    if kind == "Container":
        for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
            given = container.get("resources") or {}
            yield container["name"], amounts(given.get("requests")), amounts(given.get("limits"))

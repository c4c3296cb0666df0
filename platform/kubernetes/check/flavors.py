"""The flavors of Kueue's queue: what they have, and what they ask of the nodes of the pods that get them.

In: the job. Out: ClusterQueue and ResourceFlavors as plain dicts, quotas.
"""

from decimal import Decimal

from platform.kubernetes.check.amounts import Amounts, amount
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import Kind, Live
from platform.kubernetes.client import Object

GROUP = "kueue.x-k8s.io"


def kueue_kind(live: Live, plural: str) -> Kind | None:
    """A kind of Kueue's in the version that the server prefers; None: Kueue is not installed."""
    versions = live.versions(GROUP)
    return Kind(GROUP, versions[0], plural) if versions else None


def flavors_of(live: Live, job: Job) -> list[Object]:
    """The ResourceFlavors that the job's queue may give; none: without a queue, or what it needs is not there.

    Raises:
        Hidden: the rights do not show them.
    """
    if job.kube.queue is None or (kind := kueue_kind(live, "localqueues")) is None:
        return []
    local = live.get(kind, job.kube.queue, job.namespace)
    name = ((local or {}).get("spec") or {}).get("clusterQueue")
    queue = live.get(Kind(GROUP, kind.version, "clusterqueues"), name) if name else None
    return [] if queue is None else resource_flavors(live, queue)


def resource_flavors(live: Live, cluster_queue: Object) -> list[Object]:
    """The ResourceFlavors that a ClusterQueue names and that are there, each once; may raise Hidden."""
    kind = kueue_kind(live, "resourceflavors")
    names = dict.fromkeys(name for group in quotas_of(cluster_queue["spec"]) for name in group)
    found = [live.get(kind, name) for name in names] if kind else []
    return [each for each in found if each is not None]


def quotas_of(spec: Object) -> list[dict[str, Amounts]]:
    """The nominal quotas of each flavor of a ClusterQueue by its name, in groups of resources."""
    return [
        {
            flavor["name"]: {
                each["name"]: amount(each.get("nominalQuota", 0), each["name"])
                for each in flavor.get("resources") or []
            }
            for flavor in group.get("flavors") or []
        }
        for group in spec.get("resourceGroups") or []
    ]


def together(groups: list[dict[str, Amounts]]) -> Amounts:
    """The nominal quota by resource, over all flavors."""
    sums: Amounts = {}
    for flavors in groups:
        for held in flavors.values():
            for resource, number in held.items():
                sums[resource] = sums.get(resource, Decimal(0)) + number
    return sums

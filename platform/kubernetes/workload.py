"""Why a job waits in Kueue's queue: the condition of its Workload, which Kueue makes for each RayJob.

In: a RayJob that is suspended. Out: Kueue's own words; "" where it has said nothing yet.
"""

from platform.kubernetes.client import Cluster, Object, Refused
from platform.text import one_line

_VERSIONS = ("v1beta2", "v1beta1")  # the newer of Kueue 0.16, which serves both
_PATH = "/apis/kueue.x-k8s.io/{version}/namespaces/{namespace}/workloads"
_BY_JOB = "kueue.x-k8s.io/job-uid"  # a label that Kueue gives it
_LONGEST = 200


def reason_of_waiting(cluster: Cluster, job: Object) -> str:
    """What Kueue says of a job that it has not started, shortened.

    Raises:
        Away: the API server does not answer.
        Refused: you may not list Workloads.
    """
    meta = job["metadata"]
    for version in _VERSIONS:
        path = _PATH.format(version=version, namespace=meta["namespace"])
        try:
            found = cluster.request("GET", path, labelSelector=f"{_BY_JOB}={meta['uid']}")
        except Refused as refused:
            if refused.status != 404:
                raise
            continue
        if items := found.get("items"):
            return _said(items[-1])
    return ""


def _said(workload: Object) -> str:
    """The newest word on quota, or on what else it must pass before it is admitted."""
    conditions = {each.get("type"): each for each in (workload.get("status") or {}).get("conditions") or []}
    for kind in ("QuotaReserved", "Admitted"):
        found = conditions.get(kind)
        if found and found.get("status") != "True":
            return one_line(str(found.get("message") or found.get("reason") or ""), _LONGEST)
    return ""

"""Whether whoever asks may do what submitting and following takes.

In: the job. Out: a finding for what may be done, one for each right that is missing.
"""

from platform.kubernetes.check.finding import Findings, missing, ok, warning
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import PODS, RAY_CRON_JOBS, RAY_JOBS, Kind, Live
from platform.kubernetes.refusals import QUEUE_ROLE, ROLE

_LOGS = Kind("", "v1", "pods/log")
_EVENTS = Kind("", "v1", "events")
_WORKLOADS = Kind("kueue.x-k8s.io", "v1beta2", "workloads")
# verb, of what, what it is for
_FOLLOWING = (
    ("delete", RAY_JOBS, "a finished job is not replaced by the next of its name, and none is stopped"),
    ("list", PODS, "nothing is said of pods that wait"),
    ("get", _LOGS, "its output is not printed"),
    ("list", _EVENTS, "reasons why pods wait are not said"),
)
_QUEUED = ("list", _WORKLOADS, f"why the job waits in its queue is not said; {QUEUE_ROLE} gives it")


def rights(live: Live, job: Job) -> Findings:
    """The rights to submit and to follow."""
    kind, namespace = RAY_CRON_JOBS if job.is_scheduled else RAY_JOBS, job.namespace
    refused = [verb for verb in ("create", "get") if not live.may(verb, kind, namespace)]
    kubectl = live.cluster.kubectl(namespace)
    if refused:
        said = f"you may not {' or '.join(refused)} {kind.name} in namespace {namespace}"
        remedy = "an administrator binds you to a Role with it" if job.is_scheduled else f"{ROLE} gives it"
        yield missing("rights", said, f"{remedy}; {kubectl} auth can-i {refused[0]} {kind.name} tells")
    following = (*_FOLLOWING, *([_QUEUED] if job.kube.queue else []))
    lacking = [] if job.is_scheduled else [each for each in following if not live.may(each[0], each[1], namespace)]
    for verb, which, without in lacking:
        yield warning("rights", f"you may not {verb} {which.name} in namespace {namespace}: {without}")
    if not refused and not lacking:
        yield ok("rights", f"create, get {kind.name}" + ("" if job.is_scheduled else " and all that following takes"))

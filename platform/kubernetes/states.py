"""A RayJob's state in words. Pure.

In: the RayJob as the server has it. Out: lines, and the exit status of one that is over.
"""

import re

from platform.kubernetes.attempt import seconds_of
from platform.kubernetes.client import Object
from platform.kubernetes.difference import QUEUE_LABEL
from platform.signals import INTERRUPTED
from platform.text import one_line

OVER = ("Complete", "Failed", "ValidationFailed")  # jobDeploymentStatus
# A reason that the operator does not retry, whatever `retries` is, and what to do.
_NOT_RETRIED = {
    "JobStatusCheckTimeoutExceeded": (
        "the head did not answer the operator for so long (300 s, or its RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS), "
        "which is not retried: its node may be gone; the same command makes a new cluster and {then}"
    ),
}


def state(job: Object) -> str:
    """The state of a RayJob, in a line."""
    status, spec = job.get("status") or {}, job.get("spec") or {}
    deployment, job_status = deployment_of(job), status.get("jobStatus") or ""
    if job["metadata"].get("deletionTimestamp"):
        return "Deleting: its pods end"
    if is_suspended(job):
        return f"{deployment or 'New'}: {_suspended(job)}"
    failed = int(status.get("failed") or 0)
    attempts = int(spec.get("backoffLimit") or 0) + 1
    if deployment == "Retrying":
        why = one_line(": ".join(filter(None, (status.get("reason"), _message(status)))))
        return f"Retrying: attempt {failed} of {attempts} failed{f' ({why})' if why else ''}; the next one resumes"
    number = failed if deployment == "Failed" else failed + 1  # which the operator has counted already
    attempt = f", attempt {number} of {attempts}" if failed else ""
    if not deployment:
        return f"New{attempt}: waits for the KubeRay operator"
    return f"{deployment}{f' ({job_status})' if job_status else ''}{attempt}"


def ending(job: Object) -> tuple[int, str]:
    """Exit code and last line of a job that is over."""
    status = job.get("status") or {}
    if status.get("jobStatus") == "SUCCEEDED" and deployment_of(job) == "Complete":
        return 0, "Complete: the job succeeded"
    if is_stopped(job):
        said = "Complete: somebody stopped the job (ray job stop, the dashboard); what it saved stays"
        return INTERRUPTED, f"{said}, and the same command {then(job)}"
    message = _message(status)
    why = one_line(": ".join(filter(None, (status.get("reason"), message)))) or "no reason is given"
    found = re.search(r"failed with exit code (-?\d+)", str(status.get("message") or ""))
    code = int(found[1]) if found else 1
    more = _NOT_RETRIED.get(status.get("reason") or "", "").format(then=then(job))
    text = f"{deployment_of(job)}: {why}; {more}" if more else f"{deployment_of(job)}: {why}"
    return (128 - code if code < 0 else code & 0xFF) or 1, text


def then(job: Object) -> str:
    """What the command of a job that is over does when it is given again."""
    words = str((job.get("spec") or {}).get("entrypoint") or "").split()
    return "starts over (fresh=true)" if "fresh=true" in words else "resumes"


def deployment_of(job: Object) -> str:
    """`jobDeploymentStatus`; "": the operator has not looked at it yet, or is between two attempts."""
    return (job.get("status") or {}).get("jobDeploymentStatus") or ""


def ended_at(job: Object) -> float:
    """When it ended, in seconds since 1970 by the operator's clock; 0: not known."""
    return seconds_of(str((job.get("status") or {}).get("endTime") or ""))


def is_suspended(job: Object) -> bool:
    """Whether it waits for somebody to start it: Kueue, or whoever wrote `spec.suspend`."""
    deployment = deployment_of(job)
    return deployment == "Suspended" or (not deployment and bool((job.get("spec") or {}).get("suspend")))


def is_queued(job: Object) -> bool:
    """Whether it waits for Kueue."""
    return is_suspended(job) and QUEUE_LABEL in (job["metadata"].get("labels") or {})


def is_stopped(job: Object) -> bool:
    """Whether somebody ended it through Ray's jobs API."""
    return (job.get("status") or {}).get("jobStatus") == "STOPPED"


def outlives_a_stop(job: Object) -> bool:
    """Whether its pods stay when somebody stops it: KubeRay's deletion rules know no STOPPED, the older settings (which
    Kueue needs) do not ask how it ended."""
    return not (job.get("spec") or {}).get("shutdownAfterJobFinishes")


def _message(status: Object) -> str:
    """The first line of the status's message, without the announcement of the log's last lines."""
    return one_line(str(status.get("message") or "")).partition(", last available logs")[0]


def _suspended(job: Object) -> str:
    meta = job["metadata"]
    if waits_in := (meta.get("labels") or {}).get(QUEUE_LABEL):
        return f"waits in Kueue's queue {waits_in}"
    return f"waits until spec.suspend is false (kubectl -n {meta['namespace']} edit rayjob {meta['name']})"

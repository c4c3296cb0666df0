"""Follow a RayJob to its end: a line for every change, the job's log, the job's exit code.

In: a RayJob. Out: text on the terminal. The job is polled every two seconds and not watched: a failed request is simply
repeated, and no change is missed.
"""

import queue
import re
import sys
import time

from platform.console import clock
from platform.kubernetes.client import Away, Cluster, Object, Patience, Refused
from platform.kubernetes.difference import QUEUE_LABEL
from platform.kubernetes.logs import SubmitterLogs
from platform.kubernetes.pods import situation
from platform.text import as_on_terminal, one_line

OVER = ("Complete", "Failed", "ValidationFailed")  # jobDeploymentStatus
LOST = 75  # sysexits' EX_TEMPFAIL: the job goes on, but we cannot see it
_NOT_STARTED = ("", "PENDING")  # jobStatus
# A reason that the operator does not retry, whatever `retries` is, and what to do.
_NOT_RETRIED = {
    "JobStatusCheckTimeoutExceeded": (
        "the head did not answer the operator for so long (300 s, or its RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS), "
        "which is not retried: its node may be gone; the same command makes a new cluster and resumes"
    ),
}


def follow(cluster: Cluster, job: Object, patience: Patience) -> int:
    """Print the RayJob's status and log until its end.

    Args:
        cluster: where it runs.
        job: as it was created or found.
        patience: time limits.

    Returns:
        0 if it succeeded, else its exit code; `LOST` if the API server does not answer any more.
    """
    return _Follower(cluster, job, patience).follow()


class _Follower:
    def __init__(self, cluster: Cluster, job: Object, patience: Patience) -> None:
        meta = job["metadata"]
        self._cluster, self._patience, self._job = cluster, patience, job
        self._namespace, self._name, self._uid = meta["namespace"], meta["name"], meta["uid"]
        self._logs = SubmitterLogs(cluster, self._namespace, self._name, patience)
        self._started = self._answered = time.monotonic()
        self._away = ""  # what the server that is away was last heard of
        self._said: set[str] = set()  # what is said once
        self._line = ""  # the newest status
        self._colours = sys.stdout.isatty()

    def follow(self) -> int:
        self._logs.start()
        try:
            while True:
                job = self._look()
                if job is None:
                    return self._gone()
                if not self._away:
                    self._show(job)
                    if _deployment(job) in OVER:
                        break
                elif time.monotonic() - self._answered > self._patience.away_s:
                    return self._lost()
                self._print_log(self._patience.poll_s)
            self._logs.finish()
            self._print_rest()
        finally:
            self._logs.stop()
        code, text = ending(job)
        self._say(text)
        return code

    def _look(self) -> Object | None:
        """The job as it is now, or as it was last seen if the server does not answer; None: it was deleted."""
        try:
            job = self._cluster.rayjob(self._namespace, self._name)
        except (Away, Refused) as trouble:
            if not self._away:
                self._say(f"{trouble}; the job goes on, waiting up to {clock(self._patience.away_s)} for an answer")
            self._away = str(trouble)
            return self._job
        if self._away:
            self._say("the API server answers again")
        self._away, self._answered = "", time.monotonic()
        if job is None or job["metadata"]["uid"] != self._uid:
            return None
        self._job = job
        return job

    def _show(self, job: Object) -> None:
        line = self._state(job)
        if line != self._line and _deployment(job) not in OVER:
            self._say(line)
        self._line = line
        self._say_log_trouble()

    def _say_log_trouble(self) -> None:
        if self._logs.trouble and self._logs.trouble not in self._said:
            self._said.add(self._logs.trouble)
            self._say(f"no log of the job: {self._logs.trouble}")

    def _state(self, job: Object) -> str:
        text = state(job)
        status = job.get("status") or {}
        deployment = _deployment(job)
        if not deployment and not _is_suspended(job):
            if trouble := self._trouble(job):
                return f"{text}: {trouble}"
            late = time.monotonic() - self._started > self._patience.operator_s
            hint = "is the KubeRay operator there? kubectl get pods -A -l app.kubernetes.io/name=kuberay-operator"
            return f"{text}; {hint}" if late else text
        if deployment == "Initializing" or (
            deployment == "Running" and status.get("jobStatus", "") in _NOT_STARTED  # the submitter may wait, too
        ):
            trouble = self._trouble(job)
            return f"{text}: {trouble}" if trouble else text
        return text

    def _trouble(self, job: Object) -> str:
        """What the pods wait for; "": nothing, or we may not list them."""
        ray_cluster = (job.get("status") or {}).get("rayClusterName")
        try:
            pods = self._cluster.pods(self._namespace, f"job-name={self._name}")
            if ray_cluster:
                pods += self._cluster.pods(self._namespace, f"ray.io/cluster={ray_cluster}")
            warnings = self._cluster.warnings(self._namespace)
        except (Away, Refused):
            return ""
        made = job["metadata"].get("creationTimestamp") or ""  # an earlier job of that name had its own troubles
        warnings = [event for event in warnings if (event.get("lastTimestamp") or made) >= made]
        return situation(pods, warnings, {self._name, ray_cluster or self._name})

    def _print_log(self, seconds: float) -> None:
        """Print the lines that arrive within so many seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                line = self._logs.lines.get(timeout=left)
            except queue.Empty:
                return
            if line is not None:
                self._print(line)

    def _print_rest(self) -> None:
        while True:
            try:
                line = self._logs.lines.get(timeout=self._patience.last_lines_s)
            except queue.Empty:
                self._say("the log may be longer: its end did not come")
                return
            if line is None:
                self._say_log_trouble()
                return
            self._print(line)

    def _print(self, line: str) -> None:
        print(as_on_terminal(line, colours=self._colours), flush=True)

    def _say(self, text: str) -> None:
        print(f"{clock(time.monotonic() - self._started)} {text}", flush=True)

    def _gone(self) -> int:
        self._logs.finish()
        self._print_rest()
        status = self._job.get("status") or {}
        if status.get("jobStatus") == "SUCCEEDED":
            self._say("Complete: the job succeeded, and the RayJob was deleted")
            return 0
        self._say("the RayJob was deleted before its end; the same command makes it anew and resumes")
        return 1

    def _lost(self) -> int:
        look = f"{self._cluster.kubectl(self._namespace)} get rayjob {self._name}"
        self._say(
            f"{self._away} for {clock(self._patience.away_s)}; the job goes on: the same command follows it again, "
        )
        print(f"      {look} looks at it", flush=True)
        return LOST


def state(job: Object) -> str:
    """The state of a RayJob, in a line."""
    status, spec = job.get("status") or {}, job.get("spec") or {}
    deployment, job_status = _deployment(job), status.get("jobStatus") or ""
    if job["metadata"].get("deletionTimestamp"):
        return "Deleting: its pods end"
    if _is_suspended(job):
        return f"{deployment or 'New'}: {_suspended(job)}"
    failed = int(status.get("failed") or 0)
    attempts = int(spec.get("backoffLimit") or 0) + 1
    if deployment == "Retrying":
        why = one_line(": ".join(filter(None, (status.get("reason"), _message(status)))))
        return f"Retrying: attempt {failed} of {attempts} failed{f' ({why})' if why else ''}; the next one resumes"
    attempt = f", attempt {failed + 1} of {attempts}" if failed else ""
    if not deployment:
        return f"New{attempt}: waits for the KubeRay operator"
    return f"{deployment}{f' ({job_status})' if job_status else ''}{attempt}"


def ending(job: Object) -> tuple[int, str]:
    """Exit code and last line of a job that is over."""
    status = job.get("status") or {}
    if status.get("jobStatus") == "SUCCEEDED" and _deployment(job) == "Complete":
        return 0, "Complete: the job succeeded"
    if status.get("jobStatus") == "STOPPED":
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        return 1, (
            "Complete: somebody stopped the job, and its pods stay; the same command resumes it, "
            f"kubectl -n {namespace} delete rayjob {name} ends them"
        )
    message = _message(status)
    why = one_line(": ".join(filter(None, (status.get("reason"), message)))) or "no reason is given"
    found = re.search(r"failed with exit code (-?\d+)", str(status.get("message") or ""))
    code = int(found[1]) if found else 1
    more = _NOT_RETRIED.get(status.get("reason") or "")
    text = f"{_deployment(job)}: {why}; {more}" if more else f"{_deployment(job)}: {why}"
    return (128 - code if code < 0 else code & 0xFF) or 1, text


def _message(status: Object) -> str:
    """The first line of the status's message, without the announcement of the log's last lines."""
    return one_line(str(status.get("message") or "")).partition(", last available logs")[0]


def _deployment(job: Object) -> str:
    return (job.get("status") or {}).get("jobDeploymentStatus") or ""


def _is_suspended(job: Object) -> bool:
    deployment = _deployment(job)
    return deployment == "Suspended" or (not deployment and bool((job.get("spec") or {}).get("suspend")))


def _suspended(job: Object) -> str:
    meta = job["metadata"]
    if waits_in := (meta.get("labels") or {}).get(QUEUE_LABEL):
        return f"waits in Kueue's queue {waits_in} (kubectl -n {meta['namespace']} get workloads)"
    return f"waits until spec.suspend is false (kubectl -n {meta['namespace']} edit rayjob {meta['name']})"
